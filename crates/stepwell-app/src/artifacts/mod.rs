//! Artifacts: files that belong to runs, under logical paths.
//!
//! `upload` takes bytes in, `parts` takes them in several requests, `owner` knows whose they are, `download` gives them out, `unnamed` removes blobs that nobody
//! names any more, `place` knows where they lie. A blob is published before the row that names it and removed after, and `publishing` keeps the two apart: between
//! rename and row no blob is removed.

pub(crate) mod care;
mod download;
mod owner;
mod parts;
pub(crate) mod place;
mod unnamed;
mod upload;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use stepwell_blobs::{Blob, BlobError, BlobStore, StagedBlob};
use stepwell_metadata::{Artifact, ArtifactEntry, ArtifactTotals, BlobRow, MetadataError};
use stepwell_types::{check_artifact_path, check_run_id};
use tokio::sync::{RwLock, Semaphore};

use self::parts::PartialUploads;
pub(crate) use self::unnamed::sweep_unnamed;
pub use self::{download::ArtifactDownload, owner::ArtifactPlace, parts::PartReceipt, upload::ArtifactUpload};
use crate::{
    app::{App, to_its_end},
    code::ErrorCode,
    error::AppError,
};

/// Blobs on their way to an object store at once; each holds a few parts of it in memory.
const UPLOADING_MAX: usize = 8;

/// What the application keeps of artifacts while it runs.
pub(crate) struct Artifacts {
    pub(crate) store: BlobStore,
    /// Held for reading from a blob's rename to its row, for writing while unnamed blobs are removed.
    pub(crate) publishing: RwLock<()>,
    /// Held while bytes go to an object store.
    uploading: Semaphore,
    uploads: Mutex<PartialUploads>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

/// An artifact, as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactInfo {
    pub path: String,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
    pub written_at_us: i64,
}

/// Figures of artifacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactStats {
    pub totals: ArtifactTotals,
    /// Bytes of uploads since the start, those that came to nothing included.
    pub received_bytes: u64,
    /// Bytes handed out since the start.
    pub sent_bytes: u64,
}

impl Artifacts {
    pub(crate) fn new(store: BlobStore) -> Self {
        Self {
            store,
            publishing: RwLock::default(),
            uploading: Semaphore::new(UPLOADING_MAX),
            uploads: Mutex::default(),
            received_bytes: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
        }
    }
}

impl App {
    /// The directory of a run's artifacts; the run must be there.
    pub async fn artifacts_of_run(&self, run_id: &str) -> Result<String, AppError> {
        Ok(run_directory(&self.project_id_of_artifacts(run_id).await?, run_id))
    }

    async fn project_id_of_artifacts(&self, run_id: &str) -> Result<Arc<str>, AppError> {
        check_run_id(run_id)?;
        let project_id = self.project_id_of_run(&run_id.into()).await?;
        project_id.ok_or_else(|| AppError::run_not_found(run_id))
    }

    /// Has a path name what was uploaded, in place of what was there. Durable when it returns; dropped midway, it ends all the same.
    /// Refused where the owner of the path was purged since.
    pub async fn put_artifact(&self, place: &ArtifactPlace, upload: ArtifactUpload) -> Result<ArtifactInfo, AppError> {
        let staged = upload.finish().await?;
        self.publish(place, staged).await
    }

    pub(crate) async fn publish(&self, place: &ArtifactPlace, staged: StagedBlob) -> Result<ArtifactInfo, AppError> {
        let (app, place) = (self.clone(), place.clone());
        // A client that goes away must not leave a blob without a row.
        to_its_end(async move { app.publish_whole(place, staged).await }).await
    }

