//! Bytes out, a chunk at a time.

use std::sync::{Arc, atomic::Ordering};

use stepwell_blobs::{BlobReader, CHUNK_BYTES};
use stepwell_types::check_artifact_path;

use super::{ArtifactInfo, blob_of, blocking, info};
use crate::{app::App, code::ErrorCode, error::AppError};

/// Looks at a path whose blob is replaced again and again.
const TRIES: usize = 8;

/// An artifact being read. It stays as it was when it was opened, whatever becomes of its path.
#[derive(Clone)]
pub struct ArtifactDownload {
    app: App,
    info: ArtifactInfo,
    reader: Arc<BlobReader>,
}

impl App {
    /// Opens the artifact of a path.
    pub async fn open_artifact(&self, path: &str) -> Result<ArtifactDownload, AppError> {
        check_artifact_path(path)?;
        let mut tries = 0;
        loop {
            let Some(artifact) = self.parts.metadata.artifact(path).await? else {
                let message = format!("there is no artifact {path:?}");
                return Err(AppError::new(ErrorCode::ArtifactNotFound, message).field("path"));
            };
            let (blob, store) = (blob_of(&artifact.blob)?, self.parts.artifacts.store.clone());
            match blocking(move || store.open(blob)).await {
                Ok(reader) => {
                    return Ok(ArtifactDownload { app: self.clone(), info: info(artifact), reader: Arc::new(reader) });
                }
                Err(error) => {
                    // Replaced, and its blob removed, between the look at the row and at the file.
                    let now = self.parts.metadata.artifact(path).await?;
                    let has_moved = now.is_none_or(|now| now.blob.sha256 != artifact.blob.sha256);
                    tries += 1;
                    if !has_moved || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl ArtifactDownload {
    /// What it is.
    pub fn info(&self) -> &ArtifactInfo {
        &self.info
    }

    /// Up to a chunk of its bytes from `from` on, checked; empty at the end.
    pub async fn read(&self, from: u64) -> Result<Vec<u8>, AppError> {
        let (number, skip) = (from / CHUNK_BYTES as u64, (from % CHUNK_BYTES as u64) as usize);
        let reader = self.reader.clone();
        let mut chunk = blocking(move || reader.chunk(number)).await.inspect_err(|error| {
            if error.code == ErrorCode::DataDamaged {
                tracing::error!(%error, "an artifact is damaged and is not handed out; `stepwell check` lists what is");
            }
        })?;
        chunk.drain(..skip.min(chunk.len()));
        self.app.parts.artifacts.sent_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(chunk)
    }
}
