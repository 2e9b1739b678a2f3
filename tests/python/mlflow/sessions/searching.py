"""search_runs: filters, orders, pages, tables."""

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType

import describe
from session import said

FILTERS = """
metrics.loss < 0.5
metrics.loss <= 0.5
metrics.loss = 0.5
metrics.loss != 0.5
metrics.loss > 0.25 and metrics.loss < 0.75
metric.`val loss` > 0
metrics."val loss" >= 2
metrics.bad = 1
metrics.edge > 1e300
metrics.edge < -1e300
params.opt = 'sgd'
params.opt != 'sgd'
params.opt LIKE 'a%'
params.opt ILIKE 'A%'
params.opt LIKE 'A%'
params.opt LIKE '_dam'
params.lr = '0.1'
param.lr = "0.1"
parameters.lr != '0.1'
params.odd IS NULL
params.odd IS NOT NULL
tags.team = 'vision'
tags.team != 'vision'
tag.team ILIKE 'VIS%'
tags.team IS NULL
tags.team IS NOT NULL and params.opt = 'sgd'
tags.mlflow.runName = 'run 3'
tags.`mlflow.runName` LIKE 'run %'
attributes.status = 'FINISHED'
attributes.status != 'FINISHED'
status = 'RUNNING'
attribute.run_name = 'run 1'
run_name LIKE 'run _'
run_name ILIKE 'RUN%'
attributes.`run name` = 'run 1'
attributes."Run name" = 'run 2'
start_time > 1005
attributes.start_time <= 1003
start_time = 1004
attributes.created > 1005
Created <= 1002
end_time > 0
end_time < 5000
run_name IN ('run 1', 'run 5')
run_name NOT IN ('run 1', 'run 5')
attributes.status IN ('RUNNING', 'FAILED')
user_id = 'nobody'
dataset.name = 'digits'
datasets.digest = 'd2'
dataset.context = 'train'
dataset.context != 'train'
dataset.name LIKE '%set'
dataset.name IN ('digits', 'other')
metrics.loss < 1 and params.opt = 'sgd' and tags.team = 'vision' and status = 'FINISHED'
METRICS.loss < 0.5
metrics.loss < 0.5 AND params.opt LIKE '%'
params.text = 'it''s'
params.text = "it's"
params.`a b` = '1'
metrics.loss>=0.5
   metrics.loss   <   0.5
""".strip().splitlines()

REFUSED = """
metrics.loss
metrics.loss <
metrics.loss < 'a'
metrics.loss LIKE '1%'
metrics.loss IN (1, 2)
metrics.loss IS NULL
params.lr > '0.1'
params.lr = 0.1
params.opt = sgd
params.opt IN ('sgd')
tags.team < 'a'
loss < 1
nothing.loss < 1
attributes.nothing = 'a'
attributes.start_time = 'a'
start_time LIKE '1'
status > 'A'
metrics.loss < 1 or metrics.loss > 2
(metrics.loss < 1)
metrics.loss < 1 and
and metrics.loss < 1
metrics.loss < 1; DROP TABLE runs
run_name IN ()
run_name IN ('a', 5)
run_name IN 'a'
dataset.nothing = 'a'
dataset.name > 'a'
metrics.loss == 1
not metrics.loss = 1
'a' = params.opt
params. = 'a'
metrics.`loss < 1
""".strip().splitlines()

ORDERS = [
    [],
    ["metrics.loss"],
    ["metrics.loss ASC"],
    ["metrics.loss DESC"],
    ["metrics.bad"],
    ["metrics.bad DESC"],
    ["metrics.edge"],
    ["metrics.edge DESC"],
    ["params.opt", "metrics.loss DESC"],
    ["params.lr DESC"],
    ["tags.team", "start_time"],
    ["attributes.start_time ASC"],
    ["start_time desc"],
    ["attribute.status", "run_name"],
    ["end_time", "start_time"],
    ["run_name DESC"],
    ["`metrics`.`val loss` DESC"],
    ["metrics.`val loss`"],
]


