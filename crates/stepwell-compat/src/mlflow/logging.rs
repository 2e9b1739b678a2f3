//! What runs log: metrics, params and tags, one by one or in a batch.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ahash::RandomState;
use serde_json::{Map, Value, json};
use stepwell_app::{App, AppError, ErrorCode, RunPatch};
use stepwell_types::{Batch, SeriesKey};

use super::{
    Charge,
    args::{Args, json_bytes, missing},
    batch::{Logged, Metric, Pair},
    failure::Failure,
    lineage,
    names::{self, KEY_CHARS_MAX},
    params, python, read,
    runs::{self, micros},
    tags,
};

const METRICS_MAX: usize = 1_000;
const PARAMS_OR_TAGS_MAX: usize = 100;
/// Metrics, params and tags together.
pub(super) const ALL_MAX: usize = 1_000;

/// Takes all of a batch, or refuses all of it; where points are refused for want of room, params and tags may be there already,
/// and are the same when it is sent again.
pub(crate) async fn log_batch(app: &App, body: &[u8], charge: Charge<'_>) -> Result<Value, Failure> {
    let logged = read(app, body, || Logged::of_body(body, charge))?;
    check(&logged)?;
    let run_id = logged.run_id.as_ref();
    if logged.metrics.is_empty() || !logged.params.is_empty() || !logged.tags.is_empty() {
        runs::active(app, run_id).await?;
    }
    if !logged.params.is_empty() || !logged.tags.is_empty() {
        let params = logged.params.iter().map(|param| (param.key.as_ref(), param.value.as_ref()));
        let tags = logged.tags.iter().map(|tag| (tag.key.as_ref(), tag.value.as_ref()));
        set(app, run_id, params, tags).await?;
    }
    log_metrics(app, run_id, &logged.metrics).await?;
    Ok(json!({}))
}

pub(crate) async fn log_metric(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let run_id = args.run_id()?;
    let text = |name: &str| Ok::<_, Failure>(args.text(name)?.map(|text| Cow::Owned(text.to_owned())));
    let metric = Metric {
        key: Cow::Borrowed(args.required("key")?),
        value: args.float("value")?.ok_or_else(|| missing("value"))?,
        timestamp: args.integer("timestamp")?.ok_or_else(|| missing("timestamp"))?,
        step: args.integer("step")?.unwrap_or(0),
        model_id: text("model_id")?,
        dataset_name: text("dataset_name")?,
        dataset_digest: text("dataset_digest")?,
    };
    check_metric(&metric, String::new)?;
    log_metrics(app, run_id, &[metric]).await?;
    Ok(json!({}))
}

pub(crate) async fn log_param(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (run_id, key) = (args.run_id()?, args.required("key")?);
    let value = args.text("value")?.unwrap_or_default();
    check_key(key, "Param key", || "key".to_owned())?;
    runs::active(app, run_id).await?;
    let patch =
        RunPatch { params: typed([(key, value)]), params_are_exact: true, keeps_end: true, ..RunPatch::default() };
    match app.update_run(run_id, patch).await {
        Ok(_) => Ok(json!({})),
        Err(error) => {
            let Some((key, old, new)) = conflicts(app, run_id, [(key, value)], &error).await?.into_iter().next() else {
                return Err(error.into());
            };
            Err(Failure::invalid(format!(
                "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run \
                 ID='{run_id}'. Attempted logging new value '{new}'."
            )))
        }
    }
}

pub(crate) async fn set_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (run_id, key) = (args.run_id()?, args.required("key")?);
    let value = args.text("value")?.unwrap_or_default();
    check_key(key, "key", || "key".to_owned())?;
    runs::active(app, run_id).await?;
    set(app, run_id, [], [(key, value)]).await?;
    Ok(json!({}))
}

pub(crate) async fn delete_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (run_id, key) = (args.run_id()?, args.required("key")?);
    let run = runs::active(app, run_id).await?;
    if !tags::shown(&run).contains_key(key) {
        return Err(Failure::absent(format!("No tag with name: {key} in run with id {run_id}")));
    }
    app.update_run(run_id, tags::removal(key)).await?;
    Ok(json!({}))
}

