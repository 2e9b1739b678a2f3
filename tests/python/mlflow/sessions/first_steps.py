"""What a beginner does: one variable set, a run logged, looked at, compared."""

import mlflow

import describe


def quickstart(session):
    session.note("default", describe.experiment(mlflow.get_experiment("0")))
    experiment = mlflow.set_experiment("digits")
    session.note("made", describe.experiment(experiment))
    with mlflow.start_run(run_name="first", description="a try", tags={"team": "vision"}, log_system_metrics=False) as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"optimizer": "sgd", "layers": [64, 32], "dropout": None, "amp": True})
        mlflow.log_metric("loss", 0.93, step=1, timestamp=1_000)
        mlflow.log_metrics({"loss": 0.71, "accuracy": 0.5}, step=2, timestamp=2_000)
        mlflow.set_tag("stage", "warm")
        mlflow.set_tags({"stage": "hot", "note": "zwölf Boxkämpfer 🥊"})
        session.note("while it runs", describe.run(mlflow.get_run(run.info.run_id)))
    session.note("ended", describe.run(mlflow.get_run(run.info.run_id)))
    session.note("the last", mlflow.last_active_run().info.run_id)
    session.note("found", describe.names(session.client.search_runs([experiment.experiment_id])))
    mlflow.set_experiment_tags({"owner": "us", "phase": 2})
    session.note("experiment tags", describe.experiment(mlflow.get_experiment_by_name("digits")))


def endings(session):
    """Runs end in each way there is, without a name, in the experiment that nobody made."""
    statuses = {}
    with mlflow.start_run() as run:
        session.note("a name is given", bool(run.info.run_name))
        session.note("where", run.info.experiment_id)
    statuses["left"] = session.client.get_run(run.info.run_id).info.status
    try:
        with mlflow.start_run() as run:
            raise ValueError("diverged")
    except ValueError:
        statuses["raised"] = session.client.get_run(run.info.run_id).info.status
    for status in ("KILLED", "FAILED", "SCHEDULED", "FINISHED"):
        run = session.client.create_run("0", run_name=status)
        session.client.set_terminated(run.info.run_id, status)
        statuses[status] = describe.run(session.client.get_run(run.info.run_id))
    run = session.client.create_run("0", run_name="updated", start_time=5)
    session.client.update_run(run.info.run_id, status="RUNNING", name="renamed")
    statuses["renamed"] = describe.run(session.client.get_run(run.info.run_id))
    session.client.set_terminated(run.info.run_id, end_time=9)
    info = session.client.get_run(run.info.run_id).info
    statuses["times"] = [info.start_time, info.end_time]
    session.note("statuses", statuses)
    session.refused("no such status", session.client.set_terminated, run.info.run_id, "ASLEEP")


def lifecycle(session):
    """Into the trash and back, and what a run in the trash refuses."""
    client, run_id = session.client, session.client.create_run("0", run_name="kept").info.run_id
    client.log_metric(run_id, "loss", 0.5, timestamp=1, step=1)
    client.delete_run(run_id)
    session.note("deleted", describe.run(client.get_run(run_id)))
    session.note("not listed", describe.names(client.search_runs(["0"])))
    session.note("listed as deleted", describe.names(client.search_runs(["0"], run_view_type=2)))
    session.refused("metric", client.log_metric, run_id, "loss", 0.4)
    session.refused("param", client.log_param, run_id, "lr", 1)
    session.refused("tag", client.set_tag, run_id, "a", "b")
    session.refused("no tag", client.delete_tag, run_id, "a")
    session.refused("batch", client.log_batch, run_id, params=[mlflow.entities.Param("lr", "1")])
    session.refused("again", client.delete_run, run_id)
    session.note("history", describe.points(client.get_metric_history(run_id, "loss")))
    client.restore_run(run_id)
    client.restore_run(run_id)
    session.note("back", describe.run(client.get_run(run_id)))
    absent = "0" * 32
    session.refused("nothing to get", client.get_run, absent)
    session.refused("nothing to delete", client.delete_run, absent)
    session.refused("nothing to restore", client.restore_run, absent)
    session.refused("nothing to end", client.set_terminated, absent)
    session.refused("no experiment", client.create_run, "4711")
    session.refused("no experiment of that form", client.create_run, "not a number")
