"""Streams batches over Flight with writes that do not wait, reads the acknowledgements beside them, and has a batch refused."""

import json
import threading

import pyarrow as pa
import pyarrow.flight as flight

from stepwell import URL, sql

BATCHES, N = 500, 200
DESCRIPTOR = flight.FlightDescriptor.for_path("ingest")
client = flight.connect(URL.replace("http://", "grpc://"))


def batch(number, metric="flight", run_id="r"):
    steps = range(number * N, number * N + N)
    names = lambda name: pa.array([name] * N).dictionary_encode()
    values = pa.array([1 / (1 + step) for step in steps], pa.float64())
    return pa.record_batch(
        {"run_id": names(run_id), "metric": names(metric), "step": pa.array(steps, pa.int64()), "value": values}
    )


def put(producer, **options):
    headers = [(b"stepwell-producer", producer)] if producer else []
    call = flight.FlightCallOptions(headers=headers, **options)
    return client.do_put(DESCRIPTOR, batch(0).schema, call)


def metadata(sequence):
    return pa.py_buffer(json.dumps({"sequence": sequence}).encode())


def acknowledgement(reader):
    text = reader.read()
    return None if text is None else json.loads(text.to_pybytes())


# Pipelined: one thread writes, this one reads.
writer, reader = put(b"pyarrow")


def write():
    for number in range(BATCHES):
        writer.write_with_metadata(batch(number), metadata(number + 1))
    writer.done_writing()


thread = threading.Thread(target=write)
thread.start()
last_lsn = 0
for sequence in range(1, BATCHES + 1):
    ack = acknowledgement(reader)
    assert ack["sequence"] == sequence and ack["points"] == N and not ack["duplicate"], ack
    assert ack["first_lsn"] > last_lsn, ack
    last_lsn = ack["last_lsn"]
thread.join()
assert reader.read() is None
writer.close()
got = sql("SELECT step, value FROM points WHERE metric = 'flight' ORDER BY step")
assert got["step"].to_pylist() == list(range(BATCHES * N))
assert got["value"].to_pylist() == [1 / (1 + step) for step in range(BATCHES * N)]

# Again, on a new stream: applied once. Compressed buffers, and a dictionary that changes from batch to batch.
writer, reader = put(b"pyarrow", write_options=pa.ipc.IpcWriteOptions(compression="zstd"))
writer.write_with_metadata(batch(BATCHES - 1), metadata(BATCHES))
writer.write_with_metadata(batch(BATCHES, "other"), metadata(BATCHES + 1))
assert acknowledgement(reader)["duplicate"]
assert not acknowledgement(reader)["duplicate"]
writer.close()
assert sql("SELECT count(*) AS n FROM points")["n"].to_pylist() == [(BATCHES + 1) * N]

# A refusal: what came before is acknowledged, what comes after is not applied, the reason is there for programs.
writer, reader = put(b"pyarrow-2")
writer.write_with_metadata(batch(0, "refused", "r"), metadata(7))
assert acknowledgement(reader)["sequence"] == 7
try:
    writer.write_with_metadata(batch(1, "refused", "nobody"), metadata(8))
    # The server's refusal may be here before this is written, and then comes out of the writing.
    writer.write_with_metadata(batch(2, "refused", "r"), metadata(9))
    assert reader.read() is None  # pyarrow tells why the stream ended when it is closed.
    writer.close()
except KeyError as error:
    assert "sequence 8: " in str(error) and "run_not_found" in str(error), repr(error)
else:
    raise SystemExit("not refused")
assert sql("SELECT count(*) AS n FROM points WHERE metric = 'refused'")["n"].to_pylist() == [N]

# Without a producer, without sequences.
writer, reader = put(None)
writer.write_batch(batch(0, "plain"))
ack = acknowledgement(reader)
assert ack["sequence"] is None and ack["points"] == N, ack
writer.close()

for call in [lambda: list(client.list_flights()), lambda: client.do_get(flight.Ticket(b"x")).read_all()]:
    try:
        raise SystemExit(f"answered: {call()}")
    except NotImplementedError as error:
        assert "DoPut" in str(error), error
print(f"{BATCHES} batches pipelined")
