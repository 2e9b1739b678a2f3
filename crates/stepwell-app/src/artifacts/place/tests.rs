//! Two data directories at one URL.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stepwell_blobs::{Blob, BlobStore, SHARDS};
use stepwell_env::{Env, RealDisk};
use stepwell_metadata::{Artifact, BlobRow, Metadata, MetadataCopy};
use stepwell_objects::{Objects, SimObjects};
use tokio::runtime::Handle;

use super::{adopt, adopt_at_last, begin, owned, take_over};
use crate::{
    ErrorCode,
    artifacts::{blocking, unnamed::sweep_shard},
};

const URL: &str = "s3://team/stepwell";

fn objects_of(memory: &Arc<SimObjects>) -> Objects {
    Objects::over(memory.clone(), "stepwell", URL, Handle::current())
}

fn store(memory: &Arc<SimObjects>, data_dir: &Path) -> BlobStore {
    let store = BlobStore::over_objects(Arc::new(RealDisk), data_dir, objects_of(memory));
    store.prepare().unwrap();
    store
}

async fn put(metadata: &Metadata, store: &BlobStore, path: &str) -> Blob {
    let (store, content) = (store.clone(), path.to_owned());
    let blob = blocking(move || {
        let mut writer = store.create()?;
        writer.write(content.as_bytes())?;
        writer.finish()?.publish()
    });
    let blob = blob.await.unwrap();
    let row = BlobRow { sha256: blob.id.to_string(), bytes: blob.bytes, checksums: blob.checksums() };
    metadata.put_artifact(&Artifact { path: path.into(), blob: row, written_at_us: 1 }, None).await.unwrap();
    blob
}

async fn is_there(store: &BlobStore, blob: &Blob) -> bool {
    let (store, blob) = (store.clone(), blob.clone());
    blocking(move || Ok(store.open(blob).is_ok_and(|reader| reader.verify().is_ok()))).await.unwrap()
}

async fn sweep(metadata: &Metadata, store: &BlobStore) {
    for shard in 0..SHARDS {
        sweep_shard(metadata, store, shard as u8).await.unwrap();
    }
}

/// The metadata of a directory as a backup of them, in another.
async fn copied(here: &Path, there: &Path) -> Metadata {
    let copy = there.join("metadata.sqlite");
    let mut copying = MetadataCopy::open(&here.join("metadata.sqlite"), &copy).await.unwrap();
    copying.pin().await.unwrap();
    copying.finish().await.unwrap();
    Metadata::open(&copy).await.unwrap()
}

/// Metadata and blobs as an earlier version left them: objects, and no owner.
async fn without_owner(memory: &Arc<SimObjects>, data_dir: &Path) -> (Metadata, Blob) {
    let metadata = Metadata::open(&data_dir.join("metadata.sqlite")).await.unwrap();
    metadata.set_artifact_store(URL, 1).await.unwrap();
    let (earlier, all) = (store(memory, data_dir), objects_of(memory));
    let owning = earlier.clone();
    blocking(move || owning.own("earlier", None)).await.unwrap();
    let kept = put(&metadata, &earlier, "0/r/artifacts/a").await;
    tokio::task::spawn_blocking(move || all.remove("stepwell-owner")).await.unwrap().unwrap();
    (metadata, kept)
}

/// A restored copy has the URL and older rows: its first sweep removed what was put since, acknowledged, into the original.
#[tokio::test(flavor = "multi_thread")]
async fn i1_a_restored_copy_removes_nothing_of_the_original_until_it_takes_over() {
    let (env, memory) = (Env::real(), Arc::new(SimObjects::new()));
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let original = Metadata::open(&here.path().join("metadata.sqlite")).await.unwrap();
    let objects = store(&memory, here.path());
    begin(&env, &original, &objects, URL, None).await.unwrap();
    let early = put(&original, &objects, "0/r/artifacts/early").await;
    let copy = copied(here.path(), there.path()).await;
    let later = put(&original, &objects, "0/r/artifacts/later.bin").await;

    assert_eq!(copy.artifact_store().await.unwrap().as_deref(), Some(URL));
    let its_objects = owned(store(&memory, there.path()), &copy).await.unwrap();
    assert!(!adopt(&env, &copy, &its_objects).await.unwrap());
    sweep(&copy, &its_objects).await;
    copy.delete_artifacts("0/r/artifacts/early", 3).await.unwrap();
    sweep(&copy, &its_objects).await;
    assert!(is_there(&objects, &early).await && is_there(&objects, &later).await);
    let own = put(&copy, &its_objects, "0/r/artifacts/of-the-copy").await;
    // The original removes what it does not name, also after a restart.
    let objects = owned(store(&memory, here.path()), &original).await.unwrap();
    assert!(adopt(&env, &original, &objects).await.unwrap());
    original.delete_artifacts("0/r/artifacts/early", 4).await.unwrap();
    sweep(&original, &objects).await;
    assert!(!is_there(&objects, &early).await && is_there(&objects, &later).await);
    assert!(is_there(&its_objects, &own).await, "which the original does not know");

    let owner = original.artifact_owner().await.unwrap().unwrap();
    let mistaken = take_over(&env, &copy, store(&memory, there.path()), "somebody").await.unwrap();
    assert!(!adopt(&env, &copy, &mistaken).await.unwrap());
    let taken = take_over(&env, &copy, store(&memory, there.path()), &owner).await.unwrap();
    assert!(adopt(&env, &copy, &taken).await.unwrap() && !adopt(&env, &original, &objects).await.unwrap());
    sweep(&copy, &taken).await;
    assert!(!is_there(&objects, &later).await, "which it does not know");
    for metadata in [original, copy] {
        metadata.close().await;
    }
}

