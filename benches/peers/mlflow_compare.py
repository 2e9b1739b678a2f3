"""MLflow's own client against MLflow's own server, on SQLite and on PostgreSQL, and against Stepwell, in one run.

usage: mlflow_compare.py DIRECTORY --stepwell BINARY [--postgres BIN-DIRECTORY] [--skipped NAME=WHY]…
                         [--seconds N] [--runs N] [--points N]

Run by a Python that has mlflow with its server. Prints a Markdown table. The stub answers at once what Stepwell answered, so what is
left against it is the client's own time; the rest of Stepwell's time is its share.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

import mlflow_servers
from mlflow import MlflowClient
from mlflow.entities import Metric

BATCH = 1_000
FILTER, ORDER = "metrics.accuracy > 0.5 and params.optimizer = 'adam'", ["metrics.loss ASC"]


class Work:
    """What is done to every server, by one thread that waits for each answer."""

    def __init__(self, client, seconds, points):
        self.client, self.seconds, self.points = client, seconds, points
        self.run_id = client.create_run("0").info.run_id
        self.step = 0

    def per_call(self, call):
        """Seconds a call, the mean over some seconds and at least three calls; the first one is not counted."""
        call()
        begin, calls = time.perf_counter(), 0
        while calls < 3 or time.perf_counter() - begin < self.seconds:
            call()
            calls += 1
        return (time.perf_counter() - begin) / calls

    def once(self, call):
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    def log_metrics(self, keys):
        self.step += BATCH
        metrics = [Metric(f"m{number % keys}", number / 7, 1_700_000_000_000 + number, self.step + number // keys) for number in range(BATCH)]
        self.client.log_batch(self.run_id, metrics)

    def log_metric(self):
        self.step += 1
        self.client.log_metric(self.run_id, "single", 0.5, timestamp=1_700_000_000_000 + self.step, step=self.step)

    def search(self, experiment):
        found = self.client.search_runs([experiment], FILTER, order_by=ORDER, max_results=100)
        assert len(found) == 100, len(found)

    def history(self, run_id):
        found = self.client.get_metric_history(run_id, "long")
        assert len(found) == self.points, len(found)

    def all(self, experiment, run_id):
        """Seconds of each piece of work."""
        return [
            self.per_call(lambda: self.log_metrics(1)),
            self.per_call(lambda: self.log_metrics(BATCH)),
            self.per_call(self.log_metric),
            self.per_call(lambda: self.client.create_run("0")),
            self.per_call(lambda: self.search(experiment)),
            self.once(lambda: self.history(run_id)),
        ]


def rows(arguments):
    return [
        "`log_batch`, 1,000 points of one metric",
        "`log_batch`, 1,000 metrics",
        "`log_metric`",
        "`create_run`",
        f"`search_runs`, a metric and a param filter and a metric order, 100 of {arguments.runs:,} runs",
        f"`get_metric_history`, {arguments.points:,} points",
    ]


def measured(arguments, opened):
    """Seconds of each piece of work against one server, which is filled first."""
    directory = tempfile.mkdtemp(dir=arguments.directory)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = stack.enter_context(opened(directory))
        print(f"filling {server.name}", file=sys.stderr)
        experiment, run_id = server.fill(arguments.runs, arguments.points)
        print(f"measuring {server.name}", file=sys.stderr)
        client = MlflowClient(server.url)
        return server.name, Work(client, arguments.seconds, arguments.points).all(experiment, run_id)


def stepwell(arguments):
    """Stepwell, and beside it the client alone: the same calls to a stub that has heard what Stepwell answers."""
    directory = tempfile.mkdtemp(dir=arguments.directory)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = stack.enter_context(mlflow_servers.stepwell(arguments.stepwell)(directory))
        print(f"filling {server.name}", file=sys.stderr)
        experiment, run_id = server.fill(arguments.runs, arguments.points)
        print(f"measuring {server.name}", file=sys.stderr)
        seconds = Work(MlflowClient(server.url), arguments.seconds, arguments.points).all(experiment, run_id)
        heard = mlflow_servers.heard(server.url, experiment, run_id, FILTER, ORDER)
    with mlflow_servers.stub(heard) as url:
        print("measuring the client alone", file=sys.stderr)
        alone = Work(MlflowClient(url), arguments.seconds, arguments.points).all(experiment, run_id)
    return server.name, seconds, alone


def shown(seconds):
    return f"{seconds * 1_000:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=os.path.abspath)
    parser.add_argument("--stepwell", required=True, type=os.path.abspath)
    parser.add_argument("--postgres", type=os.path.abspath)
    parser.add_argument("--skipped", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    return parser.parse_args()


def main():
    arguments = parse()
    os.makedirs(arguments.directory, exist_ok=True)
    name, ours, alone = stepwell(arguments)
    genuine = [("MLflow on SQLite", mlflow_servers.mlflow_on_sqlite)]
    if arguments.postgres:
        genuine.append(("MLflow on PostgreSQL", mlflow_servers.mlflow_on_postgres(arguments.postgres)))
    columns, notes = [], []
    for what, opened in genuine:
        try:
            columns.append(measured(arguments, opened))
        except Exception as error:  # Whatever ails a peer, it is not ours to fail of.
            notes.append(f"{what}: it failed: {' '.join(str(error).split())[:300]}")
    notes += [f"{skipped.replace('=', ': ', 1)}" for skipped in arguments.skipped]
    head = ["through MLflow's client, seconds a call", name, "the client alone", "Stepwell's share"]
    for what, _ in columns:
        head += [what, f"{what.split(',')[0].split(' on ')[-1]} ÷ Stepwell"]
    print(f"| {' | '.join(head)} |\n| {' | '.join(['---'] * len(head))} |")
    for at, row in enumerate(rows(arguments)):
        share = max(0.0, 1 - alone[at] / ours[at])
        cells = [row, shown(ours[at]), shown(alone[at]), f"{share:.0%}"]
        for _, seconds in columns:
            cells += [shown(seconds[at]), f"{seconds[at] / ours[at]:,.1f}×"]
        print(f"| {' | '.join(cells)} |")
    for note in notes:
        print(note, file=sys.stderr)


if __name__ == "__main__":
    main()
