//! Bytes in, as they come.

use std::sync::atomic::Ordering;

use stepwell_blobs::{BlobWriter, StagedBlob};
use stepwell_env::DiskSpace;

use super::blocking;
use crate::{app::App, code::ErrorCode, error::AppError};

/// Bytes gathered before they are written.
const GATHERED_BYTES: usize = 256 << 10;
/// Room is looked at again after so many bytes.
const LOOK_EVERY_BYTES: u64 = 32 << 20;
/// Room that uploads leave to the log, the segments and the metadata, bytes; a twentieth of a file system that is small.
const ROOM_LEFT_BYTES: u64 = 256 << 20;

/// An upload that is not named yet. Dropped, it leaves nothing.
pub struct ArtifactUpload {
    app: App,
    /// Absent only while it writes, and after that failed.
    writer: Option<BlobWriter>,
    gathered: Vec<u8>,
    /// Bytes at which room is looked at next.
    look_at: u64,
}

impl App {
    /// Begins an upload, of as many bytes as are announced. Refused where the disk has no room for them.
    pub async fn begin_artifact(&self, announced_bytes: Option<u64>) -> Result<ArtifactUpload, AppError> {
        self.check_writable()?;
        self.check_room(announced_bytes.unwrap_or(0))?;
        let store = self.parts.artifacts.store.clone();
        let writer = blocking(move || store.create()).await?;
        let look_at = LOOK_EVERY_BYTES;
        Ok(ArtifactUpload { app: self.clone(), writer: Some(writer), gathered: Vec::new(), look_at })
    }

    /// Whether so many bytes more leave room for everything else.
    fn check_room(&self, bytes: u64) -> Result<(), AppError> {
        let Some(DiskSpace { free_bytes, total_bytes }) = self.disk_space() else { return Ok(()) };
        let left = ROOM_LEFT_BYTES.min(total_bytes / 20);
        if free_bytes >= bytes.saturating_add(left) {
            return Ok(());
        }
        let message = format!(
            "the disk has {free_bytes} bytes free, of which artifacts leave {left} to everything else; free space, then send the \
             artifact again"
        );
        Err(AppError::new(ErrorCode::DiskFull, message))
    }
}

impl ArtifactUpload {
    /// Takes bytes; they are on their way to the disk, not durable.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AppError> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_BYTES { self.write_gathered().await } else { Ok(()) }
    }

    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::bytes) + self.gathered.len() as u64
    }

    async fn write_gathered(&mut self) -> Result<(), AppError> {
        let Some(mut writer) = self.writer.take() else { return Err(broken()) };
        if writer.bytes() >= self.look_at {
            self.look_at = writer.bytes() + LOOK_EVERY_BYTES;
            self.app.check_room(0)?;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let received = &self.app.parts.artifacts.received_bytes;
        received.fetch_add(gathered.len() as u64, Ordering::Relaxed);
        let (writer, mut gathered) = blocking(move || {
            writer.write(&gathered)?;
            Ok((writer, gathered))
        })
        .await?;
        gathered.clear();
        (self.writer, self.gathered) = (Some(writer), gathered);
        Ok(())
    }

    /// Ends it; its bytes are durable, but nobody names them.
    pub(crate) async fn finish(mut self) -> Result<StagedBlob, AppError> {
        self.write_gathered().await?;
        let writer = self.writer.take().ok_or_else(broken)?;
        blocking(move || writer.finish()).await
    }
}

fn broken() -> AppError {
    AppError::new(ErrorCode::Internal, "the upload failed before; begin it anew")
}
