"""Webhooks: kept, changed, tried out, and sent when the registry changes, signed."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import queue
import threading

SECRET = "a secret of some length"


@contextlib.contextmanager
def receiver():
    """A server that takes what webhooks send; its address, and the queue of headers and bodies."""
    received = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.put((dict(self.headers), body.decode()))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", received
    finally:
        server.shutdown()
        server.server_close()


def is_signed(headers, body):
    headers = {name.lower(): value for name, value in headers.items()}
    told = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.{body}"
    signature = base64.b64encode(hmac.new(SECRET.encode(), told.encode(), hashlib.sha256).digest()).decode()
    return headers["x-mlflow-signature"] == f"v1,{signature}"


def told(webhook):
    return [webhook.name, webhook.description, str(webhook.status), sorted(str(event) for event in webhook.events), webhook.secret]


def managed(session):
    client = session.client
    hook = client.create_webhook("one", "http://127.0.0.1:9/hook", ["registered_model.created", "model_version.created"], description="first")
    session.note("made", told(hook))
    other = client.create_webhook("two", "http://127.0.0.1:9/other", ["model_version_alias.created"], secret=SECRET, status="DISABLED")
    session.note("second", told(other))
    session.note("read", told(client.get_webhook(hook.webhook_id)))
    session.note("all", sorted(told(one) for one in client.list_webhooks()))
    page = client.list_webhooks(max_results=1)
    session.note("pages", [len(page), bool(page.token), len(client.list_webhooks(max_results=1, page_token=page.token))])
    changed = client.update_webhook(hook.webhook_id, name="renamed", events=["model_version_tag.set"], status="DISABLED")
    session.note("changed", told(changed))
    for label, arguments in [
        ("no name", ("", "http://127.0.0.1:9", ["registered_model.created"])),
        ("bad name", ("a b!", "http://127.0.0.1:9", ["registered_model.created"])),
        ("no events", ("x", "http://127.0.0.1:9", [])),
        ("no host", ("x", "https://", ["registered_model.created"])),
        ("another scheme", ("x", "ftp://127.0.0.1", ["registered_model.created"])),
        ("no url", ("x", "", ["registered_model.created"])),
    ]:
        session.refused(label, client.create_webhook, *arguments)
    client.delete_webhook(hook.webhook_id)
    session.refused("gone", client.get_webhook, hook.webhook_id)
    session.refused("deleted twice", client.delete_webhook, hook.webhook_id)
    session.refused("of what is gone", client.update_webhook, hook.webhook_id, name="x")
    session.note("left", [one.name for one in client.list_webhooks()])


def sent(session):
    """What arrives when the registry changes, each with a good signature."""
    client = session.client
    events = [
        "registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
        "model_version_alias.created", "model_version_alias.deleted",
    ]  # fmt: skip
    with receiver() as (url, received):
        hook = client.create_webhook("all", url, events, secret=SECRET)

        def arrived():
            headers, body = received.get(timeout=60)
            told = json.loads(body)
            return [told["entity"], told["action"], told["data"], is_signed(headers, body)]

        tried = client.test_webhook(hook.webhook_id, event="model_version_tag.set")
        session.note("tried", [tried.success, tried.response_status, tried.response_body])
        session.note("of the trial", arrived()[:2])
        client.create_registered_model("net", tags={"a": "b"}, description="a model")
        session.note("model", arrived())
        run = client.create_run("0")
        client.create_model_version("net", f"{run.info.artifact_uri}/net", run.info.run_id, tags={"c": "d"})
        session.note("version", arrived())
        client.set_model_version_tag("net", "1", "checked", "yes")
        session.note("tag", arrived())
        client.delete_model_version_tag("net", "1", "checked")
        session.note("no tag", arrived())
        client.set_registered_model_alias("net", "best", "1")
        session.note("alias", arrived())
        client.delete_registered_model_alias("net", "best")
        session.note("no alias", arrived())
