"""Runs in runs, and runs that go on."""

import mlflow

import describe


def nested(session):
    experiment = mlflow.set_experiment("sweep").experiment_id
    with mlflow.start_run(run_name="sweep") as parent:
        for number in range(6):
            with mlflow.start_run(run_name=f"trial {number}", nested=True):
                mlflow.log_params({"lr": 10.0**-number, "depth": number % 3})
                for step in range(3):
                    mlflow.log_metric("loss", abs(number - 3) + 1 / (1 + step), step=step, timestamp=step)
                with mlflow.start_run(run_name=f"fold of {number}", nested=True):
                    mlflow.log_metric("fold", number, timestamp=1)
        mlflow.log_metric("best", 0.333, timestamp=9)
    client, inside = session.client, f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    found = client.search_runs([experiment], inside, order_by=["metrics.loss ASC", "params.lr"])
    session.note("by loss", [[run.info.run_name, run.data.metrics["loss"]] for run in found])
    found = client.search_runs([experiment], f"{inside} and params.depth = '1'", order_by=["params.lr DESC"])
    session.note("of one depth", describe.names(found))
    session.note("the best", describe.names(client.search_runs([experiment], inside, order_by=["metrics.loss"], max_results=1)))
    child = found[0].info.run_id
    session.note("its parent", client.get_parent_run(child).info.run_name)
    session.note("nobody's child", client.get_parent_run(parent.info.run_id))
    with mlflow.start_run(run_name="late", parent_run_id=parent.info.run_id) as late:
        pass
    session.note("late", describe.run(client.get_run(late.info.run_id)))
    table = mlflow.search_runs(filter_string="metrics.fold >= 4", order_by=["metrics.fold DESC"])
    session.note("folds", table["tags.mlflow.runName"].tolist())


def resumed(session):
    """A run that stopped at step 5 and goes on from a checkpoint of step 3."""
    client = session.client
    with mlflow.start_run(run_name="long") as run:
        for step in range(6):
            mlflow.log_metric("loss", 1 - step / 10, step=step, timestamp=100 + step)
    with mlflow.start_run(run_id=run.info.run_id):
        session.note("going on", client.get_run(run.info.run_id).info.status)
        for step in range(3, 9):
            mlflow.log_metric("loss", 0.9 - step / 10, step=step, timestamp=200 + step)
    history = client.get_metric_history(run.info.run_id, "loss")
    session.note("history", sorted(describe.points(history)))
    session.note("order", describe.points(history))
    session.note("ended", describe.run(client.get_run(run.info.run_id)))
    run_id = client.create_run("0", run_name="latest").info.run_id
    latest = []
    for step, at, value in ((5, 10, 1.0), (3, 99, 2.0), (5, 9, 3.0), (5, 10, 4.0), (5, 10, 0.5), (5, 11, 0.25), (-7, 50, 8.0)):
        client.log_metric(run_id, "m", value, timestamp=at, step=step)
        latest.append(client.get_run(run_id).data.metrics["m"])
    session.note("latest", latest)
    for _ in range(3):
        client.log_metric(run_id, "m", 4.0, timestamp=10, step=5)
        client.log_batch(run_id, [mlflow.entities.Metric("m", 4.0, 10, 5), mlflow.entities.Metric("m", 4.0, 10, 5)])
    session.note("sent again", sorted(describe.points(client.get_metric_history(run_id, "m"))))
    session.note("latest still", client.get_run(run_id).data.metrics["m"])
