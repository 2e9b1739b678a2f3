//! Projects by id, their tags and names, and runs of theirs in the trash.

use super::*;
use crate::{NewProject, Project};

async fn opened() -> (tempfile::TempDir, Metadata) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    (dir, metadata)
}

fn tags(tags: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), value.map(ToOwned::to_owned))).collect()
}

#[tokio::test]
async fn a_project_is_found_by_id_with_its_tags_also_in_the_trash() {
    let (_dir, metadata) = opened().await;
    let new = NewProject {
        name: "p".into(),
        artifact_location: Some("s3://b".into()),
        tags: BTreeMap::from([("a\"b".into(), "ü\n".into())]),
    };
    let made = metadata.create_project(new.clone(), 5).await.unwrap();
    assert_eq!((&made.tags, &made.artifact_location, made.updated_at_us), (&new.tags, &new.artifact_location, 5));
    let id = made.project_id.as_str();
    let tagged = metadata.tag_project(id, tags(&[("a\"b", None), ("c", Some("1"))]), 6).await.unwrap();
    assert_eq!(tagged.tags, BTreeMap::from([("c".to_owned(), "1".to_owned())]));
    let renamed = metadata.rename_project(id, "q", 7).await.unwrap();
    assert_eq!(renamed, Project { name: "q".into(), updated_at_us: 7, ..tagged });
    metadata.create_project("p", 8).await.unwrap();
    assert!(matches!(metadata.rename_project(id, "p", 9).await, Err(MetadataError::ProjectExists { .. })));
    assert_eq!(metadata.rename_project(id, "q", 9).await.unwrap().name, "q", "its own name is free");
    metadata.trash_project(id, 10).await.unwrap();
    let trashed = metadata.project_by_id(id).await.unwrap().unwrap();
    assert_eq!((trashed.deleted_at_us, trashed.updated_at_us), (Some(10), 10));
    assert_eq!(
        (metadata.find_project("q").await.unwrap(), metadata.project_by_name("q").await.unwrap()),
        (Some(trashed), None)
    );
    assert_eq!((metadata.all_projects().await.unwrap().len(), metadata.projects().await.unwrap().len()), (2, 1));
    assert!(matches!(metadata.create_project("q", 11).await, Err(MetadataError::InTrash { .. })));
    assert!(matches!(metadata.tag_project(id, tags(&[]), 11).await, Err(MetadataError::InTrash { .. })));
    assert!(matches!(metadata.rename_project("77", "r", 11).await, Err(MetadataError::ProjectNotFound { .. })));
    metadata.purge_project("q", id, 12).await.unwrap();
    assert_eq!(metadata.project_by_id(id).await.unwrap(), None);
}

#[tokio::test]
async fn the_first_project_is_0_whatever_has_its_name() {
    let (_dir, metadata) = opened().await;
    metadata.create_project("p", 0).await.unwrap();
    let first = metadata.ensure_first_project(1).await.unwrap();
    assert_eq!((first.project_id.as_str(), first.name.as_str()), ("0", "Default"));
    assert_eq!(metadata.ensure_first_project(2).await.unwrap(), first);
    assert_eq!(metadata.create_project("q", 3).await.unwrap().project_id, "2", "other ids go on");
    metadata.rename_project("0", "mine", 4).await.unwrap();
    assert_eq!(metadata.create_project("Default", 5).await.unwrap().project_id, "3");
    metadata.trash_project("0", 6).await.unwrap();
    assert_eq!(metadata.ensure_first_project(7).await.unwrap().deleted_at_us, Some(6), "it is not made anew");
    metadata.purge_project("mine", "0", 8).await.unwrap();
    assert_eq!(metadata.ensure_first_project(9).await.unwrap().name, "Default (0)");
}

#[tokio::test]
async fn runs_are_found_in_the_trash_and_come_back_with_their_project() {
    let (_dir, metadata) = opened().await;
    let project = metadata.create_project("p", 0).await.unwrap();
    let id = project.project_id.as_str();
    for run in ["a", "b"] {
        metadata.create_run(new_run(run, id), 1).await.unwrap();
    }
    metadata.trash_run("a", 2).await.unwrap();
    metadata.trash_project(id, 3).await.unwrap();
    let deleted = |run: &'static str| {
        let metadata = metadata.clone();
        async move { metadata.find_run(run).await.unwrap().unwrap().deleted_at_us }
    };
    assert_eq!((deleted("a").await, deleted("b").await), (Some(2), Some(3)));
    assert_eq!(metadata.run("b").await.unwrap(), None);
    let all = metadata.all_runs_of_project(id).await.unwrap();
    assert_eq!(all.iter().map(|run| run.params.len()).collect::<Vec<_>>(), [6, 6]);
    metadata.restore_project(id, false, 4).await.unwrap();
    assert_eq!((deleted("a").await, deleted("b").await), (Some(2), None));
    metadata.trash_project(id, 5).await.unwrap();
    assert_eq!(metadata.restore_project(id, true, 6).await.unwrap().done.updated_at_us, 6);
    assert_eq!((deleted("a").await, deleted("b").await), (None, None));
    assert!(matches!(metadata.restore_project(id, true, 7).await, Err(MetadataError::NotInTrash { .. })));
}

#[tokio::test]
async fn a_run_may_be_scheduled_and_its_end_kept() {
    let (_dir, metadata) = opened().await;
    let project = metadata.create_project("p", 0).await.unwrap();
    metadata.create_run(new_run("a", &project.project_id), 1).await.unwrap();
    let update = |patch: RunPatch| {
        let metadata = metadata.clone();
        async move { metadata.update_run("a", patch, 9).await.unwrap() }
    };
    let status = |status| RunPatch { status: Some(status), ..RunPatch::default() };
    assert_eq!(update(status(RunStatus::Scheduled)).await.status, RunStatus::Scheduled);
    assert_eq!(metadata.run("a").await.unwrap().unwrap().status, RunStatus::Scheduled);
    assert_eq!(update(RunPatch::default()).await.status, RunStatus::Scheduled);
    let ended = update(RunPatch { keeps_end: true, ..status(RunStatus::Finished) }).await;
    assert_eq!((ended.status, ended.ended_at_us), (RunStatus::Finished, None));
    assert_eq!(update(status(RunStatus::Failed)).await.ended_at_us, Some(9));
    assert_eq!(update(RunPatch { keeps_end: true, ..status(RunStatus::Running) }).await.ended_at_us, Some(9));
    assert_eq!(update(status(RunStatus::Running)).await.ended_at_us, None);
    let exact = |value| RunPatch {
        params: BTreeMap::from([("layers".to_owned(), value)]),
        params_are_exact: true,
        ..RunPatch::default()
    };
    update(exact(ParamValue::Int(18))).await;
    let other = metadata.update_run("a", exact(ParamValue::Float(18.0)), 9).await;
    assert!(matches!(other, Err(MetadataError::ParamConflict { .. })));
}
