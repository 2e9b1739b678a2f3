"""What is too much, too long, or said twice."""

import mlflow
from mlflow.entities import Metric, Param, RunTag

import describe


def new_run(session, name="limits"):
    return session.client.create_run("0", run_name=name).info.run_id


def batches(session):
    client, run_id = session.client, new_run(session)

    def metrics(count):
        return [Metric(f"m{number}", float(number), 1, 0) for number in range(count)]

    def params(count):
        return [Param(f"p{number}", str(number)) for number in range(count)]

    def tags(count):
        return [RunTag(f"t{number}", str(number)) for number in range(count)]

    client.log_batch(run_id, metrics=metrics(1_000))
    session.note("a thousand", len(client.get_run(run_id).data.metrics))
    session.refused("a thousand and one", client.log_batch, run_id, metrics=metrics(1_001))
    session.refused("101 params", client.log_batch, run_id, params=params(101))
    session.refused("101 tags", client.log_batch, run_id, tags=tags(101))
    session.refused("too many together", client.log_batch, run_id, metrics=metrics(950), params=params(51))
    client.log_batch(run_id, metrics=metrics(800), params=params(100), tags=tags(100))
    data = client.get_run(run_id).data
    session.note("as many as go", [len(data.metrics), len(data.params), len(describe.tags(data.tags))])
    client.log_batch(run_id)
    # The fluent interface splits what is more.
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metrics({f"n{number}": number for number in range(2_500)}, step=1)
        mlflow.log_params({f"q{number}": number for number in range(250)})
        mlflow.set_tags({f"u{number}": number for number in range(250)})
    data = client.get_run(run_id).data
    session.note("split", [len(data.metrics), len(data.params), len(describe.tags(data.tags))])


def names_and_values(session):
    client, run_id = session.client, new_run(session)
    for name in ("a/b.c-d_e f:g", "ключ", "k" * 250, "日本"):
        client.log_metric(run_id, name, 1.0, timestamp=1)
        client.log_param(run_id, name, "v")
        client.set_tag(run_id, name, "v")
    data = client.get_run(run_id).data
    session.note("names", [sorted(data.metrics), sorted(data.params), sorted(describe.tags(data.tags))])
    for name in ("", "a|b", "../up", "/absolute", "a//b", "a/../b", ".", "k" * 251, "a\nb", "tab\there", "a,b", "%41"):
        session.refused(f"metric {name[:9]!r} {len(name)}", client.log_metric, run_id, name, 1.0)
        session.refused(f"param {name[:9]!r} {len(name)}", client.log_param, run_id, name, "v")
        session.refused(f"tag {name[:9]!r} {len(name)}", client.set_tag, run_id, name, "v")
    client.log_param(run_id, "long", "v" * 7_000)
    client.set_tag(run_id, "long", "v" * 9_000)
    data = client.get_run(run_id).data
    session.note("cut", [len(data.params["long"]), len(data.tags["long"])])
    client.log_param(run_id, "empty", "")
    client.set_tag(run_id, "empty", "")
    client.log_batch(run_id, params=[Param("empty too", "")], tags=[RunTag("empty too", "")])
    data = client.get_run(run_id).data
    session.note("empty", [data.params["empty"], data.tags["empty"], data.params["empty too"], data.tags["empty too"]])
    text = "line\nline\ttab \"quoted\" \\ 'single' ünï 🥊 \u2028"
    client.log_param(run_id, "text", text)
    client.set_tag(run_id, "text", text)
    data = client.get_run(run_id).data
    session.note("text", [data.params["text"], data.tags["text"]])


def immutable(session):
    client, run_id = session.client, new_run(session)
    client.log_param(run_id, "lr", 0.1)
    client.log_param(run_id, "lr", 0.1)
    session.refused("another value", client.log_param, run_id, "lr", 0.2)
    session.refused("another type", client.log_param, run_id, "lr", "0.10")
    client.log_batch(run_id, params=[Param("lr", "0.1"), Param("depth", "3")])
    session.refused("in a batch", client.log_batch, run_id, params=[Param("new", "1"), Param("lr", "0.2")])
    session.refused("twice in a batch", client.log_batch, run_id, params=[Param("x", "1"), Param("x", "2")])
    session.refused("the same twice in a batch", client.log_batch, run_id, params=[Param("same", "1"), Param("same", "1")])
    # What else was in a refused batch.
    refused = {
        "metrics": [Metric("loss", 1.0, 1, 1)],
        "params": [Param("lr", "9")],
        "tags": [RunTag("in the refused", "batch")],
    }
    session.refused("with others", client.log_batch, run_id, **refused)
    session.note("after all", describe.run(client.get_run(run_id)))
    refused = {"metrics": [Metric("good", 1.0, 1, 1), Metric("a|b", 1.0, 1, 1)], "tags": [RunTag("of a bad", "batch")]}
    session.refused("a bad name in a batch", client.log_batch, run_id, **refused)
    session.note("nothing of it", describe.run(client.get_run(run_id)))
    absent = "f" * 32
    session.refused("no such run", client.log_batch, absent, metrics=[Metric("good", 1.0, 1, 1)])
    session.refused("nothing for no run", client.log_batch, absent)


def tags(session):
    client, run_id = session.client, new_run(session)
    client.set_tag(run_id, "a", "one")
    client.set_tag(run_id, "a", "two")
    client.set_tag(run_id, "number", 5)
    client.log_batch(run_id, tags=[RunTag("b", "1"), RunTag("b", "2")])
    client.set_tag(run_id, "mlflow.runName", "named by a tag")
    client.set_tag(run_id, "mlflow.note.content", "# why\nbecause")
    client.set_tag(run_id, "mlflow.user", "grace")
    session.note("run", describe.run(client.get_run(run_id)))
    session.note("user", client.get_run(run_id).info.user_id)
    client.update_run(run_id, name="named by an update")
    session.note("named", client.get_run(run_id).data.tags["mlflow.runName"])
    client.delete_tag(run_id, "a")
    session.refused("gone", client.delete_tag, run_id, "a")
    session.refused("of no run", client.delete_tag, "0" * 32, "a")
    session.note("left", describe.tags(client.get_run(run_id).data.tags))
