"""Servers on loopback ports, each with a directory of its own and one client that waits for each answer."""

import contextlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import time
import types
import urllib.parse

import points

START_SECONDS = 120
MLFLOW_METRICS_MAX = 1_000


class Client:
    """One connection, kept."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def ask(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{path} answered {response.status}: {answer[:200].decode(errors='replace')}")
        return answer

    def post(self, path, value):
        return json.loads(self.ask("POST", path, json.dumps(value), {"content-type": "application/json"}))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, directory, health, port=None, environment=None):
    """Starts a server, waits until it is healthy, and ends it with all its children. Without a port it prints its address."""
    log_path = os.path.join(directory, "log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=log if port else subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        if port is None:
            words = process.stdout.readline().decode().split()
            url = next(word for word in words if word.startswith("http://"))
            port = urllib.parse.urlsplit(url.rstrip(",")).port
        yield wait_healthy(process, port, health, log_path)
    finally:
        end(process)


def wait_healthy(process, port, health, log_path):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        client = Client(port)
        try:
            client.ask("GET", health)
            return client
        except (OSError, http.client.HTTPException, RuntimeError):
            time.sleep(0.1)
    with open(log_path, errors="replace") as log:
        raise RuntimeError(f"{process.args[0]} did not start: {log.read()[-200:]}")


def end(process):
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def stepwell(binary):
    @contextlib.contextmanager
    def opened(directory):
        data = os.path.join(directory, "data")
        with running([binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", data], directory, "/ready") as client:
            runs = set()
            sequence = 0

            def prepare(body):
                for run in set(points.table(body)["run_id"].to_pylist()) - runs:
                    client.post("/api/v1/runs", {"project": "peers", "run_id": run})
                    runs.add(run)
                return body

            def write(body):
                nonlocal sequence
                sequence += 1
                headers = {
                    "content-type": "application/vnd.apache.arrow.stream",
                    "stepwell-producer": "peers",
                    "stepwell-sequence": str(sequence),
                }
                client.ask("POST", "/api/v1/ingest", body, headers)

            version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
            yield types.SimpleNamespace(
                name=f"Stepwell {version}, Arrow over HTTP",
                promise="synced, visible, applied once however often it is sent",
                prepare=prepare,
                write=write,
            )

    return opened


def victoria_metrics(binary, version):
    """JSON lines, a series each with its points of the batch: faster here than its other text formats."""

    def prepare(body):
        series = {}
        for run, metric, _, time_us, value in points.rows(body):
            times, values = series.setdefault((run, metric), ([], []))
            times.append(time_us // 1_000)
            values.append(None if math.isnan(value) else value)
        lines = (
            {"metric": {"__name__": metric, "run": run}, "values": values, "timestamps": times}
            for (run, metric), (times, values) in series.items()
        )
        return "\n".join(map(json.dumps, lines)).encode()

    @contextlib.contextmanager
    def opened(directory):
        port = free_port()
        data = os.path.join(directory, "data")
        command = [binary, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={data}", "-retentionPeriod=100y"]
        with running(command, directory, "/health", port) as client:
            yield types.SimpleNamespace(
                name=f"VictoriaMetrics {version}, JSON lines over HTTP",
                promise="in memory, written to disk some seconds later and not synced before; it keeps milliseconds and no steps",
                prepare=prepare,
                write=lambda body: client.ask("POST", "/api/v1/import", body),
            )

    return opened


def mlflow(python):
    """`log-batch` takes 1,000 metrics at most, so a batch is ten requests."""

    def metric(row):
        _, name, step, time_us, value = row
        return {"key": name, "value": "NaN" if math.isnan(value) else value, "timestamp": time_us // 1_000, "step": step}

    @contextlib.contextmanager
    def opened(directory):
        port = free_port()
        store = f"sqlite:///{directory}/mlflow.sqlite"
        command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", store, "--default-artifact-root", f"{directory}/artifacts"]
        # Its workers are started as programs of its environment; and nobody is told of what happens here.
        path = os.pathsep.join([os.path.dirname(python), os.environ.get("PATH", "")])
        environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PATH": path}
        with running(command, directory, "/health", port, environment) as client:
            api = "/api/2.0/mlflow"
            run = client.post(f"{api}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]

            def prepare(body):
                metrics = list(map(metric, points.rows(body)))
                parts = range(0, len(metrics), MLFLOW_METRICS_MAX)
                return [json.dumps({"run_id": run, "metrics": metrics[i : i + MLFLOW_METRICS_MAX]}) for i in parts]

            def write(requests):
                for request in requests:
                    client.ask("POST", f"{api}/runs/log-batch", request, {"content-type": "application/json"})

            yield types.SimpleNamespace(
                name=f"MLflow {client.ask('GET', '/version').decode()}, its server on SQLite, log-batch over HTTP",
                promise="committed and synced (SQLite's defaults), 1,000 points a request",
                prepare=prepare,
                write=write,
            )

    return opened
