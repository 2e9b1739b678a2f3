"""Posts the same points in every column layout that the API names, and reads them back through SQL."""

import datetime
import io
import math

import pyarrow as pa
import pyarrow.parquet as pq

from stepwell import ingest, sql

N = 50
steps = list(range(N))
values = [1.0 / (step + 1) for step in steps]
times = [1_790_000_000_000_000 + step for step in steps]
total = 0


def post(name, options=None, **columns):
    global total
    layout = {
        "run_id": pa.array(["r"] * N),
        "metric": pa.array([name] * N),
        "step": pa.array(steps, pa.int64()),
        "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "value": pa.array(values, pa.float64()),
    }
    layout.update(columns)
    table = pa.table({name: column for name, column in layout.items() if column is not None})
    answer = ingest(table, options)
    assert answer["points"] == N and answer["last_lsn"] - answer["first_lsn"] == N - 1 and not answer["duplicate"], answer
    total += N
    got = sql(f"SELECT step, timestamp, value FROM points WHERE metric = '{name}' ORDER BY step")
    assert got["step"].to_pylist() == steps, name
    return got


def text(kind, name):
    return {"run_id": pa.array(["r"] * N).cast(kind), "metric": pa.array([name] * N).cast(kind)}


got = post("plain")
assert got["value"].to_pylist() == values
assert got["timestamp"].cast(pa.int64()).to_pylist() == times
for name, kind in {"large": pa.large_string(), "view": pa.string_view()}.items():
    post(name, **text(kind, name))
for name, index in {"dict8": pa.int8(), "dict32": pa.int32(), "dictu16": pa.uint16()}.items():
    post(name, **text(pa.dictionary(index, pa.string()), name))
for name in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]:
    post("step_" + name, step=pa.array(steps, getattr(pa, name)()))
    post("value_" + name, value=pa.array(steps, getattr(pa, name)()))
got = post("value_float32", value=pa.array(values, pa.float32()))
assert got["value"].to_pylist() == pa.array(values, pa.float32()).cast(pa.float64()).to_pylist()
post("value_float16", value=pa.array([float(step) for step in steps], pa.float32()).cast(pa.float16()))
for unit, scale in {"s": 1_000_000, "ms": 1_000}.items():
    got = post("time_" + unit, timestamp=pa.array([time // scale for time in times], pa.timestamp(unit)))
    assert got["timestamp"].cast(pa.int64()).to_pylist() == [time // scale * scale for time in times]
got = post("time_ns", timestamp=pa.array([time * 1_000 + 999 for time in times], pa.timestamp("ns", "Europe/Vienna")))
assert got["timestamp"].cast(pa.int64()).to_pylist() == times
got = post("time_int", timestamp=pa.array(times, pa.int64()))
assert got["timestamp"].cast(pa.int64()).to_pylist() == times
now = datetime.datetime.now(datetime.timezone.utc)
for name, column in {"absent": None, "null": pa.array([None] * N, pa.timestamp("us"))}.items():
    got = post("time_" + name, timestamp=column)
    assert all(abs((time - now).total_seconds()) < 60 for time in got["timestamp"].to_pylist()), got
for codec in ["zstd", "lz4"]:
    try:
        post("ipc_" + codec, options=pa.ipc.IpcWriteOptions(compression=codec))
    except SystemExit as refusal:
        # LZ4 buffers are not among what the API promises; a refusal is an answer, an abort is not.
        assert codec == "lz4" and " 400 " in str(refusal) or " 415 " in str(refusal), refusal
special = [math.nan, math.inf, -math.inf, -0.0, 5e-324]
got = ingest(
    pa.table({"run_id": ["r"] * 5, "metric": ["special"] * 5, "step": list(range(5)), "value": pa.array(special, pa.float64())})
)
total += 5
got = sql("SELECT value FROM points WHERE metric = 'special' ORDER BY step")["value"].to_pylist()
assert [value.hex() for value in got] == [value.hex() for value in special], got

assert sql("SELECT count(*) AS n FROM points")["n"].to_pylist() == [total]
parquet = pq.read_table(io.BytesIO(sql("SELECT * FROM points", "application/vnd.apache.parquet")))
assert parquet.num_rows == total
frame = sql("SELECT metric, avg(value) AS mean FROM points GROUP BY metric").to_pandas()
assert abs(frame.set_index("metric").loc["plain", "mean"] - sum(values) / N) < 1e-12
print(f"{total} points in {len(frame)} layouts")
