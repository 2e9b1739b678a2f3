"""Experiments: made, found, renamed, deleted, restored."""

import time

from mlflow.entities import ViewType

import describe


def lifecycle(session):
    client = session.client
    made = client.create_experiment("My Experiment", tags={"key1": "val1", "key2": "val2"})
    session.note("made", describe.experiment(client.get_experiment(made)))
    session.note("by name", describe.experiment(client.get_experiment_by_name("My Experiment")))
    session.note("no such name", client.get_experiment_by_name("nobody's"))
    session.refused("twice", client.create_experiment, "My Experiment")
    client.rename_experiment(made, "Renamed")
    session.note("renamed", describe.experiment(client.get_experiment(made)))
    other = client.create_experiment("Other")
    session.refused("the name of another", client.rename_experiment, other, "Renamed")
    client.set_experiment_tag(made, "key1", "line one\nline two")
    client.set_experiment_tag(made, "empty", "")
    client.delete_experiment_tag(made, "key2")
    session.note("tags", describe.experiment(client.get_experiment(made)))
    session.refused("no such tag", client.delete_experiment_tag, made, "key2")
    run = client.create_run(made, run_name="inside")
    client.delete_experiment(made)
    session.note("deleted", describe.experiment(client.get_experiment(made)))
    session.note("its run", describe.run(client.get_run(run.info.run_id)))
    session.refused("a run in it", client.create_run, made)
    session.refused("tag of a deleted", client.set_experiment_tag, made, "a", "b")
    session.refused("rename of a deleted", client.rename_experiment, made, "again")
    session.refused("its name", client.create_experiment, "Renamed")
    session.note("the deleted by name", describe.experiment(client.get_experiment_by_name("Renamed")))
    session.refused("deleted again", client.delete_experiment, made)
    client.restore_experiment(made)
    session.note("restored", describe.experiment(client.get_experiment(made)))
    session.note("its run is back", describe.run(client.get_run(run.info.run_id)))
    session.refused("restored again", client.restore_experiment, made)
    session.refused("of nobody", client.get_experiment, "4711")
    session.refused("of no form", client.get_experiment, "a b")
    session.refused("without a name", client.create_experiment, "")
    session.refused("a long name", client.create_experiment, "x" * 501)
    session.note("the longest", len(client.get_experiment(client.create_experiment("x" * 500)).name))
    place = client.create_experiment("elsewhere", artifact_location="s3://bucket/path")
    session.note("elsewhere", describe.experiment(client.get_experiment(place)))
    session.note("a run elsewhere", describe.run(client.create_run(place, run_name="there")))
    session.refused("a place with a fragment", client.create_experiment, "odd", artifact_location="s3://bucket#frag")
    session.refused("a place that climbs", client.create_experiment, "odd", artifact_location="s3://bucket/../up")


def search(session):
    client, found = session.client, {}

    def names(what, **arguments):
        found[what] = [experiment.name for experiment in client.search_experiments(**arguments)]

    names("at first")
    ids = {}
    for name, tags in (("a", {"key": "value"}), ("ab", {"key": "vaLue"}), ("Abc", None), ("tab", {"other": "value"})):
        time.sleep(0.002)
        ids[name] = client.create_experiment(name, tags=tags)
    for text in (
        "attribute.name = 'a'",
        "attribute.name != 'a'",
        "name LIKE 'a%'",
        "name ILIKE 'a%'",
        "tag.key = 'value'",
        "tag.key != 'value'",
        "tag.key ILIKE '%alu%'",
        "tags.key LIKE 'va%' AND name != 'a'",
        "tags.`key` = \"value\"",
        "creation_time > 0",
        "creation_time < 5 AND name = 'a'",
        "last_update_time >= 5",
    ):
        names(text, filter_string=text)
    for order in (["name"], ["name DESC"], ["name ASC"], ["creation_time"], ["last_update_time DESC"], ["experiment_id"]):
        names(str(order), order_by=order)
    page, pages = client.search_experiments(max_results=2), []
    while True:
        pages.append([experiment.name for experiment in page])
        if not page.token:
            break
        page = client.search_experiments(max_results=2, page_token=page.token)
    found["pages"] = pages
    time.sleep(0.002)
    client.delete_experiment(ids["ab"])
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        names(f"view {view}", view_type=view)
    session.note("found", found)
    for text in ("name", "nam = 'a'", "name = a", "name > 'a'", "tag.key > 'a'", "metrics.a = 1", "name = 'a' OR name = 'b'", "creation_time LIKE 'a'"):
        session.refused(f"filter {text}", client.search_experiments, filter_string=text)
    for order in ("nothing", "name SIDEWAYS", "tag.key"):
        session.refused(f"order {order}", client.search_experiments, order_by=[order])
    for most in (0, -1, 50_001):
        session.refused(f"at most {most}", client.search_experiments, max_results=most)
    session.refused("no token", client.search_experiments, page_token="nonsense")
