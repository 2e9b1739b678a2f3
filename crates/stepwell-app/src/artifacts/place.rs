//! Where blobs lie: below the data directory, or in an object store that the metadata names; and whose objects are there. Two data
//! directories at one URL would each remove what the other's rows name.

use std::{path::Path, time::Duration};

use stepwell_blobs::BlobStore;
use stepwell_env::Env;
use stepwell_metadata::Metadata;
use tokio::runtime::Handle;

use super::blocking;
use crate::{code::ErrorCode, error::AppError};

/// What the owner of a data directory was told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) url: Option<&'a str>,
    /// The owner that is replaced.
    pub(crate) take_over: Option<&'a str>,
}

/// Who is taken over from where objects have no owner.
const NOBODY: &str = "nobody";

/// The blobs of a data directory.
pub(crate) async fn find(env: &Env, data_dir: &Path, metadata: &Metadata) -> Result<BlobStore, AppError> {
    let store = store(env, data_dir, metadata.artifact_store().await?.as_deref())?;
    owned(store, metadata).await
}

/// The same for the owner of the directory, who may be told of an object store; told once, it need not be told again. One that does not
/// take, give and remove objects is refused, unless it did so before: then the rest of the server need not wait for it. So is one that
/// has objects of others.
pub(crate) async fn settle(
    env: &Env,
    data_dir: &Path,
    metadata: &Metadata,
    wanted: Wanted<'_>,
) -> Result<BlobStore, AppError> {
    let url = wanted.url.map(|url| url.trim_end_matches('/'));
    let known = metadata.artifact_store().await?;
    match (known.as_deref(), url) {
        (Some(known), Some(wanted)) if known != wanted => {
            let message = format!(
                "the artifacts of this data directory are in {known}: start it with that URL or without one, not with {wanted}"
            );
            Err(AppError::new(ErrorCode::InvalidValue, message).field("artifacts_url"))
        }
        (None, Some(url)) => {
            let store = store(env, data_dir, Some(url))?;
            let probed = store.clone();
            blocking(move || probed.probe()).await?;
            begin(env, metadata, &store, url, wanted.take_over).await?;
            Ok(store)
        }
        (known, _) => {
            let store = store(env, data_dir, known)?;
            match wanted.take_over {
                Some(before) if store.uploads() => take_over(env, metadata, store, before).await,
                _ => owned(store, metadata).await,
            }
        }
    }
}

/// Has a data directory use an object store from now on.
pub(super) async fn begin(
    env: &Env,
    metadata: &Metadata,
    store: &BlobStore,
    url: &str,
    take_over: Option<&str>,
) -> Result<(), AppError> {
    let asked = store.clone();
    let (owner, has_objects) = blocking(move || Ok((asked.owner()?, asked.has_objects()?))).await?;
    let of = owner.as_deref().or(has_objects.then_some(NOBODY));
    if let Some(of) = of.filter(|of| take_over != Some(*of)) {
        let message = format!(
            "{url} has artifacts already, of the owner {of:?}: give this data directory a URL of its own; if no server uses the other \
             data directory any more, start with --artifacts-take-over {of}: what no artifact of this one names is then removed"
        );
        return Err(AppError::new(ErrorCode::InvalidValue, message).field("artifacts_url"));
    }
    metadata.set_artifact_store(url, env.clock.now_us()).await?;
    become_owner(env, metadata, store, owner).await
}

/// Replaces the owner of the objects, if it is still that one.
pub(super) async fn take_over(
    env: &Env,
    metadata: &Metadata,
    store: BlobStore,
    before: &str,
) -> Result<BlobStore, AppError> {
    let asked = store.clone();
    let owner = blocking(move || asked.owner()).await?;
    if owner.as_deref().unwrap_or(NOBODY) != before {
        return owned(store, metadata).await;
    }
    if metadata.artifact_owner().await?.as_deref() != Some(before) || is_copied(&store, metadata).await? {
        become_owner(env, metadata, &store, owner).await?;
        return Ok(store);
    }
    owned(store, metadata).await
}

