"""MLflow's own client against MLflow's own server, on SQLite and on PostgreSQL, and against Stepwell, in one run.

usage: mlflow_compare.py DIRECTORY --stepwell BINARY [--postgres BIN-DIRECTORY] [--skipped NAME=WHY]…
                         [--seconds N] [--runs N] [--points N]

Run by a Python that has mlflow with its server. All servers are up and filled before the first call is measured, and have their turns one after
the other. Prints a Markdown table. The stub answers at once what Stepwell answered, so what is
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
# How often each server has its turn.
TURNS = 5
FILTER, ORDER = "metrics.accuracy > 0.5 and params.optimizer = 'adam'", ["metrics.loss ASC"]


class Work:
    """What is done to one server, by one thread that waits for each answer."""

    def __init__(self, url, experiment, run_id, points):
        self.client, self.experiment, self.long_run, self.points = MlflowClient(url), experiment, run_id, points
        self.run_id = self.client.create_run("0").info.run_id
        self.step = 0

    def log_metrics(self, keys):
        self.step += BATCH
        metrics = [Metric(f"m{number % keys}", number / 7, 1_700_000_000_000 + number, self.step + number // keys) for number in range(BATCH)]
        self.client.log_batch(self.run_id, metrics)

    def log_metric(self):
        self.step += 1
        self.client.log_metric(self.run_id, "single", 0.5, timestamp=1_700_000_000_000 + self.step, step=self.step)

    def search(self):
        found = self.client.search_runs([self.experiment], FILTER, order_by=ORDER, max_results=100)
        assert len(found) == 100, len(found)

    def history(self):
        found = self.client.get_metric_history(self.long_run, "long")
        assert len(found) == self.points, len(found)


def pieces(arguments):
    """What is measured: its name, how often each server has its turn, and the work."""
    return [
        ("`log_batch`, 1,000 points of one metric", TURNS, lambda work: work.log_metrics(1)),
        ("`log_batch`, 1,000 metrics", TURNS, lambda work: work.log_metrics(BATCH)),
        ("`log_metric`", TURNS, lambda work: work.log_metric()),
        ("`create_run`", TURNS, lambda work: work.client.create_run("0")),
        (f"`search_runs`, a metric and a param filter and a metric order, 100 of {arguments.runs:,} runs", TURNS, lambda work: work.search()),
        (f"`get_metric_history`, {arguments.points:,} points", 1, lambda work: work.history()),
    ]


def in_turns(works, turns, seconds, call):
    """Seconds a call of each server, the mean over its turns. One server after the other would be compared by what else the machine
    does meanwhile; in turns they all have the same share of it. The first call of each is not counted where there are several turns."""
    spent, calls = [0.0] * len(works), [0] * len(works)
    if turns > 1:
        for work in works:
            call(work)
    for turn in range(turns):
        for at, work in enumerate(works):
            begin = time.perf_counter()
            while True:
                call(work)
                calls[at] += 1
                passed = time.perf_counter() - begin
                if passed >= seconds / turns or turns == 1:
                    break
            spent[at] += passed
    return [seconds / calls for seconds, calls in zip(spent, calls)]


def start(stack, arguments, opened):
    """A server with runs and a long history in it, and its work."""
    directory = tempfile.mkdtemp(dir=arguments.directory)
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    server = stack.enter_context(opened(directory))
    print(f"filling {server.name}", file=sys.stderr)
    experiment, run_id = server.fill(arguments.runs, arguments.points)
    return server, Work(server.url, experiment, run_id, arguments.points)


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
    with contextlib.ExitStack() as stack:
        server, ours = start(stack, arguments, mlflow_servers.stepwell(arguments.stepwell))
        # The stub answers what Stepwell answered.
        heard = mlflow_servers.heard(server.url, ours.experiment, ours.long_run, FILTER, ORDER)
        url = stack.enter_context(mlflow_servers.stub(heard))
        works = [ours, Work(url, ours.experiment, ours.long_run, arguments.points)]
        genuine = [("MLflow on SQLite", mlflow_servers.mlflow_on_sqlite)]
        if arguments.postgres:
            genuine.append(("MLflow on PostgreSQL", mlflow_servers.mlflow_on_postgres(arguments.postgres)))
        names, notes = [], [f"{skipped.replace('=', ': ', 1)}" for skipped in arguments.skipped]
        for what, opened in genuine:
            try:
                peer, work = start(stack, arguments, opened)
                names.append(peer.name)
                works.append(work)
            except Exception as error:  # Whatever ails a peer, it is not ours to fail of.
                notes.append(f"{what}: it failed: {' '.join(str(error).split())[:300]}")
        head = ["through MLflow's client, seconds a call", server.name, "the client alone", "Stepwell's share"]
        for name in names:
            head += [name, f"{name.split(',')[0].split(' on ')[-1]} ÷ Stepwell"]
        print(f"| {' | '.join(head)} |\n| {' | '.join(['---'] * len(head))} |")
        for name, turns, call in pieces(arguments):
            print(f"measuring {name}", file=sys.stderr)
            own, alone, *others = in_turns(works, turns, arguments.seconds, call)
            cells = [name, shown(own), shown(alone), f"{max(0.0, 1 - alone / own):.0%}"]
            for seconds in others:
                cells += [shown(seconds), f"{seconds / own:,.1f}×"]
            print(f"| {' | '.join(cells)} |", flush=True)
    for note in notes:
        print(note, file=sys.stderr)


if __name__ == "__main__":
    main()
