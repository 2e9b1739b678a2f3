//! What runs read and made: datasets, and models from before they are published.

mod datasets;
mod links;
mod model;
mod models;

pub(crate) use datasets::purge_lineage_of_project;
pub use model::{
    Dataset, DatasetInput, DatasetUse, LoggedModel, LoggedModelStatus, ModelMetric, ModelOutput, NewLoggedModel,
    RunLinks,
};