/// Makes sure that the objects have an owner, and says so where it is another data directory; returns whether it is this one. What was
/// made before there were owners becomes it here. A copy never does, of a backup or by hand: its original may just not have been started
/// since.
pub(super) async fn adopt(env: &Env, metadata: &Metadata, store: &BlobStore) -> Result<bool, AppError> {
    let asked = store.clone();
    let (owner, owns) = blocking(move || Ok((asked.owner()?, asked.owns()?))).await?;
    match owner {
        _ if owns => {
            // From before it was said which one.
            if metadata.artifact_owner_directory().await?.is_none()
                && let (Some(owner), Some(directory)) = (metadata.artifact_owner().await?, store.directory()?)
            {
                metadata.set_artifact_owner(&owner, Some(&directory), env.clock.now_us()).await?;
            }
            Ok(true)
        }
        Some(owner) => {
            tracing::warn!(
                owner,
                "the object store of the artifacts belongs to another data directory, of which this may be a copy, or to this one where it \
                 was before files were copied here: nothing is removed from it, and new artifacts go to the data directory; if no server \
                 uses the other any more, start with --artifacts-take-over and its owner"
            );
            Ok(false)
        }
        None if metadata.disowns_artifacts().await? || is_copied(store, metadata).await? => {
            tracing::warn!(
                "this data directory is a copy, and the object store of the artifacts names no owner yet: nothing is removed from it, \
                 and new artifacts go to the data directory; if no server uses the original any more, start with \
                 --artifacts-take-over {NOBODY}"
            );
            Ok(false)
        }
        None => {
            become_owner(env, metadata, store, None).await?;
            let asked = store.clone();
            blocking(move || asked.owns()).await
        }
    }
}

/// The same, again and again while the store cannot be asked: until then artifacts go to the data directory. `parts` gives nothing once
/// the application is gone; returns whether it is not.
pub(super) async fn adopt_at_last(
    parts: impl Fn() -> Option<(Env, Metadata, BlobStore)>,
    again_after: Duration,
) -> bool {
    loop {
        let Some((env, metadata, store)) = parts() else { return false };
        match adopt(&env, &metadata, &store).await {
            Ok(_) => return true,
            Err(_) if metadata.is_closed() => return false,
            Err(error) => tracing::warn!(
                %error,
                "whose the objects of the artifacts are cannot be asked: until it can, what no artifact names stays, and if their owner is \
                 not known from before, new artifacts go to the data directory; nothing to do but what the error names: it is tried \
                 again in a minute"
            ),
        }
        drop((env, metadata, store));
        tokio::time::sleep(again_after).await;
    }
}

/// The name goes to the metadata first: where it ends there, the next start makes it the owner.
async fn become_owner(
    env: &Env,
    metadata: &Metadata,
    store: &BlobStore,
    before: Option<String>,
) -> Result<(), AppError> {
    let owner = match metadata.artifact_owner().await? {
        Some(owner) if !is_copied(store, metadata).await? => owner,
        _ => {
            let owner = format!("{:016x}{:016x}", env.random.next_u64(), env.random.next_u64());
            metadata.set_artifact_owner(&owner, store.directory()?.as_deref(), env.clock.now_us()).await?;
            owner
        }
    };
    let store = store.clone();
    blocking(move || store.own(&owner, before.as_deref())).await
}

async fn owned(store: BlobStore, metadata: &Metadata) -> Result<BlobStore, AppError> {
    Ok(match metadata.artifact_owner().await? {
        Some(owner) if !is_copied(&store, metadata).await? => store.with_owner(owner),
        _ => store,
    })
}

/// Whether the metadata were those of another directory: what they say of the owner is of that one, which may be in use.
async fn is_copied(store: &BlobStore, metadata: &Metadata) -> Result<bool, AppError> {
    let (of_owner, here) = (metadata.artifact_owner_directory().await?, store.directory()?);
    Ok(of_owner.zip(here).is_some_and(|(of_owner, here)| here != of_owner))
}

fn store(env: &Env, data_dir: &Path, url: Option<&str>) -> Result<BlobStore, AppError> {
    match url {
        Some(url) => Ok(BlobStore::with_objects(env.disk.clone(), data_dir, url, Handle::current())?),
        None => Ok(BlobStore::new(env.disk.clone(), data_dir)),
    }
}

#[cfg(test)]
mod tests;
