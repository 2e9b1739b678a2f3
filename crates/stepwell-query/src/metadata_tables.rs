//! Runs, params and tags of one project as Arrow.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{
            ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, RecordBatch, StringBuilder,
            TimestampMicrosecondBuilder,
        },
        datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
        error::ArrowError,
    },
    common::Result,
};
use stepwell_metadata::{ParamValue, Run};

use crate::field_access::common_type;

/// The three tables of a project, as of one version of the metadata.
#[derive(Debug)]
pub(crate) struct ProjectRows {
    pub(crate) runs: RecordBatch,
    pub(crate) params: RecordBatch,
    pub(crate) tags: RecordBatch,
    pub(crate) param_types: HashMap<String, DataType>,
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

fn time(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

impl ProjectRows {
    pub(crate) fn new(runs: &[&Run]) -> Result<Self> {
        let mut param_types: HashMap<String, DataType> = HashMap::new();
        for (key, value) in runs.iter().flat_map(|run| &run.params) {
            let data_type = match value {
                ParamValue::Bool(_) => DataType::Boolean,
                ParamValue::Int(_) => DataType::Int64,
                ParamValue::Float(_) => DataType::Float64,
                ParamValue::String(_) | ParamValue::Json(_) => DataType::Utf8,
            };
            param_types
                .entry(key.clone())
                .and_modify(|known| *known = common_type(known, &data_type))
                .or_insert(data_type);
        }
        Ok(Self { runs: runs_batch(runs)?, params: params_batch(runs)?, tags: tags_batch(runs)?, param_types })
    }
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn runs_batch(runs: &[&Run]) -> Result<RecordBatch, ArrowError> {
    let map = |name: &str, of_run: fn(&Run) -> Vec<(&str, String)>| -> Result<(Field, ArrayRef), ArrowError> {
        let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for run in runs {
            for (key, value) in of_run(run) {
                builder.keys().append_value(key);
                builder.values().append_value(value);
            }
            builder.append(true)?;
        }
        let array: ArrayRef = Arc::new(builder.finish());
        Ok((Field::new(name, array.data_type().clone(), false), array))
    };
    let environments: Vec<Option<String>> =
        runs.iter().map(|run| run.environment.as_ref().map(ToString::to_string)).collect();
    let mut fork_steps = Int64Builder::new();
    runs.iter().for_each(|run| fork_steps.append_option(run.forked_from.as_ref().map(|fork| fork.step)));
    let columns = [
        (text("run_id", false), texts(runs.iter().map(|run| Some(run.run_id.as_str())))),
        (text("name", true), texts(runs.iter().map(|run| run.name.as_deref()))),
        (text("status", false), texts(runs.iter().map(|run| Some(run.status.as_str())))),
        (time("started_at", false), times(runs.iter().map(|run| Some(run.started_at_us)))),
        (time("ended_at", true), times(runs.iter().map(|run| run.ended_at_us))),
        map("params", |run| run.params.iter().map(|(key, value)| (key.as_str(), value.text())).collect())?,
        map("tags", |run| run.tags.iter().map(|(key, value)| (key.as_str(), value.clone())).collect())?,
        (text("notes", true), texts(runs.iter().map(|run| run.notes.as_deref()))),
        (text("git_commit", true), texts(runs.iter().map(|run| run.git_commit.as_deref()))),
        (text("dataset_version", true), texts(runs.iter().map(|run| run.dataset_version.as_deref()))),
        (text("environment", true), texts(environments.iter().map(|text| text.as_deref()))),
        (text("parent_run_id", true), texts(runs.iter().map(|run| run.parent_run_id.as_deref()))),
        (
            text("forked_from_run_id", true),
            texts(runs.iter().map(|run| run.forked_from.as_ref().map(|fork| fork.run_id.as_str()))),
        ),
        (Field::new("forked_from_step", DataType::Int64, true), Arc::new(fork_steps.finish()) as ArrayRef),
        (time("created_at", false), times(runs.iter().map(|run| Some(run.created_at_us)))),
        (text("user_name", true), texts(runs.iter().map(|run| run.user_name.as_deref()))),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn params_batch(runs: &[&Run]) -> Result<RecordBatch, ArrowError> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        text("run_id", false),
        text("key", false),
        text("kind", false),
        text("value", false),
        Field::new("value_float", DataType::Float64, true),
        Field::new("value_int", DataType::Int64, true),
        Field::new("value_bool", DataType::Boolean, true),
    ]));
    let rows = || runs.iter().flat_map(|run| run.params.iter().map(move |(key, value)| (run, key, value)));
    let values: Vec<String> = rows().map(|(.., value)| value.text()).collect();
    let (mut floats, mut ints, mut bools) = (Float64Builder::new(), Int64Builder::new(), BooleanBuilder::new());
    for (.., value) in rows() {
        floats.append_option(value.as_f64());
        ints.append_option(if let ParamValue::Int(value) = value { Some(*value) } else { None });
        bools.append_option(if let ParamValue::Bool(value) = value { Some(*value) } else { None });
    }
    let columns: Vec<ArrayRef> = vec![
        texts(rows().map(|(run, ..)| Some(run.run_id.as_str()))),
        texts(rows().map(|(_, key, _)| Some(key.as_str()))),
        texts(rows().map(|(.., value)| Some(value.kind()))),
        texts(values.iter().map(|value| Some(value.as_str()))),
        Arc::new(floats.finish()),
        Arc::new(ints.finish()),
        Arc::new(bools.finish()),
    ];
    RecordBatch::try_new(schema, columns)
}

fn tags_batch(runs: &[&Run]) -> Result<RecordBatch, ArrowError> {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![text("run_id", false), text("key", false), text("value", false)]));
    let rows = || runs.iter().flat_map(|run| run.tags.iter().map(move |(key, value)| (run, key, value)));
    let columns: Vec<ArrayRef> = vec![
        texts(rows().map(|(run, ..)| Some(run.run_id.as_str()))),
        texts(rows().map(|(_, key, _)| Some(key.as_str()))),
        texts(rows().map(|(.., value)| Some(value.as_str()))),
    ];
    RecordBatch::try_new(schema, columns)
}
