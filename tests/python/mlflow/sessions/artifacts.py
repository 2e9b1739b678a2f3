"""Files of runs through the server's own artifact proxy."""

import os

import mlflow

import describe

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def files(session):
    client = session.client
    with mlflow.start_run(run_name="files") as run:
        run_id = run.info.run_id
        mlflow.log_text("hello\n", "notes/hello.txt")
        mlflow.log_dict({"a": [1, 2.5, None]}, "config.json")
        mlflow.log_dict({"b": "c"}, "config.yaml")
        mlflow.log_artifact(session.file("one/data.bin", "x" * 1_000), "data")
        session.file("tree/a.txt", "a")
        session.file("tree/b/c.txt", "c")
        session.file("tree/b/ünï cödé +%&?#.txt", "odd")
        session.file("tree/empty.txt", "")
        mlflow.log_artifacts("tree", "tree")
        mlflow.log_artifacts("tree")
        session.note("uri", [mlflow.get_artifact_uri(), mlflow.get_artifact_uri("notes/hello.txt")])
        mlflow.log_text("again\n", "notes/hello.txt")
        mlflow.log_table({"q": ["a", "b"], "n": [1, 2]}, "table.json")
        mlflow.log_table({"q": ["c"], "n": [3]}, "table.json")
    listed = {}

    def walk(path):
        found = client.list_artifacts(run_id, path)
        listed[path or ""] = describe.files(found)
        for file in found:
            if file.is_dir:
                walk(file.path)

    walk(None)
    session.note("listed", listed)
    session.note("of nothing", describe.files(client.list_artifacts(run_id, "nothing")))
    session.note("of a file", describe.files(client.list_artifacts(run_id, "config.json")))
    session.note("text", mlflow.artifacts.load_text(f"runs:/{run_id}/notes/hello.txt"))
    session.note("dictionary", mlflow.artifacts.load_dict(f"runs:/{run_id}/config.json"))
    session.note("table", mlflow.load_table("table.json", run_ids=[run_id]).to_dict("list"))
    everything = mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=os.path.join(session.folder, "down"))
    found = []
    for folder, _, names in os.walk(everything):
        found += [[os.path.relpath(os.path.join(folder, name), everything), os.path.getsize(os.path.join(folder, name))] for name in names]
    session.note("downloaded", sorted(found))
    part = client.download_artifacts(run_id, "tree/b", os.path.join(session.folder, "down"))
    session.note("a part", sorted(os.listdir(part)))
    session.note("by uri", [file.path for file in mlflow.artifacts.list_artifacts(artifact_uri=f"runs:/{run_id}/tree")])
    for path in ("nothing", "notes/nothing.txt"):
        try:
            client.download_artifacts(run_id, path, session.folder)
            session.note(f"no {path}", "taken")
        except Exception as refusal:
            session.note(f"no {path}", type(refusal).__name__)
    session.refused("of no run", client.list_artifacts, "0" * 32)


def figures(session):
    try:
        import matplotlib.figure
    except ImportError:
        # The lean client comes without.
        return
    with mlflow.start_run(run_name="figures") as run:
        figure = matplotlib.figure.Figure()
        figure.subplots().plot([1, 2], [3, 4])
        mlflow.log_figure(figure, "plots/line.png")
        mlflow.log_image(__import__("numpy").zeros((8, 8, 3), dtype="uint8"), "black.png")
    found = session.client.list_artifacts(run.info.run_id, "plots")
    session.note("plots", [[file.path, file.file_size > 1_000] for file in found])
    path = session.client.download_artifacts(run.info.run_id, "plots/line.png")
    with open(path, "rb") as file:
        session.note("a picture", file.read(4).hex())


def proxy(session):
    """The proxy's own calls, and paths that want out."""
    run = session.client.create_run("0", run_name="proxy")
    run_id = run.info.run_id
    root = f"{PROXY}/0/{run_id}/artifacts"
    session.asked("put", "PUT", f"{root}/a/b.txt", data=b"0123456789")
    answer = session.ask("GET", f"{root}/a/b.txt")
    session.note("got", [answer.status_code, answer.text])
    session.asked("listed", "GET", PROXY, params={"path": f"0/{run_id}/artifacts"})
    session.asked("listed below", "GET", PROXY, params={"path": f"0/{run_id}/artifacts/a"})
    session.asked("nothing there", "GET", PROXY, params={"path": f"0/{run_id}/artifacts/none"})
    session.note("absent", session.ask("GET", f"{root}/none").status_code)
    session.asked("artifacts/list", "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=a")
    answer = session.ask("GET", "/get-artifact", params={"run_id": run_id, "path": "a/b.txt"})
    session.note("get-artifact", [answer.status_code, answer.text, answer.headers.get("content-disposition")])
    upload = "/ajax-api/2.0/mlflow/upload-artifact"
    session.asked("upload", "POST", upload, params={"run_uuid": run_id, "path": "up/test.txt"}, data="hello world")
    session.note("uploaded", session.ask("GET", "/get-artifact", params={"run_uuid": run_id, "path": "up/test.txt"}).text)
    session.asked("upload of no path", "POST", upload, params={"run_uuid": run_id})
    session.asked("upload of nothing", "POST", upload, params={"run_uuid": run_id, "path": "t.txt"})
    session.asked("upload up", "POST", upload, params={"run_uuid": run_id, "path": "../t.txt"}, data="x")
    session.asked("deleted", "DELETE", f"{root}/a/b.txt")
    session.note("gone", session.ask("GET", f"{root}/a/b.txt").status_code)
    session.ask("PUT", f"{root}/tree/x/y.txt", data=b"y")
    session.asked("a tree deleted", "DELETE", f"{root}/tree")
    session.note("left", describe.files(session.client.list_artifacts(run_id)))
    for path in ("../up", "a/../../up", "/etc/passwd", "..", "%2e%2e/up", "..%2fup", "a/%2e%2e/%2e%2e/%2e%2e/x", "file:///etc", "a\\..\\b"):
        session.asked(f"list {path}", "GET", "/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, "path": path})
        answer = session.ask("GET", "/get-artifact", params={"run_id": run_id, "path": path})
        session.note(f"get {path}", [answer.status_code, answer.json().get("error_code") if "json" in answer.headers["content-type"] else None])
