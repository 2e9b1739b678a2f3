"""What clients ask before anything else, other spellings of paths, and requests that no client makes."""

import describe


def greetings(session):
    session.asked("health", "GET", "/health")
    version = session.ask("GET", "/version")
    session.note("version", [version.status_code, version.text.count(".")])
    info = session.ask("GET", "/api/3.0/mlflow/server-info")
    session.note("server info", [info.status_code, info.json()["workspaces_enabled"], info.json()["store_type"]])
    for prefix in ("/api/2.0", "/ajax-api/2.0"):
        answer = session.ask("GET", f"{prefix}/mlflow/experiments/get?experiment_id=0").json()["experiment"]
        session.note(f"{prefix} experiment", [answer["experiment_id"], answer["name"], answer["lifecycle_stage"]])
        answer = session.ask("POST", f"{prefix}/mlflow/runs/create", json={"experiment_id": "0", "run_name": "n", "start_time": 4, "user_id": "u"})
        answer = answer.json()["run"]
        session.note(f"{prefix} run", [answer["info"]["status"], answer["info"]["start_time"], answer["info"]["user_id"], sorted(answer["info"]), sorted(answer["data"])])
    answer = session.ask("GET", "/api/2.0/mlflow/experiments/search?max_results=10&order_by=name").json()
    session.note("search by GET", [experiment["name"] for experiment in answer["experiments"]])


def wrong_requests(session):
    """The texts that MLflow's own tests compare."""
    made = session.client.create_experiment("wrong")
    run_id = session.client.create_run(made, run_name="wrong").info.run_id
    session.note("the run", run_id)
    metric = {"run_id": run_id, "key": "foo", "value": 31, "timestamp": 59, "step": 41}
    cases = {
        "experiments/create": [
            {"name": 123},
            {},
            {"name": ""},
            {"name": "n", "artifact_location": 9.0, "tags": [{"key": "key", "value": "value"}]},
            {"name": "n", "artifact_location": "my_location", "tags": "5"},
            {"name": None},
        ],
        "experiments/update": [{"experiment_id": made}, {"new_name": "x"}, {"experiment_id": made, "new_name": 5}],
        "experiments/set-experiment-tag": [{"experiment_id": made}, {"experiment_id": made, "key": 1, "value": "v"}],
        "experiments/search": [{"max_results": "many"}, {"max_results": 5, "order_by": "name"}, {"filter": 5}, {"view_type": "ODD"}],
        "runs/create": [{"experiment_id": 0}, {"experiment_id": made, "start_time": "now"}, {"experiment_id": made, "tags": "5"}],
        "runs/update": [{}, {"run_id": run_id, "status": "NAPPING"}, {"run_id": run_id, "end_time": "soon"}],
        "runs/log-metric": [
            metric | {"run_id": 31},
            metric | {"key": 31},
            metric | {"step": "foo"},
            metric | {"timestamp": "foo"},
            metric | {"run_id": None},
            metric | {"key": None},
            metric | {"value": "much"},
            metric | {"value": None},
            {key: value for key, value in metric.items() if key != "key"},
            {key: value for key, value in metric.items() if key != "timestamp"},
            metric | {"key": "a|b"},
        ],
        "runs/log-parameter": [{"run_id": 31, "key": "p", "value": 41}, {"run_id": run_id, "key": 31, "value": 41}, {"run_id": run_id}],
        "runs/set-tag": [{"run_id": 31, "key": "t", "value": 41}, {"run_id": run_id, "key": "p", "value": 41}, {"run_id": run_id, "value": "v"}],
        "runs/delete-tag": [{"run_id": run_id}, {"key": "a"}],
        "runs/log-batch": [
            {"run_id": run_id, "metrics": "foo"},
            {"run_id": run_id, "params": "foo"},
            {"run_id": run_id, "tags": "foo"},
            {"run_id": run_id, "metrics": [{"key": "mae", "value": 2.5}]},
            {"run_id": run_id, "metrics": [{"key": "a|b", "value": 2.5, "timestamp": 1}]},
            {"run_id": run_id, "params": [{"key": "a"}]},
            {"metrics": []},
        ],
        "runs/log-inputs": [{"datasets": []}, {"run_id": run_id}],
        "runs/delete": [{}, {"run_id": 5}],
        "runs/search": [{"experiment_ids": "0"}, {"experiment_ids": [0]}, {"max_results": 50_001}, {"max_results": 0}, {"max_results": "x"}, {"order_by": "x"}],
        "registered-models/create": [{}, {"name": 5}, {"name": ""}],
        "model-versions/create": [{"name": "m"}, {"name": "m", "source": 5}],
    }
    for path, bodies in cases.items():
        for number, body in enumerate(bodies):
            session.asked(f"{path} {number}", "POST", f"/api/2.0/mlflow/{path}", json=body)
    session.asked("run_uuid", "POST", "/api/2.0/mlflow/runs/set-tag", json={"run_uuid": run_id, "key": "key", "value": "value"})
    session.asked("no step", "POST", "/api/2.0/mlflow/runs/log-batch", json={"run_id": run_id, "metrics": [{"key": "mae", "value": 2.5, "timestamp": 9}]})
    session.asked("unknown fields", "POST", "/api/2.0/mlflow/runs/set-tag", json={"run_id": run_id, "key": "k", "value": "v", "later": {"a": 1}})
    session.note("run", describe.run(session.client.get_run(run_id)))
    for path in ("runs/get", "experiments/get", "experiments/get-by-name", "metrics/get-history", "registered-models/get"):
        session.asked(f"GET {path}", "GET", f"/api/2.0/mlflow/{path}")
