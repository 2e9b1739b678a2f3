//! Where blobs lie: below the data directory, or in an object store that the metadata names.

use std::path::Path;

use stepwell_blobs::BlobStore;
use stepwell_env::Env;
use stepwell_metadata::Metadata;
use tokio::runtime::Handle;

use super::blocking;
use crate::{code::ErrorCode, error::AppError};

/// The blobs of a data directory.
pub(crate) async fn find(env: &Env, data_dir: &Path, metadata: &Metadata) -> Result<BlobStore, AppError> {
    store(env, data_dir, metadata.artifact_store().await?.as_deref())
}

/// The same for the owner of the directory, who may be told of an object store; told once, it need not be told again. One that does not
/// take, give and remove objects is refused, unless it did so before: then the rest of the server need not wait for it.
pub(crate) async fn settle(
    env: &Env,
    data_dir: &Path,
    metadata: &Metadata,
    wanted: Option<&str>,
) -> Result<BlobStore, AppError> {
    let wanted = wanted.map(|url| url.trim_end_matches('/'));
    let known = metadata.artifact_store().await?;
    match (known.as_deref(), wanted) {
        (Some(known), Some(wanted)) if known != wanted => {
            let message = format!(
                "the artifacts of this data directory are in {known}: start it with that URL or without one, not with {wanted}"
            );
            Err(AppError::new(ErrorCode::InvalidValue, message).field("artifacts_url"))
        }
        (None, Some(wanted)) => {
            let store = store(env, data_dir, Some(wanted))?;
            let probed = store.clone();
            blocking(move || probed.probe()).await?;
            metadata.set_artifact_store(wanted, env.clock.now_us()).await?;
            Ok(store)
        }
        (known, _) => store(env, data_dir, known),
    }
}

fn store(env: &Env, data_dir: &Path, url: Option<&str>) -> Result<BlobStore, AppError> {
    match url {
        Some(url) => Ok(BlobStore::with_objects(env.disk.clone(), data_dir, url, Handle::current())?),
        None => Ok(BlobStore::new(env.disk.clone(), data_dir)),
    }
}