    async fn publish_whole(&self, place: ArtifactPlace, staged: StagedBlob) -> Result<ArtifactInfo, AppError> {
        let artifacts = &self.parts.artifacts;
        let sha256 = staged.blob().id.to_string();
        let (mut staged, mut uploading) = (staged, None);
        if artifacts.store.uploads() {
            uploading = artifacts.uploading.acquire().await.ok();
            staged = blocking(move || staged.upload().map(|()| staged)).await?;
        }
        let publishing = artifacts.publishing.read().await;
        let named = match blocking(move || staged.publish()).await {
            Ok(blob) => self.name(place, &blob).await,
            Err(error) => Err(error),
        };
        drop((publishing, uploading));
        match named {
            Ok((info, replaced)) => {
                self.remove_unnamed(replaced).await;
                Ok(info)
            }
            Err(error) => {
                self.remove_unnamed([sha256]).await;
                Err(error)
            }
        }
    }

    async fn name(&self, place: ArtifactPlace, blob: &Blob) -> Result<(ArtifactInfo, Option<String>), AppError> {
        let ArtifactPlace { path, owner } = place;
        let sha256 = blob.id.to_string();
        let blob = BlobRow { sha256, bytes: blob.bytes, checksums: blob.checksums() };
        let artifact = Artifact { path, blob, written_at_us: self.now_us() };
        let replaced = self.parts.metadata.put_artifact(&artifact, owner.as_ref()).await?;
        Ok((info(artifact), replaced))
    }

    /// What is right below a directory, by name; nothing where there is no such directory. An empty path is the top.
    pub async fn artifacts_in(&self, directory: &str) -> Result<Vec<ArtifactEntry>, AppError> {
        if !directory.is_empty() {
            check_artifact_path(directory)?;
        }
        Ok(self.parts.metadata.artifacts_in(directory).await?)
    }

    /// Whether there are artifacts below a path.
    pub async fn is_artifact_directory(&self, path: &str) -> Result<bool, AppError> {
        Ok(self.parts.metadata.is_artifact_directory(path).await?)
    }

    /// Deletes the artifact of a path, and all below it, for good. Returns how many blobs they named.
    pub async fn delete_artifacts(&self, path: &str) -> Result<usize, AppError> {
        self.check_writable()?;
        check_artifact_path(path)?;
        let hashes = self.parts.metadata.delete_artifacts(path, self.now_us()).await?;
        let count = hashes.len();
        self.remove_unnamed(hashes).await;
        Ok(count)
    }

    /// How much there is, and how much came and went.
    pub async fn artifact_stats(&self) -> Result<ArtifactStats, AppError> {
        let artifacts = &self.parts.artifacts;
        Ok(ArtifactStats {
            totals: self.parts.metadata.artifact_totals().await?,
            received_bytes: artifacts.received_bytes.load(Ordering::Relaxed),
            sent_bytes: artifacts.sent_bytes.load(Ordering::Relaxed),
        })
    }
}

/// The directory of a run's artifacts. A run id may have what a part of a path may not: that is written as `~` and hexadecimal digits,
/// so that no run's directory is within another's.
pub fn run_directory(project_id: &str, run_id: &str) -> String {
    format!("{project_id}/{}/artifacts", run_part(run_id))
}

/// A run id as one part of a path.
pub fn run_part(run_id: &str) -> String {
    let mut part = String::with_capacity(run_id.len());
    for (at, character) in run_id.char_indices() {
        match character {
            '/' | '\\' | '%' | '#' | '?' | '~' => part += &format!("~{:02x}", u32::from(character)),
            '.' if at == 0 => part += "~2e",
            other => part.push(other),
        }
    }
    part
}

fn info(artifact: Artifact) -> ArtifactInfo {
    let Artifact { path, blob, written_at_us } = artifact;
    ArtifactInfo { path, sha256: blob.sha256, bytes: blob.bytes, written_at_us }
}

/// The blob that a row names.
pub(crate) fn blob_of(row: &BlobRow) -> Result<Blob, AppError> {
    let id = stepwell_blobs::BlobId::parse(&row.sha256);
    let blob = id.and_then(|id| Blob::of_parts(id, row.bytes, &row.checksums));
    blob.ok_or_else(|| {
        let detail = format!("{} checksums of {} bytes", row.checksums.len() / 4, row.bytes);
        MetadataError::Damaged { what: "blob", subject: row.sha256.clone(), detail }.into()
    })
}

/// Runs what touches the disk on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, AppError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))??)
}

#[cfg(test)]
mod tests;
