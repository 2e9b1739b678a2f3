"""Writes what genuine servers answer: each session against a new `mlflow server` on SQLite, by each client.

usage: record.py NEWEST_PYTHON YEAR_OLD_PYTHON [SESSION…]       with a Python that has MLflow's server

`expected/NAME.json` is the transcript of the newest client; `expected/year-old/NAME.json` has what the old one sees otherwise.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "NO_PROXY": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
os.environ |= QUIET

import uvicorn
from mlflow.server import constants, fastapi_app

HERE = os.path.dirname(os.path.abspath(__file__))


class Sessions:
    """A process of `serve_sessions.py`."""

    def __init__(self, python):
        command = [python, os.path.join(HERE, "serve_sessions.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, name, url):
        self.process.stdin.write(json.dumps({"session": name, "url": url}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def server(template):
    """A genuine server on a copy of an empty database. To import it and to make its tables takes longer than any session: it is
    imported once, as `mlflow server` would import it, and each server is a fork of this process."""
    directory = tempfile.mkdtemp(prefix="stepwell-genuine-")
    shutil.copy(template, os.path.join(directory, "mlflow.sqlite"))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    child = os.fork()
    if child == 0:
        serve(directory, listener)
    listener.close()
    try:
        wait_healthy(url)
        yield url
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shutil.rmtree(directory, ignore_errors=True)


def serve(directory, listener):
    """What `mlflow server --backend-store-uri … --artifacts-destination …` sets and runs."""
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{directory}/mlflow.sqlite",
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: f"{directory}/artifacts",
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        # Receivers of webhooks are on this machine.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    os.chdir(directory)
    os.setpgid(0, 0)
    uvicorn.Server(uvicorn.Config(fastapi_app.app, log_level="critical")).run(sockets=[listener])
    os._exit(1)


def wait_healthy(url):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/health", timeout=120):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def written(path, transcript):
    """One line an entry, so that a change of one is a change of one line."""
    lines = [f"{json.dumps(label, ensure_ascii=False)}: {json.dumps(seen, ensure_ascii=False)}" for label, seen in transcript.items()]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    newest, year_old, *wanted = sys.argv[1:]
    with open(os.path.join(HERE, "names.txt"), encoding="utf-8") as file:
        names = [line for line in file.read().split() if not wanted or line in wanted]
    template = os.path.join(tempfile.mkdtemp(prefix="stepwell-genuine-"), "mlflow.sqlite")
    subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{template}"], check=True, capture_output=True)
    clients = [(newest, Sessions(newest)), (year_old, Sessions(year_old))]
    failed = 0
    for name in names:
        transcripts = []
        for _, sessions in clients:
            with server(template) as url:
                answer = sessions.run(name, url)
            if "error" in answer:
                print(f"{name}: {answer['error']}", file=sys.stderr)
                failed += 1
            transcripts.append(answer.get("transcript"))
        new, old = transcripts
        if new is not None:
            written(os.path.join(HERE, "expected", f"{name}.json"), new)
        path = os.path.join(HERE, "expected/year-old", f"{name}.json")
        if os.path.exists(path):
            os.remove(path)
        if new is not None and old is not None:
            other = {label: seen for label, seen in old.items() if label not in new or new[label] != seen}
            other |= {label: "(absent)" for label in new if label not in old}
            if other:
                written(path, other)
        print(name, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main() and 1)
