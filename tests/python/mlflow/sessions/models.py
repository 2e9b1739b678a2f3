"""Models: logged, registered, aliased, staged, copied, loaded back, searched."""

import warnings

import mlflow
import numpy
from mlflow.entities import LoggedModelOutput, Metric
from sklearn.linear_model import LinearRegression

import describe

warnings.filterwarnings("ignore")
X = numpy.arange(6, dtype=float).reshape(3, 2)


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [2 * value for value in model_input]


def registered(session):
    client = session.client
    for number in range(3):
        with mlflow.start_run(run_name=f"fit {number}"):
            model = LinearRegression().fit(X, numpy.array([1.0, 2.0, 4.0]) + number)
            mlflow.sklearn.log_model(model, name="model", registered_model_name="house prices", await_registration_for=5)
    session.note("model", describe.registered(client.get_registered_model("house prices")))
    versions = client.search_model_versions("name = 'house prices'")
    session.note("versions", [described(client, version) for version in versions])
    client.set_registered_model_alias("house prices", "champion", "2")
    client.set_registered_model_alias("house prices", "challenger", 3)
    with warnings.catch_warnings():
        client.transition_model_version_stage("house prices", "1", "Production")
        client.transition_model_version_stage("house prices", "3", "Staging")
        client.transition_model_version_stage("house prices", "2", "Production", archive_existing_versions=True)
    session.note("staged", describe.registered(client.get_registered_model("house prices")))
    for uri in ("models:/house prices/1", "models:/house prices@champion", "models:/house prices/latest", "models:/house prices/Production"):
        predicted = mlflow.pyfunc.load_model(uri).predict(X)
        session.note(f"loaded {uri}", [round(float(value), 6) for value in predicted])
    session.note("by alias", described(client, client.get_model_version_by_alias("house prices", "champion")))
    copied = client.copy_model_version("models:/house prices@champion", "copy of prices")
    session.note("copy", describe.version(copied))
    session.note("the copy", [round(float(value), 6) for value in mlflow.sklearn.load_model("models:/copy of prices/1").predict(X)])
    session.note("download uri", client.get_model_version_download_uri("copy of prices", "1").startswith("models:/") or client.get_model_version_download_uri("copy of prices", "1"))
    late = mlflow.register_model(f"models:/{versions[0].model_id}" if getattr(versions[0], "model_id", None) else versions[0].source, "late")
    session.note("late", described(client, late))


def described(client, version):
    seen = describe.version(version)
    # A source of a logged model is a URI with its id.
    seen["source"] = seen["source"].split("/", 1)[0] + "/…"
    return seen


def python_function(session):
    with mlflow.start_run(run_name="pyfunc") as run:
        info = mlflow.pyfunc.log_model(name="doubler", python_model=Doubler(), pip_requirements=[], metadata={"why": "not"})
    model = mlflow.pyfunc.load_model(info.model_uri)
    session.note("doubled", model.predict([1, 2, 3]))
    session.note("metadata", model.metadata.metadata)
    session.note("run", {key: value for key, value in describe.run(session.client.get_run(run.info.run_id)).items() if key != "tags"})
    session.note("requirements", [file.path for file in session.client.list_logged_model_artifacts(info.model_id) if "req" in file.path])


def logged(session):
    """Models of MLflow 3: entities of their own, with params, metrics and tags."""
    client, experiment = session.client, mlflow.set_experiment("logged").experiment_id
    with mlflow.start_run(run_name="steps") as run:
        ids = []
        for number in range(4):
            model = client.create_logged_model(
                experiment, name=f"ckpt_{number}", source_run_id=run.info.run_id, model_type="cnn", params={"lr": f"0.{number}"}, tags={"n": str(number)}
            )
            ids.append(model.model_id)
            client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, number)])
            client.log_metric(run.info.run_id, "accuracy", number / 4, step=number, timestamp=5, model_id=model.model_id)
        client.finalize_logged_model(ids[0], "READY")
        client.finalize_logged_model(ids[1], "FAILED")
    session.note("model", describe.logged_model(client.get_logged_model(ids[0])))
    session.note("run", describe.run(client.get_run(run.info.run_id)))
    client.set_logged_model_tags(ids[2], {"best": "yes", "n": "two"})
    client.delete_logged_model_tag(ids[3], "n")
    client.log_model_params(ids[3], {"late": "param"})
    session.note("tags", [describe.logged_model(client.get_logged_model(model))["tags"] for model in ids])
    found = {}
    for text in ("name = 'ckpt_1'", "metrics.accuracy > 0.2", "params.lr = '0.3'", "tags.best = 'yes'", "status = 'READY'", "model_type = 'cnn'", "name LIKE 'ckpt%'", "creation_time > 0", f"source_run_id = '{run.info.run_id}'"):
        models = client.search_logged_models([experiment], filter_string=text, order_by=[{"field_name": "name"}])
        found[text] = [model.name for model in models]
    session.note("found", found)
    ordered = client.search_logged_models([experiment], order_by=[{"field_name": "metrics.accuracy", "ascending": False}], max_results=3)
    session.note("best first", [[model.name for model in ordered], bool(ordered.token)])
    rest = client.search_logged_models([experiment], order_by=[{"field_name": "metrics.accuracy", "ascending": False}], max_results=3, page_token=ordered.token)
    session.note("the rest", [model.name for model in rest])
    client.delete_logged_model(ids[1])
    session.note("without the deleted", sorted(model.name for model in client.search_logged_models([experiment])))
    session.refused("the deleted", client.get_logged_model, ids[1])
    session.refused("of nobody", client.get_logged_model, "m-" + "0" * 32)
    session.refused("tag of none", client.delete_logged_model_tag, ids[0], "none")
    session.refused("in no experiment", client.create_logged_model, "4711")
    session.refused("a bad name", client.create_logged_model, experiment, name="a/b")
    session.refused("a bad filter", client.search_logged_models, [experiment], filter_string="nothing = 'a'")
    session.refused("a bad order", client.search_logged_models, [experiment], order_by=[{"field_name": "nothing"}])
    table = mlflow.search_logged_models([experiment], order_by=[{"field_name": "name"}])
    session.note("table", sorted(table["name"].tolist()))
    client.log_batch(run.info.run_id, [Metric("late", 1.0, 6, 0, model_id=ids[0])])
    session.note("metrics", describe.logged_model(client.get_logged_model(ids[0]))["metrics"])
    client.log_model_artifact(ids[0], session.file("weights.txt", "w"))
    session.note("files", describe.files(client.list_logged_model_artifacts(ids[0])))
