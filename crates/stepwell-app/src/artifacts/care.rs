//! Looking after blobs: what is damaged of them, and setting that aside. No server need run.

use std::path::{Path, PathBuf};

use stepwell_blobs::{BlobError, BlobId, BlobStore};
use stepwell_env::{Env, is_out_of_files};
use stepwell_metadata::{BlobRow, Metadata, rows_were_lost, unmark_rows_lost};

use super::{blob_of, blocking, place, unnamed};
use crate::{code::ErrorCode, config::metadata_path, error::AppError};

/// Rows looked at together.
const PAGE_ROWS: u32 = 256;
/// Artifacts of a damaged blob that are spelled out.
const NAMED_MAX: u32 = 10;
const NOT_OWNED: &str =
    "the object store does not name this data directory as its owner (is its endpoint set as for the server?)";

/// What a check of artifacts found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactCheck {
    pub files: u64,
    pub bytes: u64,
    pub damages: Vec<ArtifactDamage>,
    pub notes: Vec<String>,
}

/// A blob that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactDamage {
    pub path: PathBuf,
    pub offset: u64,
    pub detail: String,
    /// The artifacts that name it, the first ten.
    pub artifacts: Vec<String>,
    sha256: String,
}

/// What was done about damaged blobs; of a dry run, what would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactRepair {
    pub lines: Vec<String>,
    /// Where files are kept.
    pub quarantined: Vec<PathBuf>,
}

/// Reads every byte of every blob that an artifact names; also beside the server that owns the directory.
pub(crate) async fn check(env: &Env, data_dir: &Path, metadata: &Metadata) -> Result<ArtifactCheck, AppError> {
    if !metadata.knows_artifacts().await? {
        return Ok(ArtifactCheck::default());
    }
    let store = place::find(env, data_dir, metadata).await?;
    let mut found = check_in(&store, metadata).await?;
    let unnamed = unnamed::all(metadata, &store).await?;
    if !unnamed.is_empty() {
        let (count, bytes) = (unnamed.len(), unnamed.iter().map(|file| file.bytes).sum::<u64>());
        let what_next = match rows_were_lost(&metadata_path(data_dir))? {
            true => {
                "those of lost rows may be among them: `stepwell repair` sets them aside, and a start removes none before"
            }
            false => "the next start removes them",
        };
        found.notes.push(format!("{count} blobs, {bytes} bytes, have no artifact that names them; {what_next}"));
    }
    Ok(found)
}

async fn check_in(store: &BlobStore, metadata: &Metadata) -> Result<ArtifactCheck, AppError> {
    let mut found = ArtifactCheck::default();
    let mut last = String::new();
    loop {
        let rows = metadata.blobs_after(&last, PAGE_ROWS).await?;
        let Some(row) = rows.last() else { break };
        last.clone_from(&row.sha256);
        for row in rows {
            found.files += 1;
            found.bytes += row.bytes;
            if let Some(damage) = damage(store, metadata, row).await? {
                found.damages.push(damage);
            }
        }
    }
    Ok(found)
}

async fn damage(store: &BlobStore, metadata: &Metadata, row: BlobRow) -> Result<Option<ArtifactDamage>, AppError> {
    let (blob, reading) = (blob_of(&row)?, store.clone());
    let verified = tokio::task::spawn_blocking(move || reading.open(blob)?.verify()).await;
    let verified = verified.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))?;
    let (path, offset, detail) = match verified {
        Ok(()) => return Ok(None),
        Err(BlobError::Damaged { path, offset, detail }) => (path, offset, detail),
        Err(BlobError::Missing { path }) => (path, 0, "it is missing".to_owned()),
        Err(BlobError::Io { what: "read", path, source }) if !is_out_of_files(&source) => {
            (path, 0, format!("it cannot be read: {source}"))
        }
        Err(error) => return Err(error.into()),
    };
    // A server may have removed it meanwhile, and then nobody names it.
    let artifacts = metadata.artifacts_of_blob(&row.sha256, NAMED_MAX).await?;
    let damage = ArtifactDamage { path, offset, detail, artifacts, sha256: row.sha256 };
    Ok((!damage.artifacts.is_empty()).then_some(damage))
}

