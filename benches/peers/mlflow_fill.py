"""The same runs in every server: so many with ten metrics and six params each, and one run with a long series.

Stepwell takes them over MLflow's REST API. MLflow's own server takes some 20 such runs a second: there the rows are written
into its database by its own models, as its server would have written them.
"""

import random
import time

import requests

METRICS = ["loss", "accuracy", *(f"m{number}" for number in range(8))]
OPTIMIZERS = ["sgd", "adam", "lion"]


def runs(count):
    """Each with its metrics and params; the same each time."""
    dice = random.Random(5)
    for number in range(count):
        metrics = {key: dice.random() for key in METRICS}
        params = {"optimizer": OPTIMIZERS[number % 3], "lr": str(10 ** -dice.randint(1, 5)), "seed": str(number)}
        yield f"run {number}", metrics, params | {f"p{at}": "value" for at in range(3)}


def series(points):
    """Step, milliseconds and value."""
    return ((step, 1_700_000_000_000 + step, 1 / (1 + step)) for step in range(points))


def over_rest(url, count, points):
    session, api = requests.Session(), f"{url}/api/2.0/mlflow"

    def post(path, body):
        answer = session.post(f"{api}/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    experiment = post("experiments/create", {"name": "filled"})["experiment_id"]
    for name, metrics, params in runs(count):
        made = post("runs/create", {"experiment_id": experiment, "run_name": name, "start_time": 1_700_000_000_000})
        batch = {
            "run_id": made["run"]["info"]["run_id"],
            "metrics": [{"key": key, "value": value, "timestamp": 1_700_000_000_000, "step": 0} for key, value in metrics.items()],
            "params": [{"key": key, "value": value} for key, value in params.items()],
        }
        post("runs/log-batch", batch)
    run_id = post("runs/create", {"experiment_id": experiment, "run_name": "long"})["run"]["info"]["run_id"]
    part = []
    for step, at, value in series(points):
        part.append({"key": "long", "value": value, "timestamp": at, "step": step})
        if len(part) == 1_000 or step == points - 1:
            post("runs/log-batch", {"run_id": run_id, "metrics": part})
            part = []
    return experiment, run_id


def into_database(url, store, count, points):
    import sqlalchemy
    from mlflow.store.tracking.dbmodels import models

    made = requests.post(f"{url}/api/2.0/mlflow/experiments/create", json={"name": "filled"})
    experiment = made.json()["experiment_id"]
    engine = sqlalchemy.create_engine(store)

    def insert(connection, model, rows):
        connection.execute(sqlalchemy.insert(model.__table__), rows)

    def run_row(run_id, name):
        return {
            "run_uuid": run_id,
            "name": name,
            "experiment_id": int(experiment),
            "status": "RUNNING",
            "start_time": 1_700_000_000_000,
            "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/{experiment}/{run_id}/artifacts",
            "source_type": "UNKNOWN",
            "user_id": "somebody",
        }

    with engine.begin() as connection:
        rows = {model: [] for model in (models.SqlRun, models.SqlMetric, models.SqlLatestMetric, models.SqlParam, models.SqlTag)}
        for number, (name, metrics, params) in enumerate(runs(count)):
            run_id = f"{number:032x}"
            rows[models.SqlRun].append(run_row(run_id, name))
            rows[models.SqlTag].append({"run_uuid": run_id, "key": "mlflow.runName", "value": name})
            for key, value in metrics.items():
                point = {"run_uuid": run_id, "key": key, "value": value, "timestamp": 1_700_000_000_000, "step": 0, "is_nan": False}
                rows[models.SqlMetric].append(point)
                rows[models.SqlLatestMetric].append(point)
            rows[models.SqlParam] += [{"run_uuid": run_id, "key": key, "value": value} for key, value in params.items()]
        run_id = "f" * 32
        rows[models.SqlRun].append(run_row(run_id, "long"))
        for model, of_model in rows.items():
            insert(connection, model, of_model)
        part = []
        for step, at, value in series(points):
            part.append({"run_uuid": run_id, "key": "long", "value": value, "timestamp": at, "step": step, "is_nan": False})
            if len(part) == 20_000 or step == points - 1:
                insert(connection, models.SqlMetric, part)
                part = []
        insert(connection, models.SqlLatestMetric, [{"run_uuid": run_id, "key": "long", "value": value, "timestamp": at, "step": step, "is_nan": False}])
    if engine.dialect.name == "postgresql":
        # What autovacuum would have done by the time somebody searches.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text("ANALYZE"))
    engine.dispose()
    time.sleep(1)
    return experiment, run_id
