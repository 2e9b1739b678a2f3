"""MLflow's entities as JSON: what a user can read of them, without what every run of a session has anew."""

# Where the code came from is of the machine that runs the session, not of the server.
OF_THE_MACHINE = ("mlflow.source.", "mlflow.user", "mlflow.runColor", "mlflow.runNum")


def tags(values):
    return {key: values[key] for key in sorted(values) if not key.startswith(OF_THE_MACHINE)}


def sorted_map(values):
    return {key: values[key] for key in sorted(values)}


def run(run):
    info, data = run.info, run.data
    described = {
        "name": info.run_name,
        "id": info.run_id,
        "experiment": info.experiment_id,
        "status": info.status,
        "stage": info.lifecycle_stage,
        "started": info.start_time is not None,
        "ended": info.end_time is not None,
        "artifacts": info.artifact_uri,
        "metrics": sorted_map(data.metrics),
        "params": sorted_map(data.params),
        "tags": tags(data.tags),
    }
    if run.inputs and run.inputs.dataset_inputs:
        datasets = [dataset_input(used) for used in run.inputs.dataset_inputs]
        described["datasets"] = sorted(datasets, key=lambda dataset: (dataset["name"], dataset["digest"]))
    if run.inputs and getattr(run.inputs, "model_inputs", None):
        described["models_in"] = sorted(used.model_id for used in run.inputs.model_inputs)
    if getattr(run, "outputs", None) and run.outputs.model_outputs:
        described["models_out"] = sorted([made.step, made.model_id] for made in run.outputs.model_outputs)
    return described


def names(runs):
    """Of a page of runs, and whether another follows."""
    return [[run.info.run_name for run in runs], bool(getattr(runs, "token", None))]


def dataset_input(used):
    dataset = used.dataset
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        # Code is named by where it lies on the machine.
        "source": "code" if dataset.source_type == "code" else dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
        "tags": sorted([tag.key, tag.value] for tag in used.tags),
    }


def experiment(found):
    return {
        "id": found.experiment_id,
        "name": found.name,
        "artifacts": found.artifact_location,
        "stage": found.lifecycle_stage,
        "tags": sorted_map(found.tags),
        "created": found.creation_time is not None,
        "updated": found.last_update_time is not None,
    }


def points(history):
    return [[point.step, point.timestamp, point.value] for point in history]


def files(listed):
    return [[file.path, file.is_dir, file.file_size] for file in listed]


def registered(model):
    return {
        "name": model.name,
        "description": model.description,
        "tags": sorted_map(model.tags),
        "aliases": sorted_map(model.aliases),
        "latest": [[version.version, version.current_stage] for version in model.latest_versions or []],
    }


def version(found):
    return {
        "name": found.name,
        "version": found.version,
        "stage": found.current_stage,
        "status": found.status,
        "description": found.description,
        "source": found.source,
        "run": found.run_id,
        "model": getattr(found, "model_id", None),
        "tags": sorted_map(found.tags),
        "aliases": sorted(found.aliases),
    }


def logged_model(model):
    return {
        "id": model.model_id,
        "name": model.name,
        "experiment": model.experiment_id,
        "artifacts": model.artifact_location,
        "type": model.model_type,
        "run": model.source_run_id,
        "status": str(model.status),
        "params": sorted_map(model.params),
        "tags": tags(model.tags),
        "metrics": sorted([metric.key, metric.step, metric.value] for metric in model.metrics or []),
    }
