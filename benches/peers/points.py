"""Batches of the reference data, as the load generator wrote them."""

import functools
import pathlib

import pyarrow as pa


def bodies(directory):
    """The bytes of each batch, in order."""
    for path in sorted(pathlib.Path(directory).glob("*.arrows")):
        yield path.read_bytes()


@functools.lru_cache(maxsize=1)
def table(body):
    """A batch with plain texts and timestamps in microseconds: columns run_id, metric, step, timestamp, value."""
    encoded = pa.ipc.open_stream(body).read_all()
    types = {"run_id": pa.string(), "metric": pa.string(), "timestamp": pa.int64()}
    fields = [(name, types.get(name, encoded.schema.field(name).type)) for name in encoded.column_names]
    return encoded.cast(pa.schema(fields))


def count(body):
    return table(body).num_rows


def rows(body):
    """A batch as tuples."""
    return list(zip(*(column.to_pylist() for column in table(body).columns)))
