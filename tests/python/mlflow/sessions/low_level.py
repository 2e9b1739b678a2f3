"""What is left of MlflowClient: asynchronous logging, streams of params, two experiments at a time, many threads."""

import threading

import mlflow
from mlflow.entities import Metric

import describe


def asynchronous(session):
    client, run_id = session.client, session.client.create_run("0", run_name="later").info.run_id
    operations = [client.log_metric(run_id, "loss", 1 / (1 + step), step=step, timestamp=step, synchronous=False) for step in range(100)]
    operations.append(client.log_param(run_id, "lr", 0.1, synchronous=False))
    operations.append(client.set_tag(run_id, "a", "b", synchronous=False))
    operations.append(client.log_batch(run_id, [Metric("m", 1.0, 1, 1)], synchronous=False))
    for operation in operations:
        operation.wait()
    session.note("run", describe.run(client.get_run(run_id)))
    session.note("history", len(client.get_metric_history(run_id, "loss")))


def threads(session):
    """Eight workers of one sweep log to runs of their own at a time, and to one run together."""
    client = session.client
    experiment = client.create_experiment("threads")
    shared = client.create_run(experiment, run_name="shared").info.run_id
    failures = []

    def work(number):
        try:
            run_id = client.create_run(experiment, run_name=f"worker {number}", start_time=number).info.run_id
            for step in range(20):
                client.log_metric(run_id, "loss", float(step), step=step, timestamp=step)
                client.log_batch(shared, [Metric(f"loss {number}", float(step), step, step), Metric("all", number + step / 100, step, step)])
            client.log_param(shared, f"worker {number}", number)
            client.set_terminated(run_id)
        except Exception as failure:
            failures.append(str(failure))

    workers = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    session.note("failures", failures)
    found = client.search_runs([experiment], "metrics.loss = 19", order_by=["run_name"])
    session.note("workers", [[run.info.run_name, run.info.status] for run in found])
    session.note("shared", [len(client.get_metric_history(shared, "all")), len(client.get_run(shared).data.params), client.get_run(shared).data.metrics["all"]])


def environments(session):
    """What is set by variables and by hand: experiments by name and id, the active run by id, autolog's parent."""
    import os

    os.environ["MLFLOW_EXPERIMENT_NAME"] = "from the environment"
    with mlflow.start_run(run_name="one") as one:
        pass
    del os.environ["MLFLOW_EXPERIMENT_NAME"]
    session.note("experiment", session.client.get_experiment(one.info.experiment_id).name)
    os.environ["MLFLOW_RUN_ID"] = one.info.run_id
    mlflow.log_metric("continued", 1.0, timestamp=1)
    mlflow.end_run()
    session.note("continued", session.client.get_run(one.info.run_id).data.metrics)
    other = mlflow.create_experiment("other", tags={"mlflow.note.content": "why"})
    mlflow.set_experiment(experiment_id=other)
    mlflow.log_param("implicit", 1)
    session.note("implicit", [mlflow.active_run().info.experiment_id == other, bool(mlflow.active_run().info.run_name)])
    mlflow.end_run("KILLED")
    session.note("ended", mlflow.last_active_run().info.status)
    mlflow.delete_experiment(other)
    session.refused("set a deleted one", mlflow.set_experiment, "other")
    session.refused("set none", mlflow.set_experiment, experiment_id="4711")
