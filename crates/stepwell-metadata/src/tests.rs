//! Metadata against a file.

use std::collections::BTreeMap;

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{
    ForkPoint, Metadata, MetadataCopy, MetadataError, NewRun, ParamValue, RunPatch, RunStatus, check_copy,
    disown_artifacts,
};

mod cut;
mod lineage;
mod projects;
mod purges;
mod registry;
mod repair;
mod rot;
mod salvage;
mod traces;
mod version;

fn new_run(run_id: &str, project_id: &str) -> NewRun {
    let params = [
        ("lr", ParamValue::Float(0.1)),
        ("layers", ParamValue::Int(18)),
        ("bn", ParamValue::Bool(true)),
        ("opt", ParamValue::String("1.0".into())),
        ("aug", ParamValue::Json(serde_json::json!({"flip": [1, 2]}))),
        ("zero", ParamValue::Float(-0.0)),
    ];
    NewRun {
        run_id: run_id.into(),
        project_id: project_id.into(),
        params: params.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        tags: BTreeMap::from([("team".into(), "vision".into())]),
        ..NewRun::default()
    }
}

#[tokio::test]
async fn runs_are_read_back_as_written_also_by_a_second_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    assert_eq!(metadata.ensure_project("p", 6).await.unwrap(), project);
    assert!(matches!(metadata.create_project("p", 7).await, Err(MetadataError::ProjectExists { .. })));
    let before = metadata.version();
    let made = metadata.create_run(new_run("a", &project.project_id), 10).await.unwrap();
    assert!(metadata.version() > before);
    assert_eq!((made.started_at_us, made.status), (10, RunStatus::Running));
    assert_eq!(made.params, new_run("a", "").params);
    let fork = NewRun {
        forked_from: Some(ForkPoint { run_id: "a".into(), step: 3 }),
        parent_run_id: Some("a".into()),
        ..new_run("b", &project.project_id)
    };
    let fork = metadata.create_run(fork, 11).await.unwrap();
    let reader = Metadata::open_read_only(&path).await.unwrap();
    assert_eq!(reader.runs_of_project(&project.project_id).await.unwrap(), [made.clone(), fork]);
    let origins = reader.run_origins(&["b".into(), "a".into(), "\"nobody'".into()]).await.unwrap();
    let forked_from = origins.values().map(|origin| origin.forked_from.as_ref().map(|from| from.step));
    assert_eq!((origins["a"].project_id.as_str(), origins.len()), (project.project_id.as_str(), 2));
    assert_eq!(forked_from.collect::<Vec<_>>(), [None, Some(3)]);
    assert_eq!(reader.project_id_of_run("a").await.unwrap(), Some(project.project_id.clone()));
    assert!(matches!(
        metadata.create_run(new_run("a", &project.project_id), 12).await,
        Err(MetadataError::RunExists { .. })
    ));
    let lost = NewRun { parent_run_id: Some("nobody".into()), ..new_run("c", &project.project_id) };
    assert!(matches!(metadata.create_run(lost, 12).await, Err(MetadataError::RelatedRunNotFound { .. })));
    assert_eq!(metadata.run("c").await.unwrap(), None, "a refused run leaves nothing");
}

#[tokio::test]
async fn params_are_set_once_and_a_refused_update_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    let project = metadata.create_project("p", 0).await.unwrap();
    metadata.create_run(new_run("a", &project.project_id), 1).await.unwrap();
    let params = |key: &str, value| BTreeMap::from([(key.to_owned(), value)]);
    let same = RunPatch { params: params("layers", ParamValue::Float(18.0)), ..RunPatch::default() };
    assert_eq!(metadata.update_run("a", same, 2).await.unwrap().params["layers"], ParamValue::Int(18));
    let other =
        RunPatch { params: params("lr", ParamValue::Float(0.2)), name: Some("new".into()), ..RunPatch::default() };
    assert!(matches!(metadata.update_run("a", other, 3).await, Err(MetadataError::ParamConflict { .. })));
    assert_eq!(metadata.run("a").await.unwrap().unwrap().name, None);
    let tags = BTreeMap::from([("team".to_owned(), None), ("best".to_owned(), Some("yes".to_owned()))]);
    let end = RunPatch { status: Some(RunStatus::Finished), tags, ..RunPatch::default() };
    let ended = metadata.update_run("a", end, 4).await.unwrap();
    assert_eq!((ended.status, ended.ended_at_us), (RunStatus::Finished, Some(4)));
    assert_eq!(ended.tags, BTreeMap::from([("best".to_owned(), "yes".to_owned())]));
    assert!(matches!(metadata.update_run("x", RunPatch::default(), 5).await, Err(MetadataError::RunNotFound { .. })));
}

#[tokio::test]
async fn a_copy_is_of_the_moment_that_was_pinned_whatever_is_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    // A name that would mean something else in a URI.
    let (source, copy) = (dir.path().join("m?a#b%41.sqlite"), dir.path().join("copy"));
    let metadata = Metadata::open(&source).await.unwrap();
    let project = metadata.create_project("p", 0).await.unwrap();
    metadata.create_run(new_run("a", &project.project_id), 1).await.unwrap();
    let gone = metadata.create_project("gone", 2).await.unwrap();
    metadata.trash_project(&gone.project_id, 3).await.unwrap();
    metadata.purge_project("gone", &gone.project_id, 4).await.unwrap();
    let mut copying = MetadataCopy::open(&source, &copy).await.unwrap();
    copying.pin().await.unwrap();
    metadata.create_run(new_run("b", &project.project_id), 5).await.unwrap();
    copying.pin().await.unwrap();
    metadata.create_run(new_run("c", &project.project_id), 6).await.unwrap();
    metadata.trash_run("a", 7).await.unwrap();
    copying.finish().await.unwrap();
    check_copy(&copy).await.unwrap();

    let copied = Metadata::open(&copy).await.unwrap();
    let runs = copied.runs_of_project(&project.project_id).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(runs[0].params, new_run("a", "").params);
    let next = copied.create_project("next", 8).await.unwrap();
    assert!(next.project_id > gone.project_id, "an id is never given again, also not one that is gone");
    copied.close().await;

    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(&copy, bytes).unwrap();
    assert!(check_copy(&copy).await.is_err());
}

