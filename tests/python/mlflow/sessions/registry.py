"""The registry without files: names, versions, stages, aliases, tags, searches, refusals."""

import describe


def lifecycle(session):
    client = session.client
    made = client.create_registered_model("m1", tags={"k": "v", "team": "a"}, description="first")
    session.note("made", describe.registered(made))
    session.refused("twice", client.create_registered_model, "m1")
    session.refused("no name", client.create_registered_model, "")
    for name in ("a/b", "a:b", " ", "x" * 257):
        session.refused(f"named {name[:4]!r}", client.create_registered_model, name)
    run = client.create_run("0", run_name="source")
    source = f"{run.info.artifact_uri}/model"
    for number in range(4):
        version = client.create_model_version("m1", source, run.info.run_id, tags={"n": str(number)}, description=f"d{number}")
    session.note("version", describe.version(version))
    client.update_model_version("m1", "2", "better")
    client.update_registered_model("m1", "second")
    client.set_registered_model_tag("m1", "k", "w")
    client.delete_registered_model_tag("m1", "team")
    client.set_model_version_tag("m1", "2", "ok", "yes")
    client.delete_model_version_tag("m1", "2", "n")
    session.refused("no such tag", client.delete_model_version_tag, "m1", "2", "none")
    session.refused("no such tag of a model", client.delete_registered_model_tag, "m1", "none")
    session.note("updated", [describe.registered(client.get_registered_model("m1")), describe.version(client.get_model_version("m1", "2"))])
    stages(session, client)
    client.delete_model_version("m1", "4")
    session.refused("deleted", client.get_model_version, "m1", "4")
    session.note("numbers are not used again", client.create_model_version("m1", source, run.info.run_id).version)
    client.rename_registered_model("m1", "m2")
    session.refused("the old name", client.get_registered_model, "m1")
    session.note("renamed", describe.registered(client.get_registered_model("m2")))
    session.note("its versions", sorted(version.version for version in client.search_model_versions("name='m2'")))
    client.create_registered_model("m3")
    session.refused("to a name that is taken", client.rename_registered_model, "m2", "m3")
    client.delete_registered_model("m2")
    session.refused("deleted model", client.get_registered_model, "m2")
    session.refused("deleted again", client.delete_registered_model, "m2")
    session.note("no versions", list(client.search_model_versions("name='m2'")))
    session.note("made again", client.create_registered_model("m2").name)
    session.note("from one again", client.create_model_version("m2", source, run.info.run_id).version)
    session.refused("version of no model", client.create_model_version, "none", source)
    session.refused("no version", client.get_model_version, "m2", "99")
    session.refused("a version of no form", client.get_model_version, "m2", "one")


def stages(session, client):
    moved = client.transition_model_version_stage("m1", "1", "production")
    session.note("moved", moved.current_stage)
    client.transition_model_version_stage("m1", "3", "Staging")
    client.transition_model_version_stage("m1", "2", "Production", archive_existing_versions=True)
    session.note("stages", [client.get_model_version("m1", str(number)).current_stage for number in (1, 2, 3, 4)])
    session.note("latest", sorted([version.current_stage, version.version] for version in client.get_latest_versions("m1")))
    session.note("latest of one", [version.version for version in client.get_latest_versions("m1", stages=["Production"])])
    session.refused("no such stage", client.transition_model_version_stage, "m1", "1", "Sleeping")
    session.refused("latest of no stage", client.get_latest_versions, "m1", stages=["Sleeping"])
    client.set_registered_model_alias("m1", "best", "1")
    client.set_registered_model_alias("m1", "best", "3")
    client.set_registered_model_alias("m1", "old", "1")
    session.note("alias", client.get_model_version_by_alias("m1", "best").version)
    client.delete_registered_model_alias("m1", "old")
    client.delete_registered_model_alias("m1", "old")
    session.refused("no alias", client.get_model_version_by_alias, "m1", "old")
    for alias in ("latest", "v1", "a b", "", "x" * 256):
        session.refused(f"alias {alias[:6]!r}", client.set_registered_model_alias, "m1", alias, "1")
    session.refused("alias of no version", client.set_registered_model_alias, "m1", "a", "99")
    session.note("aliases", describe.registered(client.get_registered_model("m1")))


