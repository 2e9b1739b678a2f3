"""Ingest of peers, in one process each: points a second, and what an acknowledgement promises.

usage: ingest.py DIRECTORY SECONDS; prints a Markdown table.
"""

import os
import shutil
import sqlite3
import sys
import time

import duckdb
import pyarrow as pa

BATCH = 10_000
METRICS = 1_000


def batches():
    """Rows (run, metric, step, timestamp, value): ten steps of a thousand metrics of one run."""
    step = 0
    metrics = [f"metric-{i:04}" for i in range(METRICS)]
    while True:
        rows = []
        for row in range(step, step + BATCH // METRICS):
            time_us = 1_790_000_000_000_000 + row * 1_000_003
            rows += [("run-0", metric, row, time_us, 1.0 / (1 + row + i)) for i, metric in enumerate(metrics)]
        yield rows
        step += BATCH // METRICS


def measure(seconds, write):
    """Only the time within `write` counts: making the rows is not the peer's work."""
    spent, points = 0.0, 0
    for rows in batches():
        begin = time.perf_counter()
        write(rows)
        spent += time.perf_counter() - begin
        points += len(rows)
        if spent >= seconds:
            return points / spent


def sqlite(path, seconds):
    db = sqlite3.connect(path + ".sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE points (run TEXT, metric TEXT, step INTEGER, time INTEGER, value REAL)")

    def write(rows):
        db.execute("BEGIN")
        db.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")

    return measure(seconds, write)


def duck(path, seconds):
    db = duckdb.connect(path + ".duckdb")
    db.execute("CREATE TABLE points (run VARCHAR, metric VARCHAR, step BIGINT, time BIGINT, value DOUBLE)")
    names = ["run", "metric", "step", "time", "value"]
    tables = {}

    def write(table):
        db.register("batch", table)
        db.execute("INSERT INTO points SELECT * FROM batch")

    def as_arrow(rows):
        key = len(tables)
        tables[key] = pa.table(dict(zip(names, map(list, zip(*rows)))))
        return tables.pop(key)

    spent, points = 0.0, 0
    for rows in batches():
        table = as_arrow(rows)
        begin = time.perf_counter()
        write(table)
        spent += time.perf_counter() - begin
        points += len(rows)
        if spent >= seconds:
            return points / spent


def main():
    directory, seconds = sys.argv[1], float(sys.argv[2])
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    path = os.path.join(directory, "peer")
    print("| peer | batches of 10,000 points of 1,000 metrics, in its own process | an acknowledgement means |")
    print("| --- | --- | --- |")
    version = sqlite3.sqlite_version
    print(f"| SQLite {version} (Python) | {sqlite(path, seconds):,.0f} points/s | committed and synced (WAL, synchronous=FULL) |")
    print(f"| DuckDB {duckdb.__version__}, from Arrow | {duck(path, seconds):,.0f} points/s | committed and synced to its log |")
    shutil.rmtree(directory)


main()