/// Adds a model to the run's history of models, which is a tag.
pub(crate) async fn log_model(app: &App, args: &Args<'_>, charge: Charge<'_>) -> Result<Value, Failure> {
    let (run_id, text) = (args.run_id()?, args.required("model_json")?);
    // What it has was not to be seen in the body, where it may have been escaped.
    charge(json_bytes(text.as_bytes()))?;
    let Ok(model) = serde_json::from_str::<Map<String, Value>>(text) else {
        return Err(Failure::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON.")));
    };
    let required = ["artifact_path", "flavors", "run_id", "utc_time_created"];
    let absent: Vec<&str> = required.into_iter().filter(|name| !model.contains_key(*name)).collect();
    if !absent.is_empty() {
        let absent = python::list(absent).replace('[', "{").replace(']', "}");
        return Err(Failure::invalid(format!("Model json is missing mandatory fields: {absent}")));
    }
    let run = runs::active(app, run_id).await?;
    let mut history: Vec<Value> =
        run.tags.get(tags::LOGGED_MODELS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    history.push(model_summary(model));
    let tags = BTreeMap::from([(tags::LOGGED_MODELS.to_owned(), Some(Value::from(history).to_string()))]);
    app.update_run(run_id, RunPatch { tags, keeps_end: true, ..RunPatch::default() }).await?;
    Ok(json!({}))
}

/// What the history has of a model.
fn model_summary(mut model: Map<String, Value>) -> Value {
    model.retain(|name, _| {
        matches!(name.as_str(), "run_id" | "utc_time_created" | "artifact_path" | "model_uuid" | "flavors")
    });
    if let Some(Value::Object(flavors)) = model.get_mut("flavors") {
        for flavor in flavors.values_mut() {
            if let Value::Object(flavor) = flavor {
                flavor.remove("config");
            }
        }
    }
    Value::Object(model)
}

/// Refuses what MLflow refuses before it looks at the run.
fn check(logged: &Logged) -> Result<(), Failure> {
    names::check_run_id(&logged.run_id)?;
    for (at, metric) in logged.metrics.iter().enumerate() {
        check_metric(metric, || format!("metrics[{at}]."))?;
    }
    for (at, param) in logged.params.iter().enumerate() {
        check_key(&param.key, "Param key", || format!("params[{at}].key"))?;
    }
    for (at, tag) in logged.tags.iter().enumerate() {
        check_key(&tag.key, &format!("tags[{at}].key"), || format!("tags[{at}].key"))?;
    }
    let (metrics, params, tags) = (logged.metrics.len(), logged.params.len(), logged.tags.len());
    for (what, count, max) in [
        ("metrics", metrics, METRICS_MAX),
        ("params", params, PARAMS_OR_TAGS_MAX),
        ("tags", tags, PARAMS_OR_TAGS_MAX),
        ("metrics, params, and tags", metrics + params + tags, ALL_MAX),
    ] {
        if count > max {
            return Err(Failure::invalid(format!(
                "A batch logging request can contain at most {max} {what}. Got {count} {what}. Please split up {what} across \
                 multiple requests and try again."
            )));
        }
    }
    check_unique(&logged.params)
}

fn check_metric(metric: &Metric, path: impl Fn() -> String) -> Result<(), Failure> {
    names::check(&metric.key, || path() + "name")?;
    if metric.timestamp < 0 {
        let why = format!(
            "metric '{}' (value={}). Timestamp must be a nonnegative long (64-bit integer) ",
            metric.key,
            python::float(metric.value)
        );
        return Err(names::invalid(&(path() + "timestamp"), &metric.timestamp.to_string(), &why));
    }
    names::check_length("Metric name", KEY_CHARS_MAX, &metric.key)
}

fn check_key(key: &str, what: &str, path: impl Fn() -> String) -> Result<(), Failure> {
    names::check(key, path)?;
    names::check_length(what, KEY_CHARS_MAX, key)
}

fn check_unique(params: &[Pair]) -> Result<(), Failure> {
    let mut seen: Vec<&str> = Vec::with_capacity(params.len());
    let mut again: Vec<&str> = Vec::new();
    for param in params {
        let list = if seen.contains(&param.key.as_ref()) { &mut again } else { &mut seen };
        list.push(&param.key);
    }
    if again.is_empty() {
        return Ok(());
    }
    let again = python::list(again);
    Err(Failure::invalid(format!(
        "Duplicate parameter keys have been submitted: {again}. Please ensure the request contains only one param value per \
         param key."
    )))
}

/// Sets params and tags of a run as one change.
async fn set<'a>(
    app: &App,
    run_id: &str,
    params: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Failure> {
    let tags =
        tags.into_iter().map(|(key, value)| (key.to_owned(), names::cut(value, names::TAG_CHARS_MAX).to_owned()));
    let patch = tags::patch(app, run_id, tags.collect()).await?;
    let patch = RunPatch { params: typed(params.clone()), params_are_exact: true, ..patch };
    let Err(error) = app.update_run(run_id, patch).await else { return Ok(()) };
    let conflicts = conflicts(app, run_id, params, &error).await?;
    if conflicts.is_empty() {
        return Err(error.into());
    }
    let shown = |(key, old, new): &(String, String, String)| {
        let [key, old, new] = [key, old, new].map(|text| python::text(text));
        format!("{{'key': {key}, 'old_value': {old}, 'new_value': {new}}}")
    };
    let shown = conflicts.iter().map(shown).collect::<Vec<_>>().join(", ");
    Err(Failure::invalid(format!(
        "Changing param values is not allowed. Params were already logged='[{shown}]' for run ID='{run_id}'."
    )))
}

fn typed<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, stepwell_app::ParamValue> {
    let typed = |(key, value): (&str, &str)| (key.to_owned(), params::typed(names::cut(value, names::PARAM_CHARS_MAX)));
    params.into_iter().map(typed).collect()
}

/// Params that the run has with another value: key, that value, and the new one.
async fn conflicts<'a>(
    app: &App,
    run_id: &str,
    params: impl IntoIterator<Item = (&'a str, &'a str)>,
    error: &AppError,
) -> Result<Vec<(String, String, String)>, Failure> {
    if error.code != ErrorCode::ParamConflict {
        return Ok(Vec::new());
    }
    let run = runs::active(app, run_id).await?;
    let conflict = |(key, value): (&str, &str)| {
        let old = params::text(run.params.get(key)?);
        let new = names::cut(value, names::PARAM_CHARS_MAX);
        (old != new).then(|| (key.to_owned(), old, new.to_owned()))
    };
    Ok(params.into_iter().filter_map(conflict).collect())
}

/// Logs points of one run. Those that were logged lately, all together, are not stored again.
async fn log_metrics(app: &App, run_id: &str, metrics: &[Metric<'_>]) -> Result<(), Failure> {
    if metrics.is_empty() {
        return Ok(());
    }
    match app.ingest_unless_known(points(run_id, metrics)?).await {
        Ok(_) => lineage::log_model_metrics(app, run_id, metrics).await,
        Err(error) if error.code == ErrorCode::RunNotFound => {
            runs::active(app, run_id).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn points(run_id: &str, metrics: &[Metric<'_>]) -> Result<Batch, Failure> {
    let run: Arc<str> = run_id.into();
    let project: Arc<str> = "".into();
    let mut numbers: HashMap<&str, u32, RandomState> =
        HashMap::with_capacity_and_hasher(metrics.len(), RandomState::new());
    let mut series = Vec::new();
    let (mut index, mut steps) = (Vec::with_capacity(metrics.len()), Vec::with_capacity(metrics.len()));
    let (mut times, mut values) = (Vec::with_capacity(metrics.len()), Vec::with_capacity(metrics.len()));
    for metric in metrics {
        let number = *numbers.entry(&metric.key).or_insert_with(|| {
            series.push(SeriesKey::new(project.clone(), metric.key.as_ref(), run.clone()));
            series.len() as u32 - 1
        });
        index.push(number);
        steps.push(metric.step);
        times.push(micros("timestamp", metric.timestamp)?);
        values.push(metric.value);
    }
    Batch::new(series, index, steps, times, values).map_err(|error| AppError::from(error).into())
}
