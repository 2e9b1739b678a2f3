//! Assessments: what people and programs thought of a trace. Kept as they were sent, for what they may say is open.

use serde_json::{Map, Value, json};
use stepwell_app::{App, AppError, ErrorCode};

use super::time;
use crate::mlflow::{
    args::{Args, missing},
    failure::Failure,
    routes::Call,
};

const ID: &str = "assessment_id";
/// Whether one that another overrides counts still.
const VALID: &str = "valid";
const OVERRIDES: &str = "overrides";
const UPDATED: &str = "last_update_time";
/// Of which each has one.
const VALUES: [&str; 3] = ["feedback", "expectation", "issue"];
/// What a client may say of one; the rest is the server's.
const GIVEN: [&str; 8] =
    ["assessment_name", "span_id", "source", "create_time", UPDATED, "rationale", "metadata", OVERRIDES];

pub(super) async fn route(app: &App, trace_id: &str, rest: &[&str], call: Call<'_>) -> Result<Value, Failure> {
    match (call.method, rest) {
        ("POST", []) => create(app, trace_id, call.args).await,
        ("GET", [id]) => get(app, trace_id, id).await,
        ("PATCH", [id]) => update(app, trace_id, id, call.args).await,
        ("DELETE", [id]) => delete(app, trace_id, id).await,
        _ => call.unknown(),
    }
}

/// Why an edit of a trace's assessments did not happen.
enum Trouble {
    Refused(Failure),
    App(AppError),
}

impl From<AppError> for Trouble {
    fn from(error: AppError) -> Self {
        Self::App(error)
    }
}

impl Trouble {
    fn failure(self, trace_id: &str) -> Failure {
        match self {
            Self::Refused(failure) => failure,
            Self::App(error) if error.code == ErrorCode::TraceNotFound => {
                Failure::absent(format!("Trace with ID '{trace_id}' not found."))
            }
            Self::App(error) => error.into(),
        }
    }

    /// The same in the words that MLflow has where it looks for the assessment first.
    fn failure_of_one(self, trace_id: &str) -> Failure {
        match self {
            Self::App(error) if error.code == ErrorCode::TraceNotFound => {
                Failure::absent(format!("Trace with request_id '{trace_id}' not found"))
            }
            other => other.failure(trace_id),
        }
    }
}

async fn create(app: &App, trace_id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let given = args.object("assessment")?.ok_or_else(|| missing("assessment"))?;
    let mut assessment = Map::new();
    for name in GIVEN.iter().chain(&VALUES) {
        if let Some(value) = given.value(name) {
            assessment.insert((*name).to_owned(), value.clone());
        }
    }
    given.required("assessment_name")?;
    let values = VALUES.iter().filter(|name| assessment.contains_key(**name)).count();
    if values != 1 {
        return Err(Failure::invalid("An assessment must have one of `feedback`, `expectation` and `issue`."));
    }
    let now = time::shown(app.now_us());
    for name in ["create_time", UPDATED] {
        assessment.entry(name).or_insert_with(|| Value::String(now.clone()));
    }
    assessment.insert(ID.to_owned(), Value::String(format!("a-{}", app.new_trace_id())));
    assessment.insert("trace_id".to_owned(), Value::from(trace_id));
    assessment.insert(VALID.to_owned(), Value::Bool(true));
    let overridden = given.text(OVERRIDES)?.filter(|id| !id.is_empty()).map(ToOwned::to_owned);
    let assessment = Value::Object(assessment);
    let added = assessment.clone();
    let edited = app.edit_assessments(trace_id, move |all| {
        if let Some(id) = overridden {
            find(all, trace_id, &id).map_err(Trouble::Refused)?[VALID] = Value::Bool(false);
        }
        all.push(added);
        Ok(())
    });
    edited.await.map_err(|trouble: Trouble| trouble.failure(trace_id))?;
    Ok(json!({"assessment": assessment}))
}

async fn get(app: &App, trace_id: &str, id: &str) -> Result<Value, Failure> {
    let trace = app.get_trace(trace_id).await.map_err(|error| Trouble::App(error).failure_of_one(trace_id))?;
    let mut all = trace.assessments;
    Ok(json!({"assessment": find(&mut all, trace_id, id)?.take()}))
}

/// Changes what the mask names; metadata are added to those there are.
async fn update(app: &App, trace_id: &str, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let given = args.object("assessment")?.ok_or_else(|| missing("assessment"))?;
    let mask = mask(args)?;
    if VALUES[..2].iter().all(|name| mask.iter().any(|path| path == name)) {
        return Err(Failure::invalid("Cannot specify both `expectation` and `feedback` parameters."));
    }
    let now = time::shown(app.now_us());
    let edited = app.edit_assessments(trace_id, |all| {
        let assessment = find(all, trace_id, id).map_err(Trouble::Refused)?;
        for path in &mask {
            let Some(value) = given.value(path) else { continue };
            change(assessment, path, value).map_err(Trouble::Refused)?;
        }
        assessment[UPDATED] = Value::String(now);
        Ok(assessment.clone())
    });
    let assessment = edited.await.map_err(|trouble: Trouble| trouble.failure_of_one(trace_id))?;
    Ok(json!({"assessment": assessment}))
}

fn change(assessment: &mut Value, path: &str, value: &Value) -> Result<(), Failure> {
    match path {
        "assessment_name" | "rationale" | VALID => assessment[path] = value.clone(),
        "metadata" => {
            let mut all = assessment["metadata"].as_object().cloned().unwrap_or_default();
            all.extend(value.as_object().cloned().unwrap_or_default());
            assessment["metadata"] = Value::Object(all);
        }
        _ if VALUES.contains(&path) && assessment.get(path).is_some() => assessment[path] = value.clone(),
        "expectation" => return Err(Failure::invalid("Cannot update expectation value on a Feedback assessment.")),
        "feedback" => return Err(Failure::invalid("Cannot update feedback value on an Expectation assessment.")),
        _ => {}
    }
    Ok(())
}

/// What is to be changed: a text, as protocol buffers write a mask in JSON, or its paths.
fn mask(args: &Args<'_>) -> Result<Vec<String>, Failure> {
    let value = args.value("update_mask").ok_or_else(|| missing("update_mask"))?;
    match value {
        // In JSON its names are in camel case.
        Value::String(paths) => Ok(paths.split(',').map(snake_case).collect()),
        _ => {
            let paths = args.object("update_mask")?.unwrap_or_default();
            Ok(paths.texts("paths")?.into_iter().map(ToOwned::to_owned).collect())
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for character in name.trim().chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Removes one, and lets count again what it overrode. What is not there is removed already.
async fn delete(app: &App, trace_id: &str, id: &str) -> Result<Value, Failure> {
    let edited = app.edit_assessments(trace_id, |all| {
        let Some(at) = all.iter().position(|assessment| assessment[ID] == id) else { return Ok(()) };
        let removed = all.remove(at);
        if let Some(overridden) = removed[OVERRIDES].as_str()
            && let Some(overridden) = all.iter_mut().find(|assessment| assessment[ID] == overridden)
        {
            overridden[VALID] = Value::Bool(true);
        }
        Ok(())
    });
    edited.await.map_err(|trouble: Trouble| trouble.failure(trace_id))?;
    Ok(json!({}))
}

fn find<'a>(all: &'a mut [Value], trace_id: &str, id: &str) -> Result<&'a mut Value, Failure> {
    let found = all.iter_mut().find(|assessment| assessment[ID] == id);
    found.ok_or_else(|| Failure::absent(format!("Assessment with ID '{id}' not found for trace '{trace_id}'")))
}
