//! Inputs and outputs of runs, and which datasets the runs of experiments read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stepwell_app::{App, Dataset, DatasetInput, ModelOutput};

use crate::mlflow::{
    args::{Args, list_json, missing},
    failure::Failure,
    names, runs,
};

const NAME_CHARS_MAX: usize = 500;
const DIGEST_CHARS_MAX: usize = 36;
const SOURCE_CHARS_MAX: usize = 65_535;
const SCHEMA_CHARS_MAX: usize = 1_048_575;
const PROFILE_CHARS_MAX: usize = 16_777_215;
const TAG_KEY_CHARS_MAX: usize = 255;
const TAG_VALUE_CHARS_MAX: usize = 500;
/// Experiments that one search may name.
const EXPERIMENTS_MAX: usize = 20;
/// Results of one search.
const USES_MAX: u32 = 1_000;
/// The tag of an input that says what it is used for.
pub(crate) const CONTEXT: &str = "mlflow.data.context";

/// `runs/log-inputs`
pub(crate) async fn log_inputs(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let run_id = args.run_id()?;
    let datasets = args.objects("datasets")?.iter().map(dataset_input).collect::<Result<Vec<_>, _>>()?;
    let model_ids = args.objects("models")?.iter().map(model_id).collect::<Result<Vec<_>, _>>()?;
    names::check_run_id(run_id)?;
    // Of two with the same name and digest the first counts.
    let mut seen = BTreeSet::new();
    let is_first = |input: &&DatasetInput| seen.insert((input.dataset.name.clone(), input.dataset.digest.clone()));
    let datasets: Vec<DatasetInput> = datasets.iter().filter(is_first).cloned().collect();
    runs::active(app, run_id).await?;
    app.add_run_inputs(run_id, &datasets, &model_ids).await?;
    Ok(json!({}))
}

/// `runs/outputs`
pub(crate) async fn log_outputs(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let run_id = args.run_id()?;
    let output = |args: &Args| {
        Ok::<_, Failure>(ModelOutput { model_id: model_id(args)?, step: args.integer("step")?.unwrap_or(0) })
    };
    let models = args.objects("models")?.iter().map(output).collect::<Result<Vec<_>, _>>()?;
    if models.is_empty() {
        return Err(missing("models"));
    }
    runs::active(app, run_id).await?;
    app.add_run_outputs(run_id, &models).await?;
    Ok(json!({}))
}

/// `experiments/search-datasets`
pub(crate) async fn search_datasets(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let ids = args.texts("experiment_ids")?;
    if ids.is_empty() {
        return Err(Failure::invalid("SearchDatasets request must specify at least one experiment_id."));
    }
    if ids.len() > EXPERIMENTS_MAX {
        return Err(Failure::invalid(format!(
            "SearchDatasets request cannot specify more than {EXPERIMENTS_MAX} experiment_ids. Received {} experiment_ids.",
            ids.len()
        )));
    }
    let ids: Vec<String> = ids.into_iter().map(ToOwned::to_owned).collect();
    let uses = app.dataset_uses(&ids, CONTEXT, USES_MAX).await?;
    let summary = |used: &stepwell_app::DatasetUse| {
        let mut shown = json!({"experiment_id": used.project_id, "name": used.name, "digest": used.digest});
        if let Some(context) = &used.context {
            shown["context"] = Value::from(context.as_str());
        }
        shown
    };
    Ok(list_json("dataset_summaries", uses.iter().map(summary).collect(), None))
}

fn model_id(args: &Args<'_>) -> Result<String, Failure> {
    Ok(args.text("model_id")?.unwrap_or_default().to_owned())
}

fn dataset_input(args: &Args<'_>) -> Result<DatasetInput, Failure> {
    let given = args.object("dataset")?.unwrap_or_default();
    let text = |name: &str| Ok::<_, Failure>(given.text(name)?.map(ToOwned::to_owned));
    let dataset = Dataset {
        name: text("name")?.unwrap_or_default(),
        digest: text("digest")?.unwrap_or_default(),
        source_type: text("source_type")?.unwrap_or_default(),
        source: text("source")?.unwrap_or_default(),
        schema: text("schema")?,
        profile: text("profile")?,
    };
    names::check_length("name", NAME_CHARS_MAX, &dataset.name)?;
    names::check_length("digest", DIGEST_CHARS_MAX, &dataset.digest)?;
    names::check_length("source", SOURCE_CHARS_MAX, &dataset.source)?;
    names::check_length("schema", SCHEMA_CHARS_MAX, dataset.schema.as_deref().unwrap_or_default())?;
    names::check_length("profile", PROFILE_CHARS_MAX, dataset.profile.as_deref().unwrap_or_default())?;
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    for (key, value) in &tags {
        names::check_length("key", TAG_KEY_CHARS_MAX, key)?;
        names::check_length("value", TAG_VALUE_CHARS_MAX, value)?;
    }
    Ok(DatasetInput { dataset, tags })
}
