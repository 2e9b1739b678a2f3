//! Use cases: authorize → validate → act → audit; no HTTP, no SQL text building.
//!
//! The only layer that adapters of protocols call. Each use case is one method of [`App`]: `projects`, `runs`, `ingest`
//! (and `ingest_stream`, which does not wait between batches), `series`; SQL goes to the query crate with a snapshot taken
//! here. Everyone may do everything for now: there are no users yet, which is why the server listens on loopback; audit rows
//! are written by the metadata crate within each change.

mod app;
mod artifacts;
mod backup;
mod care;
mod code;
mod config;
mod error;
mod history;
mod ingest;
mod ingest_stream;
mod known_runs;
mod latest;
mod lineage;
mod log;
mod names;
mod once;
mod projects;
mod queueing;
mod readiness;
mod registry;
mod runs;
mod series;
mod traces;
mod trash;
mod webhooks;

pub use app::App;
pub use artifacts::care::{ArtifactCheck, ArtifactDamage, ArtifactRepair};
pub use artifacts::{
    ArtifactDownload, ArtifactInfo, ArtifactPlace, ArtifactStats, ArtifactUpload, PartReceipt, run_directory, run_part,
};
pub use backup::{
    Backup, BackupFailure, BackupPlace, Elsewhere, back_up, list_backups, prune_backups, restore_backup, verify_backups,
};
pub use care::{DirectoryCheck, DirectoryRepair, check_directory, repair_directory};
pub use code::{ErrorCode, errors_markdown};
pub use config::AppConfig;
pub use error::AppError;
pub use history::History;
pub use ingest::Queued;
pub use ingest_stream::IngestStream;
pub use latest::{LatestMetric, LatestReader};
pub use log::LogRow;
pub use readiness::{Readiness, TROUBLES, Trouble};
pub use runs::{CreateRun, ListRuns, RunPage};
pub use series::{PointsMode, SeriesAnswer, SeriesRequest, SeriesResponse, SeriesResult};
pub use stepwell_engine::backup::{BackupError, BackupIndex, Pruned, Restored};
pub use stepwell_engine::{ChartData as SeriesData, ReadMemory, Reader};
pub use stepwell_engine::{
    CheckReport, Concern, Damage, DurationCounts, EngineStats, Health, IngestAck, PointsConcerned, Progress,
    RepairReport, ReplayProgress, SegmentRepair,
};
pub use stepwell_env::DiskSpace;
pub use stepwell_kernels::XAxis;
pub use stepwell_metadata::{
    Announcement, Dataset, DatasetInput, DatasetUse, LoggedModel, LoggedModelStatus, ModelMetric, ModelOutput,
    ModelVersion, NewLoggedModel, NewModelVersion, NewWebhook, RegisteredModel, RunLinks, Stage, Webhook, WebhookPatch,
};
pub use stepwell_metadata::{
    ArtifactEntry, ArtifactTotals, ForkPoint, MetadataCheck, MetadataDamage, MetadataRepair, NewProject, ParamValue,
    Project, ProjectRuns, Run, RunPatch, RunStatus, Trace, TracePatch, TraceSelection, TrashedProject, TrashedRun,
    tree_bytes,
};
pub use stepwell_query::{QueryRequest, QueryStats, QueryStream};
pub use traces::{trace_directory, trace_part};
pub use trash::Trash;
pub use webhooks::{WebhookConfig, WebhookTest};

#[cfg(test)]
mod tests;
