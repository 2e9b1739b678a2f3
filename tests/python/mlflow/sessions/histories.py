"""The points of a metric: whole, in pages, of many runs, thinned."""

from mlflow.entities import Metric

import describe
from session import told

BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
INTERVAL = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"


def logged(session, points, name="history"):
    run_id = session.client.create_run("0", run_name=name).info.run_id
    for first in range(0, len(points), 1_000):
        session.client.log_batch(run_id, [Metric("m", value, at, step) for step, at, value in points[first : first + 1_000]])
    return run_id


def paged(session):
    run_id = logged(session, [(step // 2, step, step / 4) for step in range(2_300)])
    history = session.client.get_metric_history(run_id, "m")
    session.note("whole", [len(history), *describe.points(history)[:3], *describe.points(history)[-2:]])
    token, pages = None, []
    while True:
        ask = {"run_id": run_id, "metric_key": "m", "max_results": 700} | ({"page_token": token} if token else {})
        answer = session.ask("GET", "/api/2.0/mlflow/metrics/get-history", params=ask).json()
        points = answer["metrics"]
        pages.append([len(points), points[0]["step"], points[-1]["timestamp"]])
        token = answer.get("next_page_token")
        if not token:
            break
    session.note("pages", pages)
    path = "/api/2.0/mlflow/metrics/get-history"
    session.asked("no such metric", "GET", path, params={"run_id": run_id, "metric_key": "nothing"})
    session.asked("no such run", "GET", path, params={"run_id": "0" * 32, "metric_key": "m"})
    session.asked("no metric", "GET", path, params={"run_id": run_id})
    session.asked("no token", "GET", path, params={"run_id": run_id, "metric_key": "m", "max_results": 5, "page_token": "nonsense"})
    session.asked("too few", "GET", path, params={"run_id": run_id, "metric_key": "m", "max_results": -5})
    session.asked("a page of one", "GET", path, params={"run_id": run_id, "metric_key": "m", "max_results": 1})


def bulk(session):
    points = [(2, 1, 10.0), (3, 1, 11.0), (3, 1, 12.0), (3, 2, 12.0)]
    negative = [(-2, 7, -100.0), (0, 8, 0.0), (0, 8, 1.0), (1, 9, 12.0)]
    runs = sorted([logged(session, points, "one"), logged(session, negative, "two"), logged(session, [], "three")])
    names = {run_id: session.client.get_run(run_id).info.run_name for run_id in runs}

    def short(answer):
        seen = answer.json().get("metrics", [])
        return [[names[point["run_id"]], point["step"], point["timestamp"], point["value"]] for point in seen]

    answer = session.ask("GET", BULK, params={"run_id": runs, "metric_key": "m"})
    session.note("all", sorted(short(answer)))
    ordered = [point["run_id"] for point in answer.json()["metrics"]]
    session.note("by run", ordered == sorted(ordered))
    for run_id in runs:
        answer = session.ask("GET", BULK, params={"run_id": [run_id], "metric_key": "m", "max_results": 2})
        session.note(f"two of {names[run_id]}", [point[1:] for point in short(answer)])
    session.asked("no runs", "GET", BULK, params={"metric_key": "m"})
    session.asked("too many", "GET", BULK, params={"run_id": [f"id_{number}" for number in range(101)], "metric_key": "m"})
    session.asked("no metric", "GET", BULK, params={"run_id": ["123"]})
    session.asked("absent runs", "GET", BULK, params={"run_id": ["123"], "metric_key": "m"})


def interval(session):
    runs = [logged(session, [(step, 1, 10.0) for step in range(10)], "ten"), logged(session, [(step, 1, 1.0) for step in range(20)], "twenty")]

    def steps(**asked):
        answer = session.ask("GET", INTERVAL, params={"metric_key": "m"} | asked)
        if answer.status_code != 200:
            return [answer.status_code, told(answer.json()["message"])]
        seen = {}
        for point in answer.json()["metrics"]:
            seen.setdefault(runs.index(point["run_id"]), []).append([point["step"], point["timestamp"]])
        return [[index, seen[index]] for index in sorted(seen)]

    session.note("five of ten", steps(run_ids=runs[:1], max_results=5))
    session.note("within", steps(run_ids=runs[:1], max_results=5, start_step=0, end_step=4))
    session.note("of two", steps(run_ids=runs, max_results=5))
    session.note("all of two", steps(run_ids=runs, max_results=2_500))
    for most in (1, 2, 3, 7, 10, 19, 20):
        session.note(f"at most {most}", steps(run_ids=runs[1:], max_results=most))
    session.client.log_batch(runs[0], [Metric("m", 10.0, 2, step) for step in range(10)])
    session.note("two points a step", steps(run_ids=runs[:1], max_results=5))
    session.note("no runs", steps())
    session.note("too many", steps(run_ids=[f"id_{number}" for number in range(101)]))
    session.note("none", steps(run_ids=["123"], max_results=0))
    session.note("too many points", steps(run_ids=["123"], max_results=2_501))
    session.note("no metric", steps(run_ids=["123"], metric_key=""))
    session.note("backwards", steps(run_ids=["123"], start_step=1, end_step=0))
    session.note("half", steps(run_ids=["123"], start_step=1))
    session.note("negative", steps(run_ids=runs[:1], start_step=-5, end_step=1))
