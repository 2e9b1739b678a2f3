//! An upload in several requests: each part is a file until all are there, then they become one. A restart ends it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use stepwell_blobs::{BlobError, BlobStore, StagedBlob};

use super::{ArtifactInfo, ArtifactPlace, ArtifactUpload, blocking};
use crate::{
    app::{App, to_its_end},
    code::ErrorCode,
    error::AppError,
};

/// Uploads under way at once.
const UPLOADS_MAX: usize = 256;
/// Parts of one.
const PARTS_MAX: u32 = 10_000;
/// An upload of which nothing was heard for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// All that are under way, by their ids.
pub(super) type PartialUploads = HashMap<String, PartialUpload>;

pub(super) struct PartialUpload {
    place: ArtifactPlace,
    heard_at: Duration,
    parts: BTreeMap<u32, StagedBlob>,
    /// While its parts are put together no other request does so.
    is_completing: bool,
}

/// What a client shows of a part at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReceipt {
    /// From 1.
    pub number: u32,
    /// The hash of its bytes, 64 lower-case hexadecimal digits; not compared where it is empty.
    pub sha256: String,
}

impl App {
    /// Begins an upload in so many parts; returns its id, which nobody can guess.
    pub fn begin_parts(&self, place: ArtifactPlace, parts: u32) -> Result<String, AppError> {
        self.check_writable()?;
        if !(1..=PARTS_MAX).contains(&parts) {
            let message = format!("an upload has 1 to {PARTS_MAX} parts");
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("num_parts").limit(PARTS_MAX as usize));
        }
        let now = self.parts.env.clock.monotonic();
        let random = &self.parts.env.random;
        let upload_id = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
        let mut uploads = self.uploads();
        uploads.retain(|_, upload| upload.is_completing || now.saturating_sub(upload.heard_at) < IDLE_MAX);
        if uploads.len() >= UPLOADS_MAX {
            let message = format!("{UPLOADS_MAX} uploads in parts are under way; complete or abort some");
            return Err(AppError::new(ErrorCode::QueueFull, message).limit(UPLOADS_MAX));
        }
        let upload = PartialUpload { place, heard_at: now, parts: BTreeMap::new(), is_completing: false };
        uploads.insert(upload_id.clone(), upload);
        Ok(upload_id)
    }

    /// Takes a part in, in place of the one of that number; returns its hash.
    pub async fn put_part(&self, upload_id: &str, number: u32, upload: ArtifactUpload) -> Result<String, AppError> {
        if !(1..=PARTS_MAX).contains(&number) {
            let message = format!("parts have the numbers 1 to {PARTS_MAX}");
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("part_number"));
        }
        self.check_parts(upload_id)?;
        let staged = upload.finish().await?;
        let sha256 = staged.blob().id.to_string();
        let now = self.parts.env.clock.monotonic();
        let replaced = match self.uploads().get_mut(upload_id).filter(|upload| !upload.is_completing) {
            Some(upload) => {
                upload.heard_at = now;
                upload.parts.insert(number, staged)
            }
            None => return Err(unknown(upload_id)),
        };
        // Its file is removed without the lock.
        drop(replaced);
        Ok(sha256)
    }

    /// Refuses an upload that is not under way.
    pub fn check_parts(&self, upload_id: &str) -> Result<(), AppError> {
        let is_known = self.uploads().get(upload_id).is_some_and(|upload| !upload.is_completing);
        if is_known { Ok(()) } else { Err(unknown(upload_id)) }
    }

    /// Puts the parts together, in the order of their numbers, under the path that was given. Where that fails it can be tried again.
    pub async fn complete_parts(
        &self,
        upload_id: &str,
        path: &str,
        receipts: &[PartReceipt],
    ) -> Result<ArtifactInfo, AppError> {
        let (place, parts) = self.take_parts(upload_id, path, receipts)?;
        let (app, upload_id) = (self.clone(), upload_id.to_owned());
        to_its_end(async move {
            let store = app.parts.artifacts.store.clone();
            let (parts, joined) = match blocking(move || Ok(join(&store, parts))).await {
                Ok(joined) => joined,
                Err(error) => {
                    app.uploads().remove(&upload_id);
                    return Err(error);
                }
            };
            let published = match joined {
                Ok(staged) => app.publish(&place, staged).await,
                Err(error) => Err(error.into()),
            };
            app.give_parts_back(&upload_id, parts, published.is_ok());
            published
        })
        .await
    }

    /// Ends an upload and removes its parts; one that is not under way is ended already.
    pub fn abort_parts(&self, upload_id: &str) {
        let mut uploads = self.uploads();
        let ended = uploads.get(upload_id).is_some_and(|upload| !upload.is_completing);
        let removed = if ended { uploads.remove(upload_id) } else { None };
        drop(uploads);
        drop(removed);
    }

    fn take_parts(
        &self,
        upload_id: &str,
        path: &str,
        receipts: &[PartReceipt],
    ) -> Result<(ArtifactPlace, BTreeMap<u32, StagedBlob>), AppError> {
        let mut uploads = self.uploads();
        let known = uploads.get_mut(upload_id).filter(|upload| !upload.is_completing && upload.place.path == path);
        let Some(upload) = known else { return Err(unknown(upload_id)) };
        let is_there = |receipt: &&PartReceipt| {
            let part = upload.parts.get(&receipt.number);
            part.is_some_and(|part| receipt.sha256.is_empty() || part.blob().id.to_string() == receipt.sha256)
        };
        let absent = receipts.iter().find(|receipt| !is_there(receipt)).map(|receipt| receipt.number);
        let listed: BTreeSet<u32> = receipts.iter().map(|receipt| receipt.number).collect();
        let unlisted = upload.parts.keys().find(|number| !listed.contains(number));
        let is_gapless = upload.parts.keys().copied().eq(1..=upload.parts.len() as u32);
        if let Some(number) = absent.or(unlisted.copied()) {
            let message = format!("part {number} is not as it was uploaded; upload it, and list all parts");
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("parts"));
        }
        if upload.parts.is_empty() || !is_gapless {
            let message = "parts must have the numbers from 1 on, without a gap".to_owned();
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("parts"));
        }
        upload.is_completing = true;
        Ok((upload.place.clone(), std::mem::take(&mut upload.parts)))
    }

    fn give_parts_back(&self, upload_id: &str, parts: BTreeMap<u32, StagedBlob>, is_done: bool) {
        let mut uploads = self.uploads();
        if is_done {
            uploads.remove(upload_id);
            drop(uploads);
        } else if let Some(upload) = uploads.get_mut(upload_id) {
            (upload.parts, upload.is_completing) = (parts, false);
        }
    }

    fn uploads(&self) -> MutexGuard<'_, PartialUploads> {
        self.parts.artifacts.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One blob of all parts, which are given back.
fn join(
    store: &BlobStore,
    parts: BTreeMap<u32, StagedBlob>,
) -> (BTreeMap<u32, StagedBlob>, Result<StagedBlob, BlobError>) {
    let joined = || {
        let mut writer = store.create()?;
        for part in parts.values() {
            let reader = part.reader()?;
            for chunk in 0..part.blob().chunks() {
                writer.write(&reader.chunk(chunk)?)?;
            }
        }
        writer.finish()
    };
    let joined = joined();
    (parts, joined)
}

fn unknown(upload_id: &str) -> AppError {
    let shown: String = upload_id.chars().take(64).collect();
    AppError::new(ErrorCode::UploadNotFound, format!("no upload {shown:?} of that path is under way"))
        .field("upload_id")
}