/// Sets damaged blobs aside, and unnames them. Where rows were lost, now or by a repair that came no further, blobs that nobody names any
/// more are kept beside them: a start would remove them once the mark of that is gone.
pub(crate) async fn repair(
    env: &Env,
    data_dir: &Path,
    metadata: &Metadata,
    quarantine: &Path,
    lost_now: bool,
    dry_run: bool,
) -> Result<ArtifactRepair, AppError> {
    let path = metadata_path(data_dir);
    let is_marked = rows_were_lost(&path)?;
    let store = place::find(env, data_dir, metadata).await?;
    let lost = lost_now || is_marked;
    let mut done = repair_in(&store, metadata, quarantine, lost, env.clock.now_us(), dry_run).await?;
    if is_marked && !dry_run {
        let asked = store.clone();
        if blocking(move || asked.owns()).await? {
            unmark_rows_lost(&path)?;
        } else {
            done.lines
                .push(format!("objects of lost rows are not looked for, as {NOT_OWNED}; a start removes none before"));
        }
    }
    Ok(done)
}

async fn repair_in(
    store: &BlobStore,
    metadata: &Metadata,
    quarantine: &Path,
    rows_were_lost: bool,
    now_us: i64,
    dry_run: bool,
) -> Result<ArtifactRepair, AppError> {
    let mut done = ArtifactRepair::default();
    let why_not = why_not_unname(store, metadata, rows_were_lost).await?;
    for ArtifactDamage { path, offset, detail, artifacts, sha256 } in check_in(store, metadata).await?.damages {
        if let Some(why_not) = why_not {
            let (path, named) = (path.display(), artifacts.join(", "));
            done.lines.push(format!("{path} at byte {offset}: {detail}; kept for now, as {why_not}: {named}"));
            continue;
        }
        // Kept before it is unnamed: the next start removes what nobody names.
        if let Some(id) = BlobId::parse(&sha256).filter(|_| !dry_run) {
            done.quarantined.extend(set_aside(store, id, quarantine).await?);
        }
        let lost = if dry_run { artifacts } else { metadata.delete_artifacts_of_blob(&sha256, now_us).await? };
        done.lines.push(format!("{} at byte {offset}: {detail}; lost: {}", path.display(), lost.join(", ")));
    }
    if rows_were_lost {
        for file in unnamed::all(metadata, store).await? {
            let Some(id) = file.id else { continue };
            done.lines.push(format!("{} has no artifact that names it any more, and is kept", file.path.display()));
            if !dry_run {
                done.quarantined.extend(set_aside(store, id, quarantine).await?);
            }
        }
    }
    Ok(done)
}

/// Why what seems to be missing may be somewhere else.
async fn why_not_unname(
    store: &BlobStore,
    metadata: &Metadata,
    rows_were_lost: bool,
) -> Result<Option<&'static str>, AppError> {
    if rows_were_lost && metadata.artifact_store().await?.is_none() {
        // The row that says where blobs are may be among them.
        return Ok(Some(
            "rows of the metadata were lost (if it is not in an object store, repair again, else start the server with its URL first)",
        ));
    }
    let asked = store.clone();
    let owns = blocking(move || asked.owns()).await?;
    Ok((!owns).then_some(NOT_OWNED))
}

async fn set_aside(store: &BlobStore, id: BlobId, quarantine: &Path) -> Result<Option<PathBuf>, AppError> {
    let (store, quarantine) = (store.clone(), quarantine.to_owned());
    blocking(move || store.set_aside(id, &quarantine)).await
}

#[cfg(test)]
mod tests;
