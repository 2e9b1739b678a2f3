//! What a repair does about blobs.

use std::path::Path;

use stepwell_env::Env;
use stepwell_metadata::{Artifact, BlobRow, Metadata};

use super::repair;

/// Rows that name blobs, of which nothing is in the data directory.
async fn named(data_dir: &Path) -> Metadata {
    let metadata = Metadata::open(&data_dir.join("metadata.sqlite")).await.unwrap();
    for (path, digit) in [("0/r/artifacts/a", "a"), ("0/r/artifacts/b", "b")] {
        let blob = BlobRow { sha256: digit.repeat(64), bytes: 3, checksums: vec![0; 4] };
        metadata.put_artifact(&Artifact { path: path.into(), blob, written_at_us: 1 }).await.unwrap();
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
