"""Datasets: what a run read, and runs found by it."""

import mlflow
import numpy
import pandas
from mlflow.entities import Dataset, DatasetInput, InputTag

import describe


def datasets(session):
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": ["x", "y", "z"]})
    path = session.file("data.csv", frame.to_csv())
    table = mlflow.data.from_pandas(frame, source=path, name="table", targets="c")
    array = mlflow.data.from_numpy(numpy.arange(12).reshape(4, 3), name="array")
    with mlflow.start_run(run_name="training") as run:
        mlflow.log_input(table, context="training", tags={"split": "a"})
        mlflow.log_input(array, context="validation")
        mlflow.log_input(table, context="training")
    session.note("run", describe.run(session.client.get_run(run.info.run_id)))
    for text in ("dataset.name = 'table'", "dataset.context = 'validation'", "dataset.name = 'none'"):
        session.note(text, describe.names(session.client.search_runs(["0"], text)))
    used = session.client.get_run(run.info.run_id).inputs.dataset_inputs[0].dataset
    session.note("source", mlflow.data.get_source(used).uri.endswith("data.csv"))


def low_level(session):
    client = session.client
    run_id = client.create_run("0", run_name="low").info.run_id

    def used(name, digest="d", tags=(), **named):
        return DatasetInput(Dataset(name, digest, "st", "s", **named), [InputTag(key, value) for key, value in tags])

    client.log_inputs(run_id, [used("n1", tags=[("mlflow.data.context", "train"), ("k", "v")]), used("n2", schema="S", profile="P")])
    client.log_inputs(run_id, [used("n1", tags=[("k", "again"), ("new", "tag")])])
    client.log_inputs(run_id, [used("n1", "another digest")])
    session.note("run", describe.run(client.get_run(run_id)))
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    answer = session.ask("POST", path, json={"experiment_ids": ["0"]})
    summaries = sorted([found["name"], found["digest"], found.get("context")] for found in answer.json()["dataset_summaries"])
    session.note("summaries", summaries)
    session.asked("no experiment", "POST", path, json={})
    session.asked("no experiments", "POST", path, json={"experiment_ids": []})
    session.asked("too many", "POST", path, json={"experiment_ids": [f"id_{number}" for number in range(21)]})
    session.asked("an absent one", "POST", path, json={"experiment_ids": ["4711"]})
    for what, dataset in {
        "a long name": used("n" * 501),
        "a long digest": used("n", "d" * 37),
        "no name": used(""),
        "no digest": used("n", ""),
        "a long tag": used("n", tags=[("k" * 256, "v")]),
        "a long value": used("n", tags=[("k", "v" * 501)]),
    }.items():
        session.refused(what, client.log_inputs, run_id, [dataset])
    session.refused("no run", client.log_inputs, "0" * 32, [used("n")])
    client.delete_run(run_id)
    session.refused("a deleted run", client.log_inputs, run_id, [used("n")])
