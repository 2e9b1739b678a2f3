"""scikit-learn's autolog: what one line brings."""

import warnings

import mlflow
import numpy
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import describe

warnings.filterwarnings("ignore")


def data():
    random = numpy.random.default_rng(7)
    x = random.normal(size=(120, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def seen(run):
    """Metrics are of the library's arithmetic: their names say that they came."""
    described = describe.run(run)
    described["metrics"] = sorted(described["metrics"])
    described["params"] = {key: value for key, value in described["params"].items() if key in ("C", "cv", "max_iter", "best_C", "memory")}
    described["tags"] = {key: value for key, value in described["tags"].items() if not key.startswith("mlflow.log-model")}
    described.pop("datasets", None)
    return described


def fit(session):
    mlflow.sklearn.autolog(log_input_examples=False, silent=True)
    x, y = data()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x, y)
    run = mlflow.last_active_run()
    session.note("run", seen(run))
    session.note("dataset", [used.tags[0].value for used in run.inputs.dataset_inputs])
    session.note("artifacts", [[file.path, file.is_dir] for file in session.client.list_artifacts(run.info.run_id)])
    [found] = mlflow.search_logged_models(output_format="list")
    session.note("model", [found.name, found.status.value if hasattr(found.status, "value") else str(found.status)])
    loaded = mlflow.sklearn.load_model(found.model_uri)
    session.note("predicts the same", bool((loaded.predict(x) == model.predict(x)).all()))
    score = model.score(x, y)
    session.note("score is logged", session.client.get_run(run.info.run_id).data.metrics.get("Pipeline_score_x") == score or sorted(session.client.get_run(run.info.run_id).data.metrics))


def grid_search(session):
    mlflow.sklearn.autolog(log_models=False, max_tuning_runs=3, silent=True)
    x, y = data()
    with mlflow.start_run(run_name="search") as parent:
        GridSearchCV(LogisticRegression(max_iter=200), {"C": [0.01, 0.1, 1.0]}, cv=2).fit(x, y)
    session.note("parent", seen(session.client.get_run(parent.info.run_id)))
    children = session.client.search_runs(
        ["0"], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", order_by=["params.C"]
    )
    session.note("children", [[run.data.params["C"], run.info.status, sorted(run.data.metrics)] for run in children])
    table = mlflow.search_runs(order_by=["metrics.mean_test_score DESC", "params.C"])
    session.note("table", [sorted(name for name in table.columns if name.startswith("metrics.mean")), len(table)])


def signature(session):
    """Logged by hand: signature, input example, and the model found by its run."""
    x, y = data()
    model = LogisticRegression().fit(x, y)
    with mlflow.start_run(run_name="by hand") as run:
        logged = mlflow.sklearn.log_model(model, name="classifier", signature=infer_signature(x, y), input_example=x[:2])
    session.note("run", seen(session.client.get_run(run.info.run_id)))
    session.note("model", describe.logged_model(mlflow.get_logged_model(logged.model_id)))
    uris = {"its uri": logged.model_uri, "its id": f"models:/{logged.model_id}", "its run": f"runs:/{run.info.run_id}/classifier"}
    for what, uri in uris.items():
        session.note(f"loaded by {what}", mlflow.pyfunc.load_model(uri).predict(x[:3]).tolist() == model.predict(x[:3]).tolist())
    files = [file.path for file in session.client.list_logged_model_artifacts(logged.model_id)]
    session.note("files", sorted(files))
