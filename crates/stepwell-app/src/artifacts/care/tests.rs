//! What a repair does about blobs.

use std::{path::Path, sync::Arc};

use stepwell_blobs::{BlobId, BlobStore};
use stepwell_env::{Env, RealDisk};
use stepwell_metadata::{Artifact, BlobRow, Metadata, mark_rows_lost, rows_were_lost};
use stepwell_objects::{Objects, SimObjects};
use tokio::runtime::Handle;

use super::{check_in, repair, repair_in};

/// Rows that name blobs, of which nothing is in the data directory.
async fn named(data_dir: &Path) -> Metadata {
    let metadata = Metadata::open(&data_dir.join("metadata.sqlite")).await.unwrap();
    for (path, digit) in [("0/r/artifacts/a", "a"), ("0/r/artifacts/b", "b")] {
        let blob = BlobRow { sha256: digit.repeat(64), bytes: 3, checksums: vec![0; 4] };
        metadata.put_artifact(&Artifact { path: path.into(), blob, written_at_us: 1 }, None).await.unwrap();
    }
    metadata
}

/// The row that names the object store was lost with others, and every artifact was taken for one without bytes.
#[tokio::test]
async fn i11_where_rows_were_lost_nothing_is_unnamed_before_it_is_known_where_blobs_are() {
    let dir = tempfile::tempdir().unwrap();
    let (metadata, quarantine) = (named(dir.path()).await, dir.path().join("quarantine"));
    let done = repair(&Env::real(), dir.path(), &metadata, &quarantine, true, false).await.unwrap();
    assert_eq!(metadata.artifact_totals().await.unwrap().artifacts, 2);
    assert!(done.lines.len() == 2 && done.lines.iter().all(|line| line.contains("kept for now")), "{:?}", done.lines);
    let done = repair(&Env::real(), dir.path(), &metadata, &quarantine, false, false).await.unwrap();
    assert_eq!(metadata.artifact_totals().await.unwrap().artifacts, 0);
    assert!(done.lines.iter().all(|line| line.contains("lost: ")), "{:?}", done.lines);
    metadata.close().await;
}

/// A blob in an object store, and the row that names it.
async fn stored(data_dir: &Path, store: &BlobStore, content: &'static [u8]) -> (Metadata, BlobId) {
    let metadata = Metadata::open(&data_dir.join("metadata.sqlite")).await.unwrap();
    let writing = store.clone();
    let written = tokio::task::spawn_blocking(move || {
        writing.prepare()?;
        writing.own("this", None)?;
        let mut writer = writing.create()?;
        writer.write(content)?;
        writer.finish()?.publish()
    });
    let blob = written.await.unwrap().unwrap();
    let row = BlobRow { sha256: blob.id.to_string(), bytes: blob.bytes, checksums: blob.checksums() };
    metadata
        .put_artifact(&Artifact { path: "0/r/artifacts/a".into(), blob: row, written_at_us: 1 }, None)
        .await
        .unwrap();
    (metadata, blob.id)
}

/// Each repair while a store refused to read took an artifact for good.
#[tokio::test(flavor = "multi_thread")]
async fn i11_a_refusal_of_the_object_store_is_no_damage_and_ends_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(SimObjects::new());
    let objects = Objects::over(memory.clone(), "x", "s3://team/x", Handle::current());
    let store = BlobStore::over_objects(Arc::new(RealDisk), dir.path(), objects);
    let (metadata, id) = stored(dir.path(), &store, b"archived").await;
    let quarantine = dir.path().join("quarantine");
    memory.refuse_reads(true);
    assert!(check_in(&store, &metadata).await.is_err());
    assert!(repair_in(&store, &metadata, &quarantine, false, 2, false).await.is_err());
    assert_eq!(metadata.artifact_totals().await.unwrap().artifacts, 1);
    memory.refuse_reads(false);
    assert_eq!(check_in(&store, &metadata).await.unwrap().damages, []);
    let removing = store.clone();
    tokio::task::spawn_blocking(move || removing.remove(id)).await.unwrap().unwrap();
    // Of another store, which an endpoint that is not set leads to, nothing follows.
    let elsewhere = Objects::over(Arc::new(SimObjects::new()), "x", "s3://team/x", Handle::current());
    let elsewhere = BlobStore::over_objects(Arc::new(RealDisk), dir.path(), elsewhere).with_owner("this".to_owned());
    let done = repair_in(&elsewhere, &metadata, &quarantine, false, 3, false).await.unwrap();
    assert!(done.lines.len() == 1 && done.lines[0].contains("kept for now"), "{:?}", done.lines);
    // What is gone for certain is unnamed.
    let done = repair_in(&store, &metadata, &quarantine, false, 3, false).await.unwrap();
    assert!(done.lines.len() == 1 && done.lines[0].contains("it is missing"), "{:?}", done.lines);
    assert_eq!(metadata.artifact_totals().await.unwrap().artifacts, 0);
    metadata.close().await;
}

/// A repair whose endpoint was not set saw no object, and the next start, whose was, removed those of lost rows.
#[tokio::test(flavor = "multi_thread")]
async fn i11_lost_rows_stay_known_until_a_repair_has_seen_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (path, quarantine) = (dir.path().join("metadata.sqlite"), dir.path().join("quarantine"));
    let metadata = Metadata::open(&path).await.unwrap();
    // Which does not name its owner.
    metadata.set_artifact_store("s3://team/x", 1).await.unwrap();
    mark_rows_lost(&path).unwrap();
    let done = repair(&Env::real(), dir.path(), &metadata, &quarantine, false, false).await.unwrap();
    assert!(done.lines.len() == 1 && done.lines[0].contains("not looked for"), "{:?}", done.lines);
    assert!(rows_were_lost(&path).unwrap());
    metadata.close().await;
}
