//! The trash and batches where something else takes long.

use std::{ops::ControlFlow, sync::mpsc, time::Duration};

use stepwell_types::ProducerSequence;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::*;
use crate::traces::tests::trace;

/// As many as read metadata side by side.
const READERS: usize = 4;
/// For what is to wait for nothing that does not end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Searches of traces that hold all connections that read metadata.
struct Searches(Vec<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Searches {
    async fn begin(app: &App) -> Self {
        app.put_trace(trace("t", 1)).await.unwrap();
        let mut searches = Vec::new();
        for _ in 0..READERS {
            let (end, ended) = mpsc::channel();
            let (began, begun) = oneshot::channel();
            let (app, runtime, mut began) = (app.clone(), Handle::current(), Some(began));
            let search = spawn_blocking(move || {
                let searched = runtime.block_on(app.each_trace(1, |_| {
                    if let Some(began) = began.take() {
                        began.send(()).unwrap();
                    }
                    let _ = ended.recv();
                    Ok(ControlFlow::Break(()))
                }));
                searched.unwrap();
            });
            begun.await.unwrap();
            searches.push((end, search));
        }
        Self(searches)
    }

    async fn end(self) {
        for (end, search) in self.0 {
            drop(end);
            search.await.unwrap();
        }
    }
}

/// One look-up of a run that took long kept a purge waiting, and the purge all batches of all runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_takes_long_and_a_purge_stop_no_batch_of_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["slow", "known", "gone"]).await;
    app.ingest(batch(&["slow", "known", "gone"], 1), None).await.unwrap();
    app.delete_run("gone").await.unwrap();
    app.parts.known_runs.forget_run("slow");
    let searches = Searches::begin(&app).await;
    let mut slow = Box::pin(app.ingest(batch(&["slow"], 2), None));
    assert!(is_pending(&mut slow).await);
    timeout(PATIENCE, async {
        app.purge_points("1", Some("gone")).await.unwrap();
        let numbered = Some(ProducerSequence { producer: "p".into(), sequence: 1 });
        let refused = app.unless_applied(numbered, 1, AppError::run_not_found("nobody")).await;
        assert_eq!(code(refused), Some(ErrorCode::RunNotFound));
        app.ingest(batch(&["known"], 2), None).await.unwrap();
    })
    .await
    .expect("none of them needs the look-up");
    searches.end().await;
    // Looked up again, as turns ended meanwhile.
    slow.await.unwrap();
    app.shutdown().await.unwrap();
}

/// Also while one turn after the other ends, as where many runs are purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_look_ups_are_too_late_again_and_again_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let turning = tokio::spawn({
        let app = app.clone();
        async move {
            loop {
                app.parts.queueing.next_turn().await;
                tokio::task::yield_now().await;
            }
        }
    });
    for step in 0..20 {
        app.parts.known_runs.forget_run("r");
        timeout(PATIENCE, app.ingest(batch(&["r"], step), None)).await.unwrap().unwrap();
    }
    turning.abort();
    app.shutdown().await.unwrap();
}

/// The list of what is to be hidden was read after the commit: where that failed a deleted run was shown and a restored one was not, and a
/// retry heard that there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_trash_is_whole_though_nothing_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    app.ingest(batch(&["r"], 1), None).await.unwrap();
    let searches = Searches::begin(&app).await;
    timeout(PATIENCE, app.delete_run("r")).await.unwrap().unwrap();
    assert!(!is_shown(&app, "r"));
    timeout(PATIENCE, app.restore_run("r")).await.unwrap().unwrap();
    assert!(is_shown(&app, "r"));
    timeout(PATIENCE, app.delete_project_by_id("1")).await.unwrap().unwrap();
    timeout(PATIENCE, app.restore_project_by_id("1", true)).await.unwrap().unwrap();
    searches.end().await;
    app.shutdown().await.unwrap();
}

/// Blobs were removed, in an object store one request after the other, while nobody else could change the trash.
#[tokio::test(flavor = "multi_thread")]
async fn the_trash_is_changed_while_a_purge_removes_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r", "other"]).await;
    let mut upload = app.begin_artifact(None).await.unwrap();
    upload.write(b"weights").await.unwrap();
    app.put_artifact(&app.artifact_of_run("r", "x").await.unwrap(), upload).await.unwrap();
    app.delete_run("r").await.unwrap();
    // No blob is removed while another is published.
    let publishing = app.parts.artifacts.publishing.read().await;
    let before = app.parts.metadata.version();
    let purging = tokio::spawn({
        let app = app.clone();
        async move { app.purge_run("r").await }
    });
    while app.parts.metadata.version() == before && !purging.is_finished() {
        tokio::task::yield_now().await;
    }
    timeout(PATIENCE, app.delete_run("other")).await.unwrap().unwrap();
    assert!(!purging.is_finished());
    drop(publishing);
    purging.await.unwrap().unwrap();
    assert_eq!(app.parts.metadata.artifacts_in("").await.unwrap(), []);
    app.shutdown().await.unwrap();
}
