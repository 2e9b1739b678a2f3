//! What goes with a run or a trace, and what only seems to be its own.

use super::*;
use crate::{
    TraceSelection,
    artifacts::ArtifactPlace,
    run_directory, trace_directory,
    traces::tests::trace,
    trash::tests::{abandon, create},
};

/// The purge of a run called `traces` took the spans of all traces of its project, one called `models` the files of its models.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_nothing_of_traces_and_models_whatever_the_run_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["traces", "models"]).await;
    let mut kept = vec!["1/models/m-1/artifacts/MLmodel".to_owned()];
    for trace_id in ["t", "artifacts"] {
        app.put_trace(trace(trace_id, 1)).await.unwrap();
        kept.push(format!("{}/traces.json", trace_directory("1", trace_id)));
    }
    for path in &kept {
        put(&app, path, path.as_bytes()).await.unwrap();
    }
    for run in ["traces", "models"] {
        let own = format!("{}/own", run_directory("1", run));
        put(&app, &own, run.as_bytes()).await.unwrap();
        app.delete_run(run).await.unwrap();
        app.purge_run(run).await.unwrap();
        assert_eq!(code(get(&app, &own).await), Some(ErrorCode::ArtifactNotFound));
    }
    for path in &kept {
        assert_eq!(get(&app, path).await.unwrap(), path.as_bytes());
    }
    app.shutdown().await.unwrap();
}

/// An upload that began before the purge ended as an artifact of nobody, which a later run of the same id showed.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_after_its_owner_was_purged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r", "other"]).await;
    app.put_trace(trace("t", 1)).await.unwrap();
    let begin = async |place: ArtifactPlace| {
        let mut upload = app.begin_artifact(None).await.unwrap();
        upload.write(b"late").await.unwrap();
        (place, upload)
    };
    let of_run = begin(app.artifact_of_run("r", "x").await.unwrap()).await;
    let by_path = begin(app.artifact_place("1/r/artifacts/y").await.unwrap()).await;
    let of_trace = format!("{}/traces.json", trace_directory("1", "t"));
    let of_trace = begin(app.artifact_place(&of_trace).await.unwrap()).await;
    let of_project = begin(app.artifact_place("1/models/m-1/artifacts/MLmodel").await.unwrap()).await;
    let upload_id = app.begin_parts(app.artifact_place("1/r/artifacts/z").await.unwrap(), 1).unwrap();
    let (_, part) = begin(app.artifact_place("any").await.unwrap()).await;
    let sha256 = app.put_part(&upload_id, 1, part).await.unwrap();
    let of_nobody = begin(app.artifact_place("1/late/artifacts/x").await.unwrap()).await;

    app.delete_run("r").await.unwrap();
    app.purge_run("r").await.unwrap();
    app.delete_traces("1", &TraceSelection { trace_ids: vec!["t".into()], ..Default::default() }).await.unwrap();
    for ((place, upload), expected) in
        [(of_run, ErrorCode::RunNotFound), (by_path, ErrorCode::RunNotFound), (of_trace, ErrorCode::TraceNotFound)]
    {
        assert_eq!(code(app.put_artifact(&place, upload).await), Some(expected), "{place:?}");
    }
    let receipts = [PartReceipt { number: 1, sha256 }];
    let completed = app.complete_parts(&upload_id, "1/r/artifacts/z", &receipts).await;
    assert_eq!(code(completed), Some(ErrorCode::RunNotFound));
    app.abort_parts(&upload_id);
    let (place, upload) = of_nobody;
    app.put_artifact(&place, upload).await.unwrap();
    app.delete_project("p").await.unwrap();
    app.purge_project("p").await.unwrap();
    let (place, upload) = of_project;
    assert_eq!(code(app.put_artifact(&place, upload).await), Some(ErrorCode::ProjectNotFound));
    assert_eq!(app.artifacts_in("").await.unwrap(), []);
    assert_eq!(blobs(dir.path()), Vec::<String>::new());
    app.shutdown().await.unwrap();
}

/// What is in the trash takes its uploads along, and gives them back.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_while_its_run_is_in_the_trash_is_there_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let place = app.artifact_of_run("r", "x").await.unwrap();
    let upload = app.begin_artifact(None).await.unwrap();
    app.delete_run("r").await.unwrap();
    assert_eq!(code(app.artifact_of_run("r", "y").await), Some(ErrorCode::RunNotFound));
    app.put_artifact(&place, upload).await.unwrap();
    app.restore_run("r").await.unwrap();
    assert_eq!(get(&app, "1/r/artifacts/x").await.unwrap(), b"");
    app.shutdown().await.unwrap();
}

/// The rows of the traces went first, and their spans one by one: those that were left when the caller went away nobody found again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_traces_whose_caller_goes_away_leaves_no_span() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let ids: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    for trace_id in &ids {
        app.put_trace(trace(trace_id, 1)).await.unwrap();
        put(&app, &format!("{}/traces.json", trace_directory("1", trace_id)), trace_id.as_bytes()).await.unwrap();
    }
    let selection = TraceSelection { started_by_us: Some(1), ..TraceSelection::default() };
    abandon(app.delete_traces("1", &selection), async || app.get_trace("t0").await.is_err()).await;
    assert_eq!(app.artifacts_in("1/traces").await.unwrap(), []);
    settled(dir.path(), 0).await;
    app.shutdown().await.unwrap();
}
