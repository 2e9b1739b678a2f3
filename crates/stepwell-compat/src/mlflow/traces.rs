//! Traces, as clients of MLflow 2 (`request_id`) and 3 (`trace_id`) send and ask for them. Spans come as an artifact, which the tag
//! `mlflow.artifactLocation` says the place of: MLflow's own way where its store does not take spans one by one.

mod assessments;
mod info;
mod search;
#[cfg(test)]
mod tests;
mod time;
mod told;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use stepwell_app::{App, AppError, ErrorCode, Reader, Trace, TracePatch, TraceSelection};

use self::{
    info::{ARTIFACT_LOCATION, from_v3, v2, v3},
    told::Told,
};
use super::{Charge, args::Args, experiments, failure::Failure, routes::Call, runs};

/// Traces that one call may link to a run.
const LINKS_MAX: usize = 100;
const KEY_CHARS_MAX: usize = 250;
const TAG_CHARS_MAX: usize = 8_000;
/// Tags that a server keeps for itself.
const BLOCKED_TAGS: [&str; 3] =
    ["mlflow.trace.spansLocation", "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"];

pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Value, Failure> {
    let args = call.args;
    match (call.method, &call.path[1..]) {
        ("POST", []) if args.value("trace").is_some() => start(app, args, call.charge).await,
        ("POST", []) => start_v2(app, args).await,
        ("GET", []) => search::v2(app, args, call.reader).await,
        ("POST", ["search"]) => search::v3(app, args, call.reader).await,
        ("POST", ["delete-traces"]) => delete(app, args).await,
        ("POST", ["link-to-run"]) => link(app, args).await,
        ("POST", ["link-prompts"]) => Ok(json!({})),
        ("GET", ["get" | "batchGet"]) => Err(Failure::not_implemented(
            "This server keeps spans as artifacts of a trace and does not hand them out beside it.",
        )),
        ("POST", ["batchGetInfos"]) => batch(app, args, call.reader).await,
        ("GET", [trace_id]) => {
            let info = Told::v3(call.reader).one(get(app, trace_id).await?)?;
            Ok(json!({"trace": {"trace_info": info}}))
        }
        ("GET", [trace_id, "info"]) => {
            let info = Told::v2(call.reader).one(get(app, trace_id).await?)?;
            Ok(json!({"trace_info": info}))
        }
        ("PATCH", [trace_id]) => end_v2(app, trace_id, args).await,
        ("PATCH", [trace_id, "tags"]) => set_tag(app, trace_id, args).await,
        ("DELETE", [trace_id, "tags"]) => delete_tag(app, trace_id, args).await,
        (_, [trace_id, "assessments", rest @ ..]) => assessments::route(app, trace_id, rest, call).await,
        (_, ["calculate-filter-correlation" | "metrics"]) => {
            Err(Failure::not_implemented("This server keeps no figures of traces."))
        }
        _ => call.unknown(),
    }
}

/// A trace that is over, of MLflow 3.
async fn start(app: &App, args: &Args<'_>, charge: Charge<'_>) -> Result<Value, Failure> {
    let trace = args.object("trace")?.unwrap_or_default();
    let info =
        trace.object("trace_info")?.ok_or_else(|| Failure::invalid("Missing value for required parameter 'trace'."))?;
    let trace = located(app, from_v3(&info, charge)?).await?;
    Ok(json!({"trace": {"trace_info": v3(app.put_trace(trace).await?)}}))
}

/// A trace that begins, of MLflow 2.
async fn start_v2(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let trace = Trace {
        trace_id: app.new_trace_id(),
        project_id: args.required("experiment_id")?.to_owned(),
        started_at_us: time::us_of_ms(args.integer("timestamp_ms")?.unwrap_or(0)),
        duration_us: None,
        state: "IN_PROGRESS".to_owned(),
        client_request_id: None,
        request_preview: None,
        response_preview: None,
        metadata: pairs(args, "request_metadata")?,
        tags: pairs(args, "tags")?,
        assessments: Vec::new(),
        linked_runs: Vec::new(),
    };
    let trace = located(app, trace).await?;
    Ok(json!({"trace_info": v2(app.put_trace(trace).await?)}))
}