def search(session):
    client = session.client
    run_id = client.create_run("0", run_name="source").info.run_id
    for number, name in enumerate(["apple", "Apricot", "banana", "cherry pie", "date"]):
        client.create_registered_model(name, tags={"n": str(number), "kind": ["stone", "soft"][number % 2]})
        for version in range(number):
            client.create_model_version(name, f"mlflow-artifacts:/0/{run_id}/artifacts/{name}", run_id, tags={"v": str(version)})
    models = {}
    for text in ("", "name = 'apple'", "name LIKE 'a%'", "name ILIKE 'a%'", "name LIKE '%an%'", "tags.kind = 'soft'", "tags.kind != 'soft'", "tags.n LIKE '1%'", "name ILIKE 'a%' AND tags.kind = 'soft'", "name != 'apple'"):
        models[text] = [model.name for model in client.search_registered_models(text or None)]
    for order in (["name DESC"], ["name ASC"], ["last_updated_timestamp ASC"], ["timestamp DESC"]):
        models[str(order)] = [model.name for model in client.search_registered_models(order_by=order)]
    page = client.search_registered_models(max_results=2)
    models["page"] = [[model.name for model in page], bool(page.token)]
    models["next"] = [model.name for model in client.search_registered_models(max_results=9, page_token=page.token)]
    session.note("models", models)
    versions = {}
    for text in ("", "name = 'banana'", "name LIKE '%a%'", f"run_id = '{run_id}'", "run_id IN ('x')", "tags.v = '1'", "version_number > 2", "name = 'date' and version_number <= 2", f"source_path = 'mlflow-artifacts:/0/{run_id}/artifacts/date'"):
        found = client.search_model_versions(text or None)
        versions[text.replace(run_id, "RUN")] = sorted([version.name, version.version] for version in found)
    for order in (["name ASC", "version_number DESC"], ["version_number", "name"], ["creation_timestamp ASC"]):
        found = client.search_model_versions(order_by=order)
        versions[str(order)] = [[version.name, version.version] for version in found]
    page = client.search_model_versions(order_by=["name", "version_number"], max_results=4)
    versions["page"] = [[[version.name, version.version] for version in page], bool(page.token)]
    page = client.search_model_versions(order_by=["name", "version_number"], max_results=4, page_token=page.token)
    versions["next"] = [[version.name, version.version] for version in page]
    session.note("versions", versions)
    for text in ("name > 'a'", "nothing = 'a'", "name", "name = 'a' OR name = 'b'", "run_id = 'a'"):
        session.refused(f"models {text}", client.search_registered_models, text)
    for text in ("nothing = 'a'", "version_number = 'a'", "name > 'a'", "run_id IN ()"):
        session.refused(f"versions {text}", client.search_model_versions, text)
    session.refused("order", client.search_registered_models, order_by=["nothing"])
    session.refused("order of versions", client.search_model_versions, order_by=["nothing"])
    session.refused("too many", client.search_registered_models, max_results=1_001)
    session.refused("too many versions", client.search_model_versions, max_results=200_001)


def sources(session):
    """Where a version may come from."""
    client = session.client
    client.create_registered_model("model")
    run = client.create_run("0", run_name="source")
    path = "/api/2.0/mlflow/model-versions/create"
    for source in (
        "mlflow-artifacts:/models",
        "mlflow-artifacts:/models/",
        "mlflow-artifacts:/models///",
        "mlflow-artifacts:/models/foo///bar",
        "mlflow-artifacts://host:9000/models",
        "mlflow-artifacts://host:9000/models/artifact/..../",
        "mlflow-artifacts://host:9000/models/../../../",
        "http://host:9000/models/../../../",
        "https://host/api/2.0/mlflow-artifacts/artifacts/../../../",
        "s3a://my_bucket/api/2.0/mlflow-artifacts/artifacts/../../../",
        "ftp://host:8888/api/2.0/mlflow-artifacts/artifacts/../../../",
        "mlflow-artifacts://host:9000/models/..%2f..%2fartifacts",
        "mlflow-artifacts://host:9000/models/artifact%00",
        "/etc",
        "file:///etc",
        "s3://bucket/model",
    ):
        answer = session.ask("POST", path, json={"name": "model", "source": source, "run_id": run.info.run_id})
        body = answer.json()
        session.note(source, [answer.status_code, body.get("message") or body["model_version"]["version"]])
