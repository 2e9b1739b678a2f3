//! What a purge takes along, and what it looks at.

use sqlx::Row;

use super::*;
use crate::{
    Artifact, ArtifactOwner, BlobRow,
    trash::{PURGE_OF_RUN, TRASHED_RUNS},
};

async fn opened() -> (tempfile::TempDir, Metadata, String) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    let project = metadata.create_project("p", 0).await.unwrap();
    metadata.create_run(new_run("r", &project.project_id), 1).await.unwrap();
    (dir, metadata, project.project_id)
}

pub(super) fn artifact(path: &str, digit: char) -> Artifact {
    let blob = BlobRow { sha256: digit.to_string().repeat(64), bytes: 1, checksums: vec![0; 4] };
    Artifact { path: path.into(), blob, written_at_us: 1 }
}

/// Each run that was purged took as long as there were runs, five milliseconds at 20,000, in which nothing else could be changed:
/// other runs may name it, and so all were looked through, the foreign keys of its row included.
#[tokio::test]
async fn a_purge_looks_through_no_table() {
    let (_dir, metadata, _) = opened().await;
    for statement in PURGE_OF_RUN {
        let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let steps = sqlx::query(explained).bind("r").fetch_all(&metadata.writer).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        assert!(!steps.is_empty() && !steps.iter().any(|step| step.contains("SCAN")), "{statement}: {steps:?}");
    }
}

/// What is in the trash is read within each change of it, in which nothing else can be changed.
#[tokio::test]
async fn a_change_of_the_trash_looks_through_what_is_in_it_only() {
    let (_dir, metadata, _) = opened().await;
    let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {TRASHED_RUNS}"));
    let steps = sqlx::query(explained).fetch_all(&metadata.writer).await.unwrap();
    let steps: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
    assert!(steps[0].contains("runs_in_trash") && !steps.iter().any(|step| step.contains("SCAN")), "{steps:?}");
}

/// Who hides runs must not ask again once the change is committed.
#[tokio::test]
async fn each_change_of_the_trash_says_what_is_in_it_then() {
    let (_dir, metadata, project_id) = opened().await;
    metadata.create_run(new_run("s", &project_id), 1).await.unwrap();
    let runs = |trashed: Vec<crate::TrashedRun>| trashed.into_iter().map(|run| run.run_id).collect::<Vec<_>>();
    assert_eq!(runs(metadata.trash_run("r", 2).await.unwrap().trashed), ["r"]);
    assert_eq!(runs(metadata.trash_run("s", 3).await.unwrap().trashed), ["s", "r"]);
    assert_eq!(runs(metadata.restore_run("s", 4).await.unwrap().trashed), ["r"]);
    assert_eq!(runs(metadata.purge_run("r", "1/r/artifacts", 5).await.unwrap().trashed), Vec::<String>::new());
    metadata.trash_run("s", 6).await.unwrap();
    assert_eq!(runs(metadata.trash_project(&project_id, 7).await.unwrap().trashed), ["s"]);
    assert_eq!(runs(metadata.restore_project(&project_id, true, 8).await.unwrap().trashed), Vec::<String>::new());
}

/// The rows of the artifacts went in a transaction of their own: what was uploaded between the two belonged to nobody.
#[tokio::test]
async fn artifacts_go_in_the_transaction_of_their_run_and_come_no_more() {
    let (_dir, metadata, project_id) = opened().await;
    let owner = ArtifactOwner::Run { project_id: project_id.clone(), run_id: "r".into() };
    let elsewhere = ArtifactOwner::Run { project_id: "77".into(), run_id: "r".into() };
    metadata.put_artifact(&artifact("1/r/artifacts/x", 'a'), Some(&owner)).await.unwrap();
    metadata.put_artifact(&artifact("1/s/artifacts/x", 'b'), None).await.unwrap();
    assert!(metadata.has_artifact_owner(&owner).await.unwrap());
    assert!(!metadata.has_artifact_owner(&elsewhere).await.unwrap());
    let early = metadata.purge_run("r", "1/r/artifacts", 2).await;
    assert!(matches!(early, Err(MetadataError::NotInTrash { .. })), "{early:?}");
    assert!(metadata.artifact("1/r/artifacts/x").await.unwrap().is_some());
    metadata.trash_run("r", 3).await.unwrap();
    let hashes = metadata.purge_run("r", "1/r/artifacts", 4).await.unwrap().done;
    assert_eq!(hashes.into_iter().collect::<Vec<_>>(), ["a".repeat(64)]);
    let late = metadata.put_artifact(&artifact("1/r/artifacts/x", 'a'), Some(&owner)).await;
    assert!(matches!(late, Err(MetadataError::RunNotFound { .. })), "{late:?}");
    let owner = ArtifactOwner::Project { project_id: project_id.clone() };
    assert!(metadata.has_artifact_owner(&owner).await.unwrap());
    metadata.trash_project(&project_id, 5).await.unwrap();
    assert_eq!(metadata.purge_project("p", &project_id, 6).await.unwrap().done.len(), 1);
    let late = metadata.put_artifact(&artifact("1/s/artifacts/x", 'b'), Some(&owner)).await;
    assert!(matches!(late, Err(MetadataError::ProjectNotFound { .. })), "{late:?}");
    assert_eq!(metadata.artifacts_in("").await.unwrap(), []);
}