/// Whoever copied a data directory to try something had the copy, which said that it is the owner, remove what the original put since.
#[tokio::test(flavor = "multi_thread")]
async fn i1_a_directory_that_is_copied_by_hand_removes_nothing_of_the_original() {
    let (env, memory, dir) = (Env::real(), Arc::new(SimObjects::new()), tempfile::tempdir().unwrap());
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    std::fs::create_dir(&here).unwrap();
    if store(&memory, &here).directory().unwrap().is_none() {
        return;
    }
    let open = async |data_dir: &Path| Metadata::open(&data_dir.join("metadata.sqlite")).await.unwrap();
    let original = open(&here).await;
    begin(&env, &original, &store(&memory, &here), URL, None).await.unwrap();
    original.close().await;
    assert!(Command::new("cp").arg("-a").args([&here, &there]).status().unwrap().success());
    // Its own name does not matter.
    let moved = dir.path().join("moved");
    std::fs::rename(&here, &moved).unwrap();
    let original = open(&moved).await;
    let objects = owned(store(&memory, &moved), &original).await.unwrap();
    assert!(adopt(&env, &original, &objects).await.unwrap());
    let later = put(&original, &objects, "0/r/artifacts/later").await;

    let copy = open(&there).await;
    let owner = copy.artifact_owner().await.unwrap().unwrap();
    for take_over_from in ["nobody", "somebody"] {
        let its_objects = take_over(&env, &copy, store(&memory, &there), take_over_from).await.unwrap();
        assert!(!adopt(&env, &copy, &its_objects).await.unwrap());
        sweep(&copy, &its_objects).await;
        assert!(is_there(&objects, &later).await);
        let own = put(&copy, &its_objects, "0/r/artifacts/of-the-copy").await;
        assert!(is_there(&its_objects, &own).await && !is_there(&objects, &own).await, "it is a file");
    }
    // The name that both had is the original's alone; the copy gets one of its own.
    let taken = take_over(&env, &copy, store(&memory, &there), &owner).await.unwrap();
    assert!(adopt(&env, &copy, &taken).await.unwrap() && !adopt(&env, &original, &objects).await.unwrap());
    let again = owned(store(&memory, &there), &copy).await.unwrap();
    assert!(adopt(&env, &copy, &again).await.unwrap(), "also when it is started again");
    let again = owned(store(&memory, &moved), &original).await.unwrap();
    assert!(!adopt(&env, &original, &again).await.unwrap());
    for metadata in [original, copy] {
        metadata.close().await;
    }
}

/// Of a directory from before it was said which one is the owner, the first start says so.
#[tokio::test(flavor = "multi_thread")]
async fn which_directory_is_the_owner_is_said_of_those_of_an_earlier_version_too() {
    let (env, memory, dir) = (Env::real(), Arc::new(SimObjects::new()), tempfile::tempdir().unwrap());
    let metadata = Metadata::open(&dir.path().join("metadata.sqlite")).await.unwrap();
    let objects = store(&memory, dir.path());
    begin(&env, &metadata, &objects, URL, None).await.unwrap();
    let owner = metadata.artifact_owner().await.unwrap().unwrap();
    metadata.set_artifact_owner(&owner, None, 1).await.unwrap();
    assert!(adopt(&env, &metadata, &objects).await.unwrap());
    assert_eq!(metadata.artifact_owner_directory().await.unwrap(), objects.directory().unwrap());
    assert_eq!(metadata.artifact_owner().await.unwrap(), Some(owner));
    metadata.close().await;
}

