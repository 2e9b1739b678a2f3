"""The servers of the comparison, each with a directory of its own; and a stub that answers at once."""

import contextlib
import glob
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import types
import urllib.parse

import mlflow
import mlflow_fill
import over_http
import requests

NOBODY = "nobody"


def stepwell(binary):
    @contextlib.contextmanager
    def opened(directory):
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", os.path.join(directory, "data")]
        with over_http.running(command, directory, "/ready") as client:
            url = f"http://127.0.0.1:{client.connection.port}"
            version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
            yield types.SimpleNamespace(name=f"Stepwell {version}", url=url, fill=lambda *many: mlflow_fill.over_rest(url, *many))

    return opened


@contextlib.contextmanager
def genuine(directory, store, name):
    port = over_http.free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", store, "--artifacts-destination", f"{directory}/artifacts"]
    # Its workers are started as programs of its environment.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    with over_http.running(command, directory, "/health", port, {"PATH": path}):
        url = f"http://127.0.0.1:{port}"
        fill = lambda *many: mlflow_fill.into_database(url, store, *many)  # noqa: E731
        yield types.SimpleNamespace(name=f"MLflow {mlflow.__version__} on {name}", url=url, fill=fill)


def mlflow_on_sqlite(directory):
    return genuine(directory, f"sqlite:///{directory}/mlflow.sqlite", "SQLite")


def mlflow_on_postgres(programs):
    @contextlib.contextmanager
    def opened(directory):
        with postgres(programs) as (port, version), genuine(directory, store(port), f"PostgreSQL {version}") as server:
            yield server

    def store(port):
        return f"postgresql+psycopg2://stepwell@127.0.0.1:{port}/postgres"

    return opened


@contextlib.contextmanager
def postgres(programs):
    """A PostgreSQL of its own, with its defaults, in a directory that goes with it. It refuses to be root: then it is nobody."""
    home = tempfile.mkdtemp(prefix="stepwell-postgres-")
    user = {"user": NOBODY, "group": "nogroup"} if os.geteuid() == 0 else {}
    # Debian's package, unpacked somewhere: DIRECTORY/usr/lib/postgresql/VERSION/bin.
    unpacked = os.path.abspath(os.path.join(programs, *[".."] * 5))
    if user:
        if unpacked != "/":
            # Below a directory of root's nobody would not reach it.
            copied = shutil.copytree(unpacked, os.path.join(home, "unpacked"), symlinks=True)
            programs, unpacked = os.path.join(copied, os.path.relpath(programs, unpacked)), copied
        shutil.chown(home, NOBODY, "nogroup")
    libraries = os.pathsep.join(glob.glob(os.path.join(unpacked, "usr/lib/*-linux-gnu")))
    data, port = os.path.join(home, "data"), over_http.free_port()
    run = {"check": True, "capture_output": True, "cwd": home, "env": os.environ | {"LD_LIBRARY_PATH": libraries}, **user}
    try:
        version = subprocess.run([f"{programs}/postgres", "--version"], text=True, **run).stdout.split()[2]
        subprocess.run([f"{programs}/initdb", "-D", data, "-U", "stepwell", "--auth=trust", "--encoding=UTF8", "--no-locale"], **run)
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home}"
        subprocess.run([f"{programs}/pg_ctl", "-D", data, "-w", "-l", f"{home}/log", "-o", options, "start"], **run)
        try:
            yield port, version
        finally:
            subprocess.run([f"{programs}/pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def heard(url, experiment, run_id, text, order):
    """What the calls of the comparison are answered, by path: pages of a history by their token."""
    answers = {}
    run = requests.post(f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0", "start_time": 1, "tags": []})
    answers["runs/create"] = run.content
    body = {"experiment_ids": [experiment], "filter": text, "order_by": order, "max_results": 100}
    answers["runs/search"] = requests.post(f"{url}/api/2.0/mlflow/runs/search", json=body).content
    token = ""
    while True:
        asked = {"run_id": run_id, "metric_key": "long"} | ({"page_token": token} if token else {"max_results": 25_000})
        page = requests.get(f"{url}/api/2.0/mlflow/metrics/get-history", params=asked)
        answers[f"history {token}"] = page.content
        token = page.json().get("next_page_token")
        if not token:
            return answers


@contextlib.contextmanager
def stub(answers):
    """A process that knows the answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    process = multiprocessing.get_context("fork").Process(target=answer_all, args=[listener, answers], daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        process.kill()
        process.join()
        listener.close()


def answer_all(listener, answers):
    """One connection after the other is enough for one thread that keeps its own."""
    import threading

    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer_one, args=[connection, answers], daemon=True).start()


def answer_one(connection, answers):
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            more = connection.recv(1 << 16)
            if not more:
                return
            received += more
        head, _, received = received.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in lower else 0
        while len(received) < length:
            received += connection.recv(1 << 20)
        received = received[length:]
        body = answer(head.split(b" ", 2)[1].decode(), answers)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def answer(target, answers):
    path, _, query = target.partition("?")
    if path.endswith("metrics/get-history"):
        token = dict(pair.split("=", 1) for pair in query.split("&")).get("page_token", "")
        return answers[f"history {urllib.parse.unquote_plus(token)}"]
    return next((body for name, body in answers.items() if path.endswith(name)), b"{}")