/// A copy from before there were owners could not be told from its original, and became the owner of its objects.
#[tokio::test]
async fn i1_a_copy_says_that_it_owns_no_object_store_also_one_from_before_there_were_owners() {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source.sqlite"), dir.path().join("copy.sqlite"));
    let metadata = Metadata::open(&source).await.unwrap();
    metadata.set_artifact_store("s3://team/x", 1).await.unwrap();
    assert!(!metadata.disowns_artifacts().await.unwrap());
    metadata.set_artifact_owner("this", Some("directory"), 2).await.unwrap();
    let mut copying = MetadataCopy::open(&source, &copy).await.unwrap();
    copying.pin().await.unwrap();
    copying.finish().await.unwrap();
    assert_eq!(metadata.artifact_owner().await.unwrap().as_deref(), Some("this"));
    metadata.close().await;
    let said = async || {
        let copy = Metadata::open_read_only(&copy).await.unwrap();
        let said = (copy.disowns_artifacts().await.unwrap(), copy.artifact_store().await.unwrap());
        assert_eq!(copy.artifact_owner().await.unwrap(), None);
        copy.close().await;
        said
    };
    let disowned = (true, Some("s3://team/x".to_owned()));
    assert_eq!(said().await, disowned);
    let file = std::fs::read(&copy).unwrap();
    disown_artifacts(&copy, 3).await.unwrap();
    assert!(std::fs::read(&copy).unwrap() == file, "it says so already");
    // As an earlier version wrote it.
    let mut connection = SqliteConnectOptions::new().filename(&copy).connect().await.unwrap();
    for undone in ["ALTER TABLE artifact_store DROP COLUMN owner", "DELETE FROM _sqlx_migrations WHERE version = 8"] {
        sqlx::query(undone).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    assert_eq!(said().await, (false, disowned.1.clone()));
    disown_artifacts(&copy, 4).await.unwrap();
    assert_eq!(said().await, disowned);
}

/// A full disk was answered as an internal error, which nobody tries again.
#[tokio::test]
async fn i8_a_full_disk_is_told_as_such_and_room_is_enough_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("metadata.sqlite")).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    let pages = |most: &'static str| sqlx::query(most).execute(&metadata.writer);
    // No more than there are.
    pages("PRAGMA max_page_count = 1").await.unwrap();
    let mut made = 0;
    let error = loop {
        match metadata.create_run(new_run(&format!("r{made}"), &project.project_id), 6).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 10_000);
    };
    assert!(matches!(error, MetadataError::DiskFull { .. }), "{error}");
    pages("PRAGMA max_page_count = 1000000").await.unwrap();
    metadata.create_run(new_run(&format!("r{made}"), &project.project_id), 7).await.unwrap();
}

/// Has the commits of the connection that is open fail, as on a disk that is full or broken.
async fn refuse_commits(metadata: &Metadata) {
    let mut connection = metadata.writer.acquire().await.unwrap();
    connection.lock_handle().await.unwrap().set_commit_hook(|| false);
}

/// After two commits that failed, all later changes ended in success, and nobody else saw them: they were lost with the connection.
#[tokio::test]
async fn commits_that_failed_take_no_later_change_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    for _ in 0..3 {
        refuse_commits(&metadata).await;
        let refused = metadata.create_project("p", 1).await;
        assert!(matches!(refused, Err(MetadataError::Database(_))), "{refused:?}");
        assert_eq!(metadata.project_by_name("p").await.unwrap(), None);
    }
    // What the driver gives anew refuses nothing; one that it gives again does not either.
    metadata.writer.acquire().await.unwrap().lock_handle().await.unwrap().remove_commit_hook();
    let made = metadata.create_project("p", 1).await.unwrap();
    let other = Metadata::open(&path).await.unwrap();
    assert_eq!(other.project_by_name("p").await.unwrap(), Some(made));
}

/// A change that could not be made durable is known until one could, without anybody changing anything.
#[tokio::test]
async fn a_store_that_cannot_be_read_or_written_says_so_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    metadata.probe().await.unwrap();
    refuse_commits(&metadata).await;
    assert!(matches!(metadata.create_project("p", 1).await, Err(MetadataError::Database(_))));
    for _ in 0..2 {
        refuse_commits(&metadata).await;
        let refused = metadata.probe().await;
        assert!(matches!(refused, Err(MetadataError::Database(_))), "{refused:?}");
    }
    metadata.probe().await.unwrap();
    metadata.create_project("p", 1).await.unwrap();

    let other = Metadata::open(&path).await.unwrap();
    sqlx::query("ALTER TABLE runs RENAME TO elsewhere").execute(&other.writer).await.unwrap();
    assert!(metadata.probe().await.is_err());
    sqlx::query("ALTER TABLE elsewhere RENAME TO runs").execute(&other.writer).await.unwrap();
    metadata.probe().await.unwrap();
}
