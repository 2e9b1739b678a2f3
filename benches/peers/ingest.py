"""Ingest of peers and of Stepwell, one after the other: the same batches, sent by the same kind of client over one connection.

usage: ingest.py BODIES DIRECTORY SECONDS --stepwell BINARY [--victoria-metrics BINARY --victoria-metrics-version VERSION]
                 [--mlflow PYTHON] [--skipped NAME=WHY]…

BODIES holds batches as Arrow streams, a file each. Prints a Markdown table. A peer that fails is a line of the table; a failure of
Stepwell is a failure.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time

import embedded
import over_http
import points


def measure(bodies, seconds, peer):
    """Points a second. Only the time within `write` counts: making what a peer takes is not the peer's work."""
    spent, sent = 0.0, 0
    for body in bodies:
        batch = peer.prepare(body)
        begin = time.perf_counter()
        peer.write(batch)
        spent += time.perf_counter() - begin
        sent += points.count(body)
        if spent >= seconds:
            break
    return sent / spent


def row(arguments, opened):
    directory = tempfile.mkdtemp(dir=arguments.directory)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        peer = stack.enter_context(opened(directory))
        rate = measure(points.bodies(arguments.bodies), arguments.seconds, peer)
        return f"| {peer.name} | {rate:,.0f} points/s | {peer.promise} |"


def skipped(name, why):
    return f"| {name} | not measured | {why} |"


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("bodies")
    parser.add_argument("directory")
    parser.add_argument("seconds", type=float)
    # They run in directories of their own.
    parser.add_argument("--stepwell", required=True, type=os.path.abspath)
    parser.add_argument("--victoria-metrics", type=os.path.abspath)
    parser.add_argument("--victoria-metrics-version", default="")
    parser.add_argument("--mlflow", type=os.path.abspath)
    parser.add_argument("--skipped", action="append", default=[])
    return parser.parse_args()


def main():
    arguments = parse()
    os.makedirs(arguments.directory, exist_ok=True)
    peers = [("SQLite", embedded.sqlite), ("DuckDB", embedded.duck)]
    if arguments.victoria_metrics:
        opened = over_http.victoria_metrics(arguments.victoria_metrics, arguments.victoria_metrics_version)
        peers.append(("VictoriaMetrics", opened))
    if arguments.mlflow:
        peers.append(("MLflow", over_http.mlflow(arguments.mlflow)))
    rows = [row(arguments, over_http.stepwell(arguments.stepwell))]
    for name, opened in peers:
        print(f"measuring {name}", file=sys.stderr)
        try:
            rows.append(row(arguments, opened))
        except Exception as error:  # Whatever ails a peer, it is not ours to fail of.
            words = " ".join(str(error).split()) or type(error).__name__
            rows.append(skipped(name, f"it failed: {words[:200]}"))
    rows += [skipped(*reason.split("=", 1)) for reason in arguments.skipped]
    print("| what | batches of 10,000 points of 1,000 metrics, over one connection | an acknowledgement means |")
    print("| --- | --- | --- |")
    print("\n".join(rows))


main()