async fn end_v2(app: &App, trace_id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let trace = get(app, trace_id).await?;
    let ended_at_us = time::us_of_ms(args.integer("timestamp_ms")?.unwrap_or(0));
    let tags = pairs(args, "tags")?.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let patch = TracePatch {
        duration_us: Some(ended_at_us.saturating_sub(trace.started_at_us)),
        state: args.text("status")?.map(info::state).transpose()?,
        metadata: pairs(args, "request_metadata")?,
        tags,
        linked_run: None,
    };
    Ok(json!({"trace_info": v2(found(trace_id, app.update_trace(trace_id, patch).await)?)}))
}

/// The trace with the place of its spans; its experiment must be there.
async fn located(app: &App, mut trace: Trace) -> Result<Trace, Failure> {
    let location = experiments::trace_location(app, &trace.project_id, &trace.trace_id).await?;
    trace.tags.insert(ARTIFACT_LOCATION.to_owned(), location);
    Ok(trace)
}

async fn batch(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Value, Failure> {
    let mut told = Told::v3(reader);
    for trace_id in args.texts("trace_ids")? {
        told.tell(app, trace_id).await?;
    }
    Ok(if told.infos.is_empty() { json!({}) } else { json!({"trace_infos": told.infos}) })
}

async fn delete(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let selection = TraceSelection {
        started_by_us: args.integer("max_timestamp_millis")?.map(time::end_of_ms),
        limit: args.integer("max_traces")?.map(|limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX)),
        trace_ids: args.texts("request_ids")?.into_iter().map(ToOwned::to_owned).collect(),
    };
    let is_bounded = selection.started_by_us.is_some() || !selection.trace_ids.is_empty();
    if !is_bounded {
        return Err(Failure::invalid("Either `max_timestamp_millis` or `trace_ids` must be specified."));
    }
    let deleted = app.delete_traces(args.required("experiment_id")?, &selection).await?;
    Ok(json!({"traces_deleted": deleted}))
}

async fn link(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (trace_ids, run_id) = (args.texts("trace_ids")?, args.required("run_id")?);
    if trace_ids.len() > LINKS_MAX {
        return Err(Failure::invalid(format!(
            "Cannot link more than {LINKS_MAX} traces to a run in a single request. Provided {} traces.",
            trace_ids.len()
        )));
    }
    runs::by_id(app, run_id).await?;
    for trace_id in trace_ids {
        let patch = TracePatch { linked_run: Some(run_id.to_owned()), ..TracePatch::default() };
        match app.update_trace(trace_id, patch).await {
            // MLflow passes over traces that it does not know.
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::TraceNotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(json!({}))
}

async fn set_tag(app: &App, trace_id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let key = tag_key(args, "set")?;
    let value = args.text("value")?.unwrap_or_default().chars().take(TAG_CHARS_MAX).collect();
    let patch = TracePatch { tags: BTreeMap::from([(key, Some(value))]), ..TracePatch::default() };
    found(trace_id, app.update_trace(trace_id, patch).await)?;
    Ok(json!({}))
}

async fn delete_tag(app: &App, trace_id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let key = tag_key(args, "deleted")?;
    if !get(app, trace_id).await?.tags.contains_key(&key) {
        return Err(Failure::absent(format!("No trace tag with key '{key}' for trace with ID '{trace_id}'")));
    }
    let patch = TracePatch { tags: BTreeMap::from([(key, None)]), ..TracePatch::default() };
    found(trace_id, app.update_trace(trace_id, patch).await)?;
    Ok(json!({}))
}

fn tag_key(args: &Args<'_>, what: &str) -> Result<String, Failure> {
    let key = args.required("key")?;
    if key.chars().count() > KEY_CHARS_MAX {
        return Err(Failure::invalid(format!("'key' exceeds the maximum length of {KEY_CHARS_MAX} characters")));
    }
    if BLOCKED_TAGS.contains(&key) {
        return Err(Failure::invalid(format!("Tag '{key}' is immutable and cannot be {what} on a trace.")));
    }
    Ok(key.to_owned())
}

async fn get(app: &App, trace_id: &str) -> Result<Trace, Failure> {
    found(trace_id, app.get_trace(trace_id).await)
}

fn found(trace_id: &str, result: Result<Trace, AppError>) -> Result<Trace, Failure> {
    result.map_err(|error| match error.code {
        ErrorCode::TraceNotFound => Failure::absent(format!("Trace with ID '{trace_id}' not found.")),
        _ => error.into(),
    })
}

fn pairs(args: &Args<'_>, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    Ok(args.pairs(name)?.into_iter().collect())
}
