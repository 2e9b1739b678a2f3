"""Peers that are libraries: they run in this very process."""

import contextlib
import os
import sqlite3
import types

import duckdb

import points


@contextlib.contextmanager
def sqlite(directory):
    db = sqlite3.connect(os.path.join(directory, "points.sqlite"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE points (run TEXT, metric TEXT, step INTEGER, time INTEGER, value REAL)")

    def write(rows):
        db.execute("BEGIN")
        db.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")

    yield types.SimpleNamespace(
        name=f"SQLite {sqlite3.sqlite_version}, in process",
        promise="committed and synced (WAL, synchronous=FULL)",
        prepare=points.rows,
        write=write,
    )
    db.close()


@contextlib.contextmanager
def duck(directory):
    db = duckdb.connect(os.path.join(directory, "points.duckdb"))
    db.execute("CREATE TABLE points (run VARCHAR, metric VARCHAR, step BIGINT, time BIGINT, value DOUBLE)")

    def write(batch):
        db.register("batch", batch)
        db.execute("INSERT INTO points SELECT * FROM batch")

    yield types.SimpleNamespace(
        name=f"DuckDB {duckdb.__version__}, in process, from Arrow",
        promise="committed and synced to its log",
        prepare=points.table,
        write=write,
    )
    db.close()