/// Metadata that were lost and made anew know of no artifact, and neither does another server at the same URL.
#[tokio::test(flavor = "multi_thread")]
async fn i1_objects_of_others_are_not_begun_with() {
    let (env, memory) = (Env::real(), Arc::new(SimObjects::new()));
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (before, kept) = without_owner(&memory, here.path()).await;
    let objects = store(&memory, here.path());
    let other = Metadata::open(&there.path().join("metadata.sqlite")).await.unwrap();
    let its_objects = store(&memory, there.path());
    let refused = begin(&env, &other, &its_objects, URL, None).await.unwrap_err();
    assert!(refused.code == ErrorCode::InvalidValue && refused.message.contains("nobody"), "{refused}");
    // The next start of a server that had them makes it their owner.
    assert!(adopt(&env, &before, &objects).await.unwrap());
    let owner = before.artifact_owner().await.unwrap().unwrap();
    for take_over in [None, Some("nobody"), Some("somebody")] {
        let refused = begin(&env, &other, &its_objects, URL, take_over).await.unwrap_err();
        assert!(refused.message.contains(&owner), "{refused}");
    }
    assert_eq!(other.artifact_store().await.unwrap(), None);
    sweep(&other, &its_objects).await;
    assert!(is_there(&objects, &kept).await);
    begin(&env, &other, &its_objects, URL, Some(&owner)).await.unwrap();
    assert!(adopt(&env, &other, &its_objects).await.unwrap());
    for metadata in [before, other] {
        metadata.close().await;
    }
}

/// Whoever was started first on the new version became the owner, be it the copy on which that was tried: what the original, not started
/// since, had put after the backup was removed.
#[tokio::test(flavor = "multi_thread")]
async fn i1_a_restored_copy_does_not_become_the_owner_where_there_is_none() {
    let (env, memory) = (Env::real(), Arc::new(SimObjects::new()));
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (original, kept) = without_owner(&memory, here.path()).await;
    let copy = copied(here.path(), there.path()).await;
    copy.delete_artifacts("0/r/artifacts/a", 3).await.unwrap();
    let its_objects = owned(store(&memory, there.path()), &copy).await.unwrap();
    assert!(!adopt(&env, &copy, &its_objects).await.unwrap());
    sweep(&copy, &its_objects).await;
    let objects = store(&memory, here.path());
    assert!(is_there(&objects, &kept).await);
    let own = put(&copy, &its_objects, "0/r/artifacts/of-the-copy").await;
    assert!(is_there(&its_objects, &own).await && !is_there(&objects, &own).await, "it is a file");
    // The operator may say that the original is gone.
    let taken = take_over(&env, &copy, store(&memory, there.path()), "nobody").await.unwrap();
    assert!(adopt(&env, &copy, &taken).await.unwrap() && !adopt(&env, &original, &objects).await.unwrap());
    let again = take_over(&env, &original, store(&memory, here.path()), "nobody").await.unwrap();
    assert!(!adopt(&env, &original, &again).await.unwrap(), "there is an owner now");
    sweep(&copy, &taken).await;
    assert!(!is_there(&objects, &kept).await && is_there(&taken, &own).await);
    for metadata in [original, copy] {
        metadata.close().await;
    }
}

/// A store that was down for a minute at the first start of this version had all artifacts go to the data directory until the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_down_at_the_start_gets_its_owner_once_it_answers() {
    let (env, memory, dir) = (Env::real(), Arc::new(SimObjects::new()), tempfile::tempdir().unwrap());
    let (metadata, _) = without_owner(&memory, dir.path()).await;
    let (objects, tries) = (store(&memory, dir.path()), AtomicU32::new(0));
    memory.go_down(true);
    let parts = || {
        if tries.fetch_add(1, Ordering::SeqCst) == 3 {
            memory.go_down(false);
        }
        Some((env.clone(), metadata.clone(), objects.clone()))
    };
    assert!(adopt_at_last(parts, Duration::ZERO).await);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    let asked = objects.clone();
    assert!(blocking(move || asked.owns()).await.unwrap());
    let blob = put(&metadata, &objects, "0/r/artifacts/b").await;
    let name = blob.id.to_string();
    assert!(!dir.path().join("artifacts").join(&name[..2]).join(&name).exists(), "it is no file");
    assert!(is_there(&objects, &blob).await);

    memory.go_down(true);
    assert!(!adopt_at_last(|| None, Duration::ZERO).await, "the application is gone");
    metadata.close().await;
}
