"""Reads the segment files with no help from the server, and compares with what the server answers."""

import glob
import math
import time

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from stepwell import DATA_DIR, sql

COLUMNS = ["project_id", "metric", "run_id", "step", "timestamp", "value", "lsn"]
TOTAL = 20_000
for _ in range(100):
    files = sorted(glob.glob(DATA_DIR + "/segments/*.parquet"))
    if sum(pq.read_metadata(file).num_rows for file in files) == TOTAL:
        break
    time.sleep(0.1)

# pyarrow: plain columns, sorted as said, checksums good.
tables, times_encodings = [], set()
for file in files:
    metadata = pq.ParquetFile(file, page_checksum_verification=True)
    table = metadata.read()
    assert table.schema.names == COLUMNS, table.schema
    for name in ["project_id", "metric", "run_id"]:
        kind = table.schema.field(name).type
        assert pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind), (name, kind)
    assert table.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    keys = list(zip(*(table[name].to_pylist() for name in ["project_id", "metric", "run_id", "step", "lsn"])))
    assert keys == sorted(keys), file
    assert metadata.metadata.row_group(0).column(3).statistics.has_min_max
    times_encodings.update(metadata.metadata.row_group(0).column(4).encodings)
    tables.append(table)
# All metrics share their times, which are then stored in long plain pages.
assert "PLAIN" in times_encodings, times_encodings
table = pa.concat_tables(tables)
assert table.num_rows == TOTAL, (table.num_rows, files)
assert sorted(table["lsn"].to_pylist()) == list(range(1, TOTAL + 1))

# The bits, against what the server answers from the same points.
order = [("metric", "ascending"), ("step", "ascending")]
served = sql("SELECT value FROM points ORDER BY metric, step")["value"].to_pylist()
read = table.sort_by(order)["value"].to_pylist()
assert [value.hex() for value in read] == [value.hex() for value in served]
assert math.isnan(read[500]) and read[501] == math.inf

# The times, which all readers find as the server answers them.
served = sql("SELECT timestamp FROM points ORDER BY metric, step")["timestamp"].cast(pa.int64()).to_pylist()
assert table.sort_by(order)["timestamp"].cast(pa.int64()).to_pylist() == served
found = duckdb.sql(f"SELECT epoch_us(timestamp) FROM '{DATA_DIR}/segments/*.parquet' ORDER BY metric, step").fetchall()
assert [time for (time,) in found] == served
frame = pl.scan_parquet(DATA_DIR + "/segments/*.parquet").sort("metric", "step").collect()
assert frame["timestamp"].to_physical().to_list() == served

# DuckDB: the question of the README, and pruning by a predicate that leaves no NaN behind.
found = duckdb.sql(f"SELECT count(*), count(DISTINCT metric), max(step) FROM '{DATA_DIR}/segments/*.parquet'").fetchall()
assert found == [(TOTAL, 20, 999)], found
mean = duckdb.sql(
    f"SELECT avg(value) FROM '{DATA_DIR}/segments/*.parquet' WHERE metric = 'layer03/w' AND step < 500"
).fetchall()[0][0]
assert abs(mean - (3 + sum(1.0 / (step + 1) for step in range(500)) / 500)) < 1e-9, mean
large = duckdb.sql(f"SELECT count(*) FROM '{DATA_DIR}/segments/*.parquet' WHERE value = 'Infinity'").fetchall()[0][0]
assert large == 20, large

# Polars.
frame = pl.scan_parquet(DATA_DIR + "/segments/*.parquet").filter(pl.col("metric") == "layer19/w").collect()
assert frame.height == 1_000 and frame["value"].is_nan().sum() == 1, frame
print(f"{TOTAL} points in {len(files)} segments")
