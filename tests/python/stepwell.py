"""What the scripts beside this file share: the server's address, and three calls."""

import io
import json
import sys
import urllib.error
import urllib.request

import pyarrow as pa

URL, DATA_DIR = sys.argv[1], sys.argv[2]
ARROW = "application/vnd.apache.arrow.stream"


def call(path, body, content_type="application/json", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(URL + path, body, {"content-type": content_type, **headers})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{path}: {error.code} {error.read().decode()}")


def ingest(table, options=None):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return json.loads(call("/api/v1/ingest", sink.getvalue(), ARROW))


def sql(query, accept=ARROW):
    answer = call("/api/v1/sql", json.dumps({"query": query, "project": "p"}).encode(), accept=accept)
    return pa.ipc.open_stream(answer).read_all() if accept == ARROW else answer
