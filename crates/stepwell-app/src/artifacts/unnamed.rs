//! Blobs that no row names: they go, after their rows or at the next start.

use std::{sync::Weak, time::Duration};

use stepwell_blobs::{BlobId, BlobStore, Found, SHARDS};
use stepwell_metadata::{Metadata, rows_were_lost};

use super::{blocking, place};
use crate::{
    app::{App, Parts},
    config::metadata_path,
    error::AppError,
};

/// How long until a store that could not be asked for its owner is asked again.
const ADOPT_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl App {
    /// Removes those of the blobs that nobody names. What cannot be removed now goes at the next start.
    pub(crate) async fn remove_unnamed(&self, hashes: impl IntoIterator<Item = String>) {
        for sha256 in hashes {
            if let Err(error) = self.remove_if_unnamed(&sha256).await {
                tracing::warn!(%error, sha256, "a blob that no artifact names stays for now; nothing to do: the next start removes it");
            }
        }
    }

    async fn remove_if_unnamed(&self, sha256: &str) -> Result<(), AppError> {
        let artifacts = &self.parts.artifacts;
        let _alone = artifacts.publishing.write().await;
        let Some(id) = BlobId::parse(sha256) else { return Ok(()) };
        if !self.parts.metadata.artifacts_of_blob(sha256, 1).await?.is_empty() {
            return Ok(());
        }
        let store = artifacts.store.clone();
        blocking(move || store.remove(id)).await
    }
}

/// Removes what a crash left, directory by directory, until the application is gone.
pub(crate) async fn sweep_unnamed(parts: Weak<Parts>) {
    let adopting = || {
        let parts = parts.upgrade()?;
        Some((parts.env.clone(), parts.metadata.clone(), parts.artifacts.store.clone()))
    };
    if !place::adopt_at_last(adopting, ADOPT_AGAIN_AFTER).await {
        return;
    }
    for shard in 0..SHARDS {
        let Some(parts) = parts.upgrade() else { return };
        let swept = async {
            if shard == 0 && !may_sweep(&parts)? {
                return Ok(false);
            }
            let _alone = parts.artifacts.publishing.write().await;
            sweep_shard(&parts.metadata, &parts.artifacts.store, shard as u8).await.map(|()| true)
        };
        match swept.await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) if parts.metadata.is_closed() => return,
            Err(error) => {
                tracing::warn!(%error, "blobs that no artifact names were not looked for; nothing to do: the next start looks");
                return;
            }
        }
    }
}

/// Whether what no row names is nobody's; while the rows that named it may be lost, it is not.
fn may_sweep(parts: &Parts) -> Result<bool, AppError> {
    let is_held_back = rows_were_lost(&metadata_path(&parts.data_dir))?;
    if is_held_back {
        tracing::warn!(
            "a repair of the metadata lost rows and came no further: blobs that no artifact names stay; stop the server and run \
             `stepwell repair`, which sets them aside"
        );
    }
    Ok(!is_held_back)
}

pub(super) async fn sweep_shard(metadata: &Metadata, store: &BlobStore, shard: u8) -> Result<(), AppError> {
    for Found { path, bytes, id } in unnamed(metadata, store, shard).await? {
        let Some(id) = id else { continue };
        tracing::info!(path = %path.display(), bytes, "a blob that no artifact names is removed");
        let store = store.clone();
        if let Err(error) = blocking(move || store.remove(id)).await {
            tracing::warn!(%error, "it stays for now; nothing to do: the next start removes it");
        }
    }
    Ok(())
}

async fn unnamed(metadata: &Metadata, store: &BlobStore, shard: u8) -> Result<Vec<Found>, AppError> {
    let store = store.clone();
    let mut found = blocking(move || store.shard(shard)).await?;
    // What is not called as we call blobs is none of ours.
    found.retain(|file| file.id.is_some());
    if !found.is_empty() {
        let named = metadata.named_blobs(&format!("{shard:02x}")).await?;
        found.retain(|file| file.id.is_some_and(|id| !named.contains(&id.to_string())));
    }
    Ok(found)
}

/// All of them.
pub(super) async fn all(metadata: &Metadata, store: &BlobStore) -> Result<Vec<Found>, AppError> {
    let mut found = Vec::new();
    for shard in 0..SHARDS {
        found.extend(unnamed(metadata, store, shard as u8).await?);
    }
    Ok(found)
}
