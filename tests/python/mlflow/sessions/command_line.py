"""MLflow's command line, `mlflow run` of a project with it."""

import os
import re
import subprocess
import sys

import mlflow
from click.testing import CliRunner
from mlflow.cli import cli

import describe

PROJECT = """\
name: trained
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      name: {type: string, default: nobody}
    command: "PYTHON train.py {alpha} {name}"
  evaluate:
    command: "PYTHON -c pass"
"""
TRAIN = """\
import sys, mlflow
with mlflow.start_run():
    mlflow.log_metric("alpha squared", float(sys.argv[1]) ** 2, timestamp=1)
    mlflow.set_tag("name", sys.argv[2])
"""


def mlflow_says(*words):
    """What a command says; the ruling of tables varies with their width."""
    result = CliRunner().invoke(cli, words, catch_exceptions=True)
    output = re.sub(r"[-─]{3,}", "---", result.output)
    output = re.sub(r"[ \t]+", " ", output)
    # What the client logs is not of the server.
    lines = [line.strip() for line in output.splitlines() if line.strip() and not re.match(r"(\x1b\[\d+m)?\d{4}/", line)]
    return [result.exit_code, lines]


def experiments(session):
    session.note("created", mlflow_says("experiments", "create", "--experiment-name", "by command"))
    found = mlflow.get_experiment_by_name("by command").experiment_id
    session.note("twice", mlflow_says("experiments", "create", "-n", "by command")[0] != 0)
    session.note("listed", mlflow_says("experiments", "search"))
    session.note("renamed", mlflow_says("experiments", "rename", "--experiment-id", found, "--new-name", "renamed"))
    session.note("deleted", mlflow_says("experiments", "delete", "-x", found))
    session.note("listed as deleted", mlflow_says("experiments", "search", "--view", "deleted_only"))
    session.note("restored", mlflow_says("experiments", "restore", "-x", found))
    with mlflow.start_run(experiment_id=found, run_name="a run"):
        mlflow.log_metric("loss", 0.5, timestamp=1)
        mlflow.log_param("lr", 0.1)
    table = os.path.join(session.folder, "runs.csv")
    session.note("csv", mlflow_says("experiments", "csv", "-x", found, "-o", table)[0])
    with open(table, encoding="utf-8") as file:
        head = file.readline().strip().split(",")
    session.note("columns", sorted(name for name in head if not name.startswith("tags.mlflow.")))


def runs_and_artifacts(session):
    with mlflow.start_run(run_name="a run") as run:
        mlflow.log_metric("loss", 0.5, timestamp=1)
    run_id = run.info.run_id
    listed = mlflow_says("runs", "list", "--experiment-id", "0")
    session.note("listed", [listed[0], any(run_id in line and "a run" in line for line in listed[1])])
    described = mlflow_says("runs", "describe", "--run-id", run_id)
    session.note("described", [described[0], '"status": "FINISHED"' in " ".join(described[1])])
    session.note("deleted", mlflow_says("runs", "delete", "--run-id", run_id))
    session.note("restored", mlflow_says("runs", "restore", "--run-id", run_id))
    path = session.file("notes/a.txt", "hello")
    session.note("logged", mlflow_says("artifacts", "log-artifact", "-l", path, "-r", run_id, "-a", "one"))
    session.note("logged all", mlflow_says("artifacts", "log-artifacts", "-l", os.path.dirname(path), "-r", run_id, "-a", "all"))
    session.note("files", mlflow_says("artifacts", "list", "-r", run_id, "-a", "all"))
    target = os.path.join(session.folder, "down")
    session.note("downloaded", mlflow_says("artifacts", "download", "-r", run_id, "-a", "all", "-d", target)[0])
    session.note("file", open(os.path.join(target, "all", "a.txt"), encoding="utf-8").read())
    session.note("of no run", mlflow_says("runs", "delete", "--run-id", "0" * 32)[0] != 0)


def project(session):
    """A folder with an MLproject file, run with parameters in the environment that is there: two processes, the command and the code."""
    session.file("project/MLproject", PROJECT.replace("PYTHON", sys.executable))
    session.file("project/train.py", TRAIN)
    words = ["run", os.path.join(session.folder, "project"), "--env-manager", "local", "-P", "alpha=3", "-P", "name=ada"]
    done = subprocess.run([sys.executable, "-m", "mlflow", *words, "--experiment-name", "projects"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    experiment = mlflow.get_experiment_by_name("projects").experiment_id
    [run] = session.client.search_runs([experiment])
    seen = describe.run(run)
    seen["tags"] = {key: value for key, value in seen["tags"].items() if key in ("name", "mlflow.project.env", "mlflow.project.entryPoint", "mlflow.project.backend")}
    seen["name"] = bool(seen["name"])
    session.note("run", seen)
    session.note("source", run.data.tags["mlflow.source.type"])


def models(session):
    """Predictions of a logged model by command, in the environment that is there."""
    import numpy
    from sklearn.linear_model import LinearRegression

    with mlflow.start_run():
        model = LinearRegression().fit(numpy.array([[0.0], [1.0]]), [1.0, 3.0])
        info = mlflow.sklearn.log_model(model, name="line", registered_model_name="line")
    data, out = session.file("data.csv", "x\n0\n2\n"), os.path.join(session.folder, "out.json")
    words = ["models", "predict", "-m", "models:/line/1", "-i", data, "-t", "csv", "-o", out, "--env-manager", "local"]
    done = subprocess.run([sys.executable, "-m", "mlflow", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    with open(out, encoding="utf-8") as file:
        session.note("predicted", re.sub(r"(\.\d{6})\d+", r"\1", file.read().replace("0.9999999999999999", "1.0")))
    session.note("logged as", bool(info.model_id))
