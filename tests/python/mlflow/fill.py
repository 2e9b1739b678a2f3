"""Fills a tracking store with something of everything, for imports: usage: fill.py TRACKING_URI"""

import math
import os
import sys
import tempfile

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_ALLOW_FILE_STORE": "true"}

import mlflow
from mlflow.entities import Metric, Param, RunTag


def main():
    mlflow.set_tracking_uri(sys.argv[1])
    client = mlflow.MlflowClient()
    os.chdir(tempfile.mkdtemp())
    os.makedirs("files/deep")
    with open("files/deep/ünï.bin", "wb") as file:
        file.write(bytes(range(256)) * 100)
    with open("files/empty.txt", "w"):
        pass
    experiments = [client.create_experiment(f"imported {number}", tags={"n": str(number)}) for number in range(3)]
    for number in range(6):
        experiment = experiments[number % 3]
        run_id = client.create_run(experiment, start_time=1_700_000_000_000 + number, run_name=f"run: {number}'s").info.run_id
        values = [1 / (1 + step) for step in range(1_500)] + [math.nan, 5e-324]
        for first in range(0, len(values), 1_000):
            part = enumerate(values[first : first + 1_000], first)
            client.log_batch(run_id, [Metric("train/loss", value, 1_700_000_000_000 + step, step) for step, value in part])
        # A resumed run says some steps again; a point that is sent again is one.
        client.log_batch(run_id, [Metric("train/loss", 0.5, 1_700_000_009_000, 7), Metric("negative", -1.5, 5, -7)])
        client.log_batch(run_id, [Metric("negative", -1.5, 5, -7)])
        client.log_batch(run_id, params=[Param("lr", "0.1"), Param("text", "line\nline: ü"), Param("empty", "")])
        client.log_batch(run_id, tags=[RunTag("team", "a: 'b' \"c\""), RunTag("mlflow.user", "ada")])
        client.log_artifacts(run_id, "files")
        client.log_text(run_id, f"of {number}", "notes/a.txt")
        if number < 5:
            client.set_terminated(run_id, ["FINISHED", "FAILED", "KILLED"][number % 3], end_time=1_700_000_500_000 + number)
        if number == 4:
            client.delete_run(run_id)
    client.create_registered_model("model one", tags={"k": "v"}, description="line\nline: 'quoted'")
    source = f"{client.get_run(run_id).info.artifact_uri}/notes"
    for number in range(4):
        client.create_model_version("model one", source, run_id, tags={"n": str(number)}, description=f"version {number}")
    client.delete_model_version("model one", "2")
    client.transition_model_version_stage("model one", "3", "Production")
    client.set_registered_model_alias("model one", "champion", "4")
    # As `log_model` with a registered name does it: the version's files are the logged model's.
    logged = client.create_logged_model(experiments[2], "logged", run_id, tags={"k": "v"}, params={"p": "1"}, model_type="any")
    client.log_model_artifacts(logged.model_id, "files")
    client.finalize_logged_model(logged.model_id, "READY")
    mlflow.register_model(f"models:/{logged.model_id}", "model three")
    client.register_prompt("prompt", "say {{ what }}")
    client.delete_experiment(experiments[2])


if __name__ == "__main__":
    main()
