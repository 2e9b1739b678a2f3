//! Looking after a data directory: what is damaged in it, and mending that. No server need run on it.

use std::path::Path;

use stepwell_blobs::{BlobStore, SHARDS};
use stepwell_engine::{CheckReport, EngineError, RepairReport};
use stepwell_env::Env;
use stepwell_metadata::{Metadata, MetadataCheck, MetadataDamage, MetadataRepair, mark_rows_lost};

use crate::{
    artifacts::care::{self, ArtifactCheck, ArtifactRepair},
    code::ErrorCode,
    config::AppConfig,
    error::AppError,
};

/// What is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryCheck {
    pub storage: CheckReport,
    pub metadata: MetadataCheck,
    pub artifacts: ArtifactCheck,
}

impl DirectoryCheck {
    /// Whether there is no damage.
    pub fn is_healthy(&self) -> bool {
        self.storage.is_healthy() && self.metadata.damages.is_empty() && self.artifacts.damages.is_empty()
    }
}

/// What was mended, and what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRepair {
    pub storage: RepairReport,
    pub metadata: MetadataRepair,
    pub artifacts: ArtifactRepair,
}

/// Reads every byte and changes nothing; also beside the server that owns the directory.
pub async fn check_directory(env: &Env, config: &AppConfig) -> Result<DirectoryCheck, AppError> {
    let mut metadata = stepwell_metadata::check(&config.metadata_path()).await?;
    if is_metadata_lost(env, config)? {
        let detail = "it is missing: no project and no run is known".to_owned();
        metadata.damages.push(MetadataDamage { path: config.metadata_path(), offset: 0, bytes: 0, detail });
    }
    let storage = stepwell_engine::check(env, &config.engine)?;
    let artifacts = check_artifacts(env, config, &mut metadata).await?;
    Ok(DirectoryCheck { storage, metadata, artifacts })
}

/// What rows of artifacts say can be checked only where the rows can be read.
async fn check_artifacts(env: &Env, config: &AppConfig, found: &mut MetadataCheck) -> Result<ArtifactCheck, AppError> {
    if !found.damages.is_empty() {
        found.notes.push("artifacts are not checked while the metadata is damaged".to_owned());
        return Ok(ArtifactCheck::default());
    }
    if !is_there(env, &config.metadata_path())? {
        return Ok(ArtifactCheck::default());
    }
    let metadata = Metadata::open_read_only(&config.metadata_path()).await?;
    let checked = care::check(env, &config.engine.data_dir, &metadata).await;
    metadata.close().await;
    checked
}

/// Mends what is damaged; a dry run only says what it would do. The directory's lock is the caller's.
pub async fn repair_directory(env: &Env, config: &AppConfig, dry_run: bool) -> Result<DirectoryRepair, AppError> {
    let quarantine = config.engine.data_dir.join(stepwell_engine::QUARANTINE);
    let mut metadata = stepwell_metadata::repair(&config.metadata_path(), &quarantine, dry_run).await?;
    if is_metadata_lost(env, config)? {
        metadata.lines.push("it is missing, and made anew without any project or run; the points stay".to_owned());
        if !dry_run {
            mark_rows_lost(&config.metadata_path())?;
            Metadata::open(&config.metadata_path()).await?.close().await;
        }
    }
    let storage = stepwell_engine::repair(env, &config.engine, dry_run)?;
    let artifacts = match (metadata.lines.is_empty(), dry_run) {
        // What the rows will be is not known before they are mended.
        (false, true) => ArtifactRepair::default(),
        (is_whole, _) if is_there(env, &config.metadata_path())? => {
            let rows = match dry_run {
                true => Metadata::open_read_only(&config.metadata_path()).await?,
                false => Metadata::open(&config.metadata_path()).await?,
            };
            let data_dir = &config.engine.data_dir;
            let repaired = care::repair(env, data_dir, &rows, &quarantine, !is_whole, dry_run).await;
            rows.close().await;
            repaired?
        }
        _ => ArtifactRepair::default(),
    };
    Ok(DirectoryRepair { storage, metadata, artifacts })
}

/// The file of metadata is made before all else: with the one and without the other it was lost. Made anew in silence, it would hide every
/// run, and what lies in `artifacts/` would be nobody's.
pub(crate) fn refuse_lost_metadata(env: &Env, config: &AppConfig) -> Result<(), AppError> {
    if !is_metadata_lost(env, config)? {
        return Ok(());
    }
    let path = config.metadata_path();
    let message = format!(
        "{} is missing, but the data directory has points or artifacts: put it back from a backup, or run `stepwell repair`, which makes an \
         empty one; nothing was changed",
        path.display()
    );
    Err(AppError::new(ErrorCode::DataDamaged, message))
}

fn is_metadata_lost(env: &Env, config: &AppConfig) -> Result<bool, AppError> {
    if is_there(env, &config.metadata_path())? {
        return Ok(false);
    }
    let data_dir = &config.engine.data_dir;
    for name in ["MANIFEST", "MANIFEST.copy"] {
        if is_there(env, &data_dir.join(name))? {
            return Ok(true);
        }
    }
    for name in ["segments", "wal"] {
        if has_files(env, &data_dir.join(name))? {
            return Ok(true);
        }
    }
    has_blobs(env, data_dir)
}

fn has_files(env: &Env, dir: &Path) -> Result<bool, AppError> {
    if !is_there(env, dir)? {
        return Ok(false);
    }
    let failed = |source| EngineError::Io { what: "list", path: dir.to_owned(), source };
    Ok(env.disk.list(dir).map_err(failed)?.iter().any(|entry| !entry.is_dir))
}

fn has_blobs(env: &Env, data_dir: &Path) -> Result<bool, AppError> {
    let blobs = BlobStore::new(env.disk.clone(), data_dir);
    for shard in 0..SHARDS {
        if !blobs.shard(shard as u8)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What cannot be looked at is not taken for gone.
fn is_there(env: &Env, path: &Path) -> Result<bool, AppError> {
    let failed = |source| EngineError::Io { what: "look for", path: path.to_owned(), source };
    Ok(env.disk.try_exists(path).map_err(failed)?)
}