def filled(session):
    """Ten runs that differ in everything."""
    client, experiment = session.client, session.client.create_experiment("searched")
    for number in range(10):
        run_id = client.create_run(experiment, start_time=1_000 + number, run_name=f"run {number}").info.run_id
        metrics = [Metric("loss", number / 8, 1, 0)] if number != 7 else []
        metrics += [Metric("val loss", float(number % 3), 1, 0)] if number % 2 else []
        metrics += [Metric("bad", [float("nan"), 1.0, float("inf"), -float("inf")][number % 4], 1, 0)]
        metrics += [Metric("edge", [1.7e308, -1.7e308, 0.0][number % 3], 1, 0)] if number < 6 else []
        params = [Param("opt", ["sgd", "adam", "Adagrad"][number % 3]), Param("lr", ["0.1", "0.01", "10"][number % 3])]
        params += [Param("odd", "1"), Param("a b", "1"), Param("text", "it's")] if number % 2 else []
        tags = [RunTag("team", ["vision", "text"][number % 2])] if number < 8 else []
        client.log_batch(run_id, metrics, params, tags)
        if number < 3:
            dataset = Dataset(["digits", "other set", "digits"][number], f"d{number}", "local", "source")
            used = DatasetInput(dataset, [InputTag("mlflow.data.context", ["train", "eval", "train"][number])])
            client.log_inputs(run_id, [used])
        if number < 6:
            client.set_terminated(run_id, ["FINISHED", "FAILED"][number % 2], end_time=2_000 + number)
        if number == 9:
            client.delete_run(run_id)
    return experiment


def names(session, experiment, **arguments):
    return " ".join(run.info.run_name[4:] for run in session.client.search_runs([experiment], **arguments))


def filters(session):
    experiment = filled(session)
    for text in FILTERS:
        try:
            session.note(text, names(session, experiment, filter_string=text))
        except mlflow.exceptions.MlflowException as refusal:
            session.note(text, said(refusal))
    for text in REFUSED:
        session.refused(text, session.client.search_runs, [experiment], text)


def orders(session):
    experiment = filled(session)
    for order in ORDERS:
        session.note(", ".join(order), names(session, experiment, order_by=order))
    for order in ("loss", "metrics.loss SIDEWAYS", "metrics.loss ASC DESC", "nothing.loss", "attributes.nothing", "metrics.", "dataset.name", ""):
        session.refused(f"order {order!r}", session.client.search_runs, [experiment], order_by=[order])
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        session.note(f"view {view}", names(session, experiment, run_view_type=view))


def pages(session):
    client, experiment = session.client, filled(session)
    other = client.create_experiment("other")
    client.create_run(other, start_time=2_000, run_name="run other")
    for order in ([], ["metrics.loss DESC"], ["params.opt"]):
        token, seen = None, []
        while True:
            page = client.search_runs([experiment, other], order_by=order, max_results=4, page_token=token)
            seen.append(" ".join(run.info.run_name[4:] for run in page))
            token = page.token
            if not token:
                break
        session.note(f"pages by {order}", seen)
    same = client.create_experiment("same start")
    made = sorted(client.create_run(same, start_time=1).info.run_id for _ in range(6))
    session.note("ties are by id", [run.info.run_id for run in client.search_runs([same])] == made)
    session.note("no experiment", describe.names(client.search_runs([])))
    session.note("an absent one", describe.names(client.search_runs(["4711"])))
    session.note("one of no number", describe.names(client.search_runs(["4711", experiment], max_results=1)))
    session.refused("no token", client.search_runs, [experiment], page_token="nonsense")
    session.refused("too many", client.search_runs, [experiment], max_results=50_001)
    session.refused("too few", client.search_runs, [experiment], max_results=-1)


def tables(session):
    experiment = filled(session)
    table = mlflow.search_runs([experiment], order_by=["start_time ASC"])
    shown = {name: [None if value != value else value for value in table[name].tolist()] for name in sorted(table.columns)}
    for name in ("run_id", "artifact_uri", "tags.mlflow.user"):
        shown.pop(name, None)
    shown = {name: values for name, values in shown.items() if not name.startswith("tags.mlflow.source")}
    shown["end_time"] = [value is None or str(value) == "NaT" for value in table["end_time"]]
    shown["start_time"] = [str(value)[:10] for value in table["start_time"]]
    session.note("table", shown)
    named = mlflow.search_runs(experiment_names=["searched"], filter_string="params.opt = 'sgd'", max_results=2)
    session.note("by name", named["tags.mlflow.runName"].tolist())
    everywhere = mlflow.search_runs(search_all_experiments=True, filter_string="metrics.loss > 0.9", output_format="list")
    session.note("everywhere", [run.info.run_name for run in everywhere])
