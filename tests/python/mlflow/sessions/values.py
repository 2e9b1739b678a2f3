"""Values, steps and times at their edges."""

import math

from mlflow.entities import Metric

import describe

VALUES = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e-300, 3.141592653589793, 2.0**53 + 2]


def edges(session):
    client, run_id = session.client, session.client.create_run("0", run_name="edges").info.run_id
    for number, value in enumerate(VALUES):
        client.log_metric(run_id, "one by one", value, timestamp=number, step=number)
        client.log_metric(run_id, f"m{number}", value, timestamp=1)
    client.log_batch(run_id, [Metric("at once", value, number, number) for number, value in enumerate(VALUES)])
    session.note("one by one", [value for _, _, value in describe.points(client.get_metric_history(run_id, "one by one"))])
    session.note("at once", [value for _, _, value in describe.points(client.get_metric_history(run_id, "at once"))])
    session.note("latest", describe.sorted_map(client.get_run(run_id).data.metrics))
    steps = [0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 7]
    client.log_batch(run_id, [Metric("steps", float(number), number, step) for number, step in enumerate(steps)])
    session.note("steps", sorted(point[0] for point in describe.points(client.get_metric_history(run_id, "steps"))))
    session.note("latest of steps", client.get_run(run_id).data.metrics["steps"])
    client.log_batch(run_id, [Metric("times", float(number), at, 0) for number, at in enumerate([0, 2**53 + 1, 9])])
    session.note("times", sorted(point[1] for point in describe.points(client.get_metric_history(run_id, "times"))))
    for value in ("0.5", "text", None, True, [1], 10**400):
        session.refused(f"value {str(value)[:20]}", client.log_metric, run_id, "odd", value, timestamp=1)
    session.refused("a time before time", client.log_metric, run_id, "odd", 1.0, timestamp=-1)
    session.note("NaN is the last of a step", nan_last(client, run_id))
    session.note("integers", integers(client, run_id))


def nan_last(client, run_id):
    seen = []
    for value in (1.0, math.nan, 2.0, math.inf):
        client.log_metric(run_id, "n", value, timestamp=1, step=1)
        seen.append(client.get_run(run_id).data.metrics["n"])
    return seen


def integers(client, run_id):
    client.log_metric(run_id, "i", 7, timestamp=1)
    return [client.get_run(run_id).data.metrics["i"], client.get_metric_history(run_id, "i")[0].value]


def raw(session):
    """Numbers as other clients write them."""
    run_id = session.client.create_run("0", run_name="raw").info.run_id
    path = "/api/2.0/mlflow/runs/log-metric"
    for number, value in enumerate(["NaN", "Infinity", "-Infinity", "1e3", 12, 1.5, "7"]):
        body = {"run_id": run_id, "key": f"k{number}", "value": value, "timestamp": "5", "step": "3"}
        session.asked(f"taken {value}", "POST", path, json=body)
    session.note("kept", describe.sorted_map(session.client.get_run(run_id).data.metrics))
    answer = session.ask("GET", f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=k5")
    session.note("history", answer.json())
    answer = session.ask("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}").json()["run"]["data"]["metrics"]
    session.note("types", [[m["key"], type(m["value"]).__name__, type(m["timestamp"]).__name__, type(m["step"]).__name__] for m in answer])
