//! Transactional rows: projects, runs, params, tags, users, audit; SQLite by default.
//!
//! The tables are in `schemas/metadata/`, applied as migrations. Every change is one transaction, its audit row included;
//! SQLite runs in WAL mode with `synchronous=FULL`, so that a change that was answered survives a loss of power. It has no checksums
//! of what it stores: `vfs` is a layer below it that checks each page read (I11), `prepare` makes files with room for that, `check`
//! says what is damaged, and `repair` mends it; of what it cannot mend `salvage` copies the rows that can be read.

mod artifacts;
mod btree;
mod changes;
mod check;
mod copy;
mod error;
mod lineage;
mod lost_pages;
mod model;
mod pages;
mod prepare;
mod projects;
mod read;
mod registry;
mod repair;
mod replace;
mod rows_lost;
mod run_cache;
mod salvage;
mod store;
mod table_list;
mod traces;
mod trash;
mod tree_bytes;
mod version;
mod vfs;
mod webhooks;
mod write;

pub use artifacts::{Artifact, ArtifactEntry, ArtifactOwner, ArtifactTotals, BlobRow};
pub use check::{MetadataCheck, MetadataDamage, check};
pub use copy::{ArtifactsOfCopy, MetadataCopy, artifacts_of_copy, check_copy, disown_artifacts};
pub use error::MetadataError;
pub use lineage::{
    Dataset, DatasetInput, DatasetUse, LoggedModel, LoggedModelStatus, ModelMetric, ModelOutput, NewLoggedModel,
    RunLinks,
};
pub use model::{
    ForkPoint, NewProject, NewRun, ParamValue, Project, Run, RunOrigin, RunPatch, RunStatus, TrashChange,
    TrashedProject, TrashedRun,
};
pub use registry::{ModelVersion, NewModelVersion, RegisteredModel, Stage};
pub use repair::{MetadataRepair, repair};
pub use rows_lost::{mark_rows_lost, rows_were_lost, unmark_rows_lost};
pub use run_cache::ProjectRuns;
pub use store::Metadata;
pub use traces::{DeletedTraces, Trace, TracePatch, TraceSelection};
pub use tree_bytes::tree_bytes;
pub use webhooks::{Announce, Announcement, Delivery, NewWebhook, OUTBOX_ROWS_MAX, Webhook, WebhookPatch};

#[cfg(test)]
mod tests;
