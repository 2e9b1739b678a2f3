"""The calls that training frameworks make, in their order."""

import math

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_USER

import describe


def lightning(session):
    """A Lightning logger: its own client, params cut to 250 characters, batches of metrics with steps, checkpoints, the end."""
    client = mlflow.MlflowClient(tracking_uri=session.url)
    found = client.get_experiment_by_name("lightning_logs")
    experiment = found.experiment_id if found else client.create_experiment("lightning_logs", artifact_location=None)
    tags = mlflow.tracking.context.registry.resolve_tags({MLFLOW_RUN_NAME: "resnet", MLFLOW_USER: "ada"})
    run_id = client.create_run(experiment_id=experiment, tags=tags).info.run_id
    hyper = {"model/layers": 18, "model/width": 1.5, "optimizer/name": "adamw", "text": "t" * 300}
    hyper |= {f"flag_{number:03}": number % 2 == 0 for number in range(150)}
    params = [Param(key, str(value)[:250]) for key, value in hyper.items()]
    for first in range(0, len(params), 100):
        client.log_batch(run_id, params=params[first : first + 100])
    for step in range(0, 50, 5):
        values = {"train/loss": 1 / (1 + step), "lr-AdamW": 1e-3, "epoch": step // 10}
        client.log_batch(run_id, metrics=[Metric(key, value, 1_000 + step, step) for key, value in values.items()])
    client.log_batch(run_id, metrics=[Metric("val/loss", math.nan, 2_000, 49)], tags=[RunTag("best_model", "epoch=4")])
    client.log_artifact(run_id, session.file("epoch=4-step=50.ckpt", "weights"), "model/checkpoints/epoch=4-step=50")
    client.set_terminated(run_id, "FINISHED")
    run = describe.run(client.get_run(run_id))
    run["params"] = [len(run["params"]), len(run["params"]["text"]), run["params"]["flag_001"]]
    session.note("run", run)
    session.note("history", describe.points(client.get_metric_history(run_id, "train/loss")))
    session.note("user", client.get_run(run_id).info.user_id)
    session.note("checkpoints", describe.files(client.list_artifacts(run_id, "model/checkpoints/epoch=4-step=50")))


def transformers(session):
    """A Trainer's callback: a run with all arguments as params in chunks, logs a dictionary a time, and ends it."""
    mlflow.set_experiment("finetune")
    mlflow.start_run(run_name="bert", nested=False)
    arguments = {f"argument_{number}": f"value {number}" for number in range(230)}
    items = list(arguments.items())
    for first in range(0, len(items), 100):
        mlflow.log_params(dict(items[first : first + 100]))
    for step in range(1, 6):
        mlflow.log_metrics({"loss": 2.0 / step, "grad_norm": 0.5, "learning_rate": 5e-5 * step, "epoch": step / 5}, step=step)
    mlflow.log_metrics(metrics={"eval_loss": 0.25, "eval_runtime": 1.5}, step=5, synchronous=False)
    mlflow.flush_async_logging()
    run_id = mlflow.active_run().info.run_id
    mlflow.end_run()
    run = describe.run(session.client.get_run(run_id))
    run["params"] = [len(run["params"]), run["params"]["argument_229"]]
    session.note("run", run)
    session.note("steps", [point.step for point in session.client.get_metric_history(run_id, "loss")])


def keras(session):
    """A Keras callback: one batch of metrics each epoch through the fluent interface of another thread's run."""
    with mlflow.start_run(run_name="keras") as run:
        for epoch in range(4):
            mlflow.log_metrics({"loss": 1.0 - epoch / 8, "val_loss": 1.0 - epoch / 16}, step=epoch, run_id=run.info.run_id)
        mlflow.log_text("Layer (type)  Output Shape", artifact_file="model_summary.txt")
        mlflow.log_dict({"layers": [1, 2]}, "config.json")
    table = mlflow.search_runs()
    session.note("table", [float(table["metrics.loss"][0]), float(table["metrics.val_loss"][0]), table["status"][0]])
    session.note("summary", mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/model_summary.txt"))
    session.note("config", mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/config.json"))


def boosting(session):
    """XGBoost's and LightGBM's autolog: metrics of all rounds queued, then logged in batches of 1,000."""
    with mlflow.start_run(run_name="boosted") as run:
        queue = mlflow.utils.autologging_utils.client.MlflowAutologgingQueueingClient()
        queue.log_params(run.info.run_id, {f"p{number}": number for number in range(120)})
        for round_number in range(1_100):
            queue.log_metrics(run.info.run_id, {"train-logloss": 1 / (1 + round_number), "eval-logloss": 0.5}, step=round_number)
        queue.flush(synchronous=True)
    data = session.client.get_run(run.info.run_id).data
    session.note("counts", [len(data.params), sorted(data.metrics)])
    history = session.client.get_metric_history(run.info.run_id, "train-logloss")
    session.note("history", [len(history), history[0].step, history[-1].step, history[-1].value])
