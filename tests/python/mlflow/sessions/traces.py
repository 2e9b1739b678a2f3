"""Traces: made by a decorator, read back, searched, tagged, deleted."""

import time

import mlflow

TIMING = ("mlflow.trace.sizeBytes", "mlflow.trace.sizeStats")


@mlflow.trace(name="answer", span_type="CHAIN", attributes={"model": "tiny"})
def answer(question):
    mlflow.update_current_trace(tags={"topic": question.split()[0]})
    return f"{retrieve(question)}!"


@mlflow.trace(span_type="RETRIEVER")
def retrieve(question):
    if "fail" in question:
        raise ValueError("no such document")
    return question.upper()


def spans(trace):
    names = {span.span_id: span.name for span in trace.data.spans}
    return [
        [span.name, names.get(span.parent_id), span.span_type, str(span.status.status_code), span.inputs, span.outputs]
        for span in sorted(trace.data.spans, key=lambda span: span.name)
    ]


def told(trace):
    info = trace.info
    return [str(info.state), info.tags.get("mlflow.traceName"), info.tags.get("topic"), info.request_preview, info.response_preview]


def decorated(session):
    mlflow.set_experiment("asked")
    for question in ("red fish", "blue fish", "red fail"):
        try:
            answer(question)
        except ValueError:
            pass
        # Traces of one millisecond come in the order of their ids, which are random.
        begun = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == begun:
            pass
    mlflow.flush_trace_async_logging()
    experiment = mlflow.get_experiment_by_name("asked").experiment_id
    found = mlflow.search_traces(experiment_ids=[experiment], return_type="list", order_by=["timestamp_ms ASC"])
    session.note("traces", [told(trace) for trace in found])
    session.note("spans", [spans(trace) for trace in found])
    last = mlflow.get_trace(mlflow.get_last_active_trace_id())
    session.note("the last", told(last))
    for text in ("status = 'ERROR'", "tags.topic = 'red'", "name = 'answer'", "tags.topic = 'none'", "timestamp_ms > 0", "status = 'OK' AND tags.topic = 'red'"):
        some = mlflow.search_traces(experiment_ids=[experiment], filter_string=text, return_type="list")
        session.note(text, sorted(trace.info.request_preview for trace in some))
    session.note("one", len(mlflow.search_traces(experiment_ids=[experiment], max_results=1, return_type="list")))
    table = mlflow.search_traces(experiment_ids=[experiment])
    session.note("table", [len(table), "trace_id" in table.columns])
    ids = [trace.info.trace_id for trace in found]
    mlflow.set_trace_tag(ids[0], "reviewed", "yes")
    session.note("tagged", mlflow.get_trace(ids[0]).info.tags["reviewed"])
    mlflow.delete_trace_tag(ids[0], "reviewed")
    session.note("untagged", mlflow.get_trace(ids[0]).info.tags.get("reviewed"))
    session.note("deleted", session.client.delete_traces(experiment, trace_ids=ids[:1]))
    left = mlflow.search_traces(experiment_ids=[experiment], return_type="list")
    session.note("left", sorted(trace.info.request_preview for trace in left))


def in_run(session):
    """A trace made within a run knows it."""
    with mlflow.start_run(run_name="asking") as run:
        answer("green fish")
    mlflow.flush_trace_async_logging()
    found = mlflow.search_traces(experiment_ids=["0"], run_id=run.info.run_id, return_type="list")
    session.note("of the run", [told(trace) for trace in found])
    session.note("its run", [trace.info.trace_metadata["mlflow.sourceRun"] for trace in found])


def assessed(session):
    """What people and programs think of a trace: said, read, changed, overridden and taken back."""
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    answer("old fish")
    mlflow.flush_trace_async_logging()
    trace_id = mlflow.get_last_active_trace_id()
    ada = AssessmentSource(source_type="HUMAN", source_id="ada")
    judge = AssessmentSource(source_type="LLM_JUDGE", source_id="tiny")

    def thought(assessment):
        kind = "expectation" if assessment.expectation else "feedback"
        return [assessment.name, kind, getattr(assessment, kind).value, assessment.rationale, assessment.metadata, assessment.source.source_id, assessment.valid]

    good = mlflow.log_feedback(trace_id=trace_id, name="good", value=0.75, source=judge, rationale="short", metadata={"run": "1"})
    wanted = mlflow.log_expectation(trace_id=trace_id, name="wanted", value={"text": "FISH!", "words": [1, 2.5, None]}, source=ada)
    failed = mlflow.log_feedback(trace_id=trace_id, name="failed", error=ValueError("no judge"), source=judge)
    session.note("said", [thought(one) for one in (good, wanted, failed)])
    session.note("error", [failed.feedback.error.error_code, failed.feedback.error.error_message])
    session.note("read", thought(mlflow.get_assessment(trace_id, wanted.assessment_id)))
    changed = mlflow.update_assessment(trace_id, good.assessment_id, Feedback(name="good", value=True, rationale="long", metadata={"by": "hand"}))
    session.note("changed", thought(changed))
    session.refused("of another kind", mlflow.update_assessment, trace_id, good.assessment_id, Expectation(name="good", value=1))
    over = mlflow.override_feedback(trace_id=trace_id, assessment_id=good.assessment_id, value=False, source=ada, rationale="not at all")
    session.note("overridden", [thought(over), mlflow.get_assessment(trace_id, good.assessment_id).valid])
    session.note("of the trace", sorted((thought(one) for one in mlflow.get_trace(trace_id).info.assessments), key=str))
    mlflow.delete_assessment(trace_id, over.assessment_id)
    session.note("valid again", mlflow.get_assessment(trace_id, good.assessment_id).valid)
    session.refused("gone", mlflow.get_assessment, trace_id, over.assessment_id)
    session.refused("no trace", mlflow.log_feedback, trace_id="tr-" + "0" * 32, name="x", value=1)
    session.note("left", sorted(one.name for one in mlflow.get_trace(trace_id).info.assessments))
