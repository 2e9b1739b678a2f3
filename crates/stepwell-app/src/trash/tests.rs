//! The trash, whatever those do who change it: they go away, and come two at once.

use std::{future::poll_fn, path::Path, pin::Pin, task::Poll};

use stepwell_env::Env;
use stepwell_types::{Batch, SeriesKey};

use crate::{App, AppConfig, AppError, CreateRun, ErrorCode, Queued};

mod slow;

pub(crate) async fn open(dir: &Path) -> App {
    App::open(Env::real(), AppConfig::new(dir)).await.unwrap()
}

/// Makes runs of project 1.
pub(crate) async fn create(app: &App, runs: &[&str]) {
    for run in runs {
        let run_id = Some((*run).to_owned());
        app.create_run(CreateRun { project: "p".into(), run_id, ..CreateRun::default() }).await.unwrap();
    }
}

/// A point of each run.
pub(crate) fn batch(runs: &[&str], step: i64) -> Batch {
    let series = runs.iter().map(|run| SeriesKey::new("", "loss", *run)).collect();
    let some = vec![step; runs.len()];
    Batch::new(series, (0..runs.len() as u32).collect(), some.clone(), some, vec![0.5; runs.len()]).unwrap()
}

/// Polls by hand until it is time, then leaves, as a client that goes away has its request do.
pub(crate) async fn abandon<T>(work: impl Future<Output = T>, is_time: impl AsyncFn() -> bool) {
    let mut work = Box::pin(work);
    while is_pending(&mut work).await {
        if is_time().await {
            return;
        }
    }
}

/// Has it go on as far as it can.
async fn is_pending<T>(work: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await
}

fn is_shown(app: &App, run: &str) -> bool {
    app.parts.engine.snapshot().last_step("1", run).unwrap().is_some()
}

async fn is_in_trash(app: &App, run: &str) -> bool {
    app.trash().await.unwrap().runs.iter().any(|trashed| trashed.run_id == run)
}

/// Waits until the changes of the trash that began are over.
async fn settle(app: &App) {
    assert_eq!(code(app.restore_run("nobody").await), Some(ErrorCode::NotInTrash));
}

fn code<T>(result: Result<T, AppError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// The points of a run whose deletion was cut short stayed in every answer, and it went on taking batches; a retry heard that there is
/// no such run. Of a restore that was cut short they stayed hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_restore_whose_callers_go_away_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    app.ingest(batch(&["r"], 1), None).await.unwrap();
    let version = || app.parts.metadata.version();
    let before = version();
    abandon(app.delete_run("r"), async || version() > before).await;
    settle(&app).await;
    assert!(!is_shown(&app, "r"));
    assert_eq!(code(app.ingest(batch(&["r"], 2), None).await), Some(ErrorCode::RunNotFound));
    let before = version();
    abandon(app.restore_run("r"), async || version() > before).await;
    settle(&app).await;
    assert!(is_shown(&app, "r"));
    app.shutdown().await.unwrap();
}

/// Each read the list of the trash and then hid what it had read: who read first and hid last showed what the other had deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_hidden_is_what_is_in_the_trash_though_changes_come_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let runs = ["a", "b", "c", "d", "e", "f", "g", "h"];
    create(&app, &runs).await;
    app.ingest(batch(&runs, 1), None).await.unwrap();
    // Some go in while others come out.
    for run in &runs[..3] {
        app.delete_run(run).await.unwrap();
    }
    for round in 0..20 {
        let toggles = runs.map(|run| {
            let app = app.clone();
            tokio::spawn(async move {
                match is_in_trash(&app, run).await {
                    true => app.restore_run(run).await.map(drop),
                    false => app.delete_run(run).await,
                }
            })
        });
        for toggle in toggles {
            toggle.await.unwrap().unwrap();
        }
        for run in runs {
            assert_eq!(is_shown(&app, run), !is_in_trash(&app, run).await, "{run} in round {round}");
        }
    }
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_trash_waits_for_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let other = app.parts.trash.lock().await;
    let deleting = tokio::spawn({
        let app = app.clone();
        async move { app.delete_run("r").await }
    });
    // One that does not wait has the time to end.
    for _ in 0..100 {
        assert!(!is_in_trash(&app, "r").await);
    }
    drop(other);
    deleting.await.unwrap().unwrap();
    assert!(is_in_trash(&app, "r").await);
    app.shutdown().await.unwrap();
}

/// A run was restored, with an answer that said so, while its purge went on to delete its points and artifacts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_is_restored_or_purged_and_never_half_of_both() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    for round in 0..20 {
        let run = format!("r{round}");
        create(&app, &[&run]).await;
        app.ingest(batch(&[&run], 1), None).await.unwrap();
        app.delete_run(&run).await.unwrap();
        let purging = tokio::spawn({
            let (app, run) = (app.clone(), run.clone());
            async move { app.purge_run(&run).await }
        });
        let restored = app.restore_run(&run).await;
        let purged = purging.await.unwrap();
        assert_ne!(restored.is_ok(), purged.is_ok(), "{restored:?} {purged:?}");
        assert_eq!(is_shown(&app, &run), restored.is_ok());
    }
    app.shutdown().await.unwrap();
}

/// The points of a batch that came again were taken for those that had just been deleted: acknowledged, and not stored.
#[test]
fn i1_a_batch_sent_again_after_a_deletion_whose_caller_went_away_is_stored() {
    // One thread for what blocks, and that is held: the deletion waits for it, and who comes behind has waited for the deletion.
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let app = open(dir.path()).await;
        create(&app, &["r"]).await;
        let again = || app.ingest_unless_known(batch(&["r"], 1));
        assert!(again().await.unwrap().is_some() && again().await.unwrap().is_none());
        let (release, released) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || {
            let _ = released.recv();
        });
        abandon(app.delete_points("1", Some("loss"), None, None), async || true).await;
        assert!(is_shown(&app, "r"));
        drop(release);
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert!(!is_shown(&app, "r"));
        assert!(again().await.unwrap().is_some());
        assert!(is_shown(&app, "r"));
        app.shutdown().await.unwrap();
    });
}

/// A batch whose run was found before that went into the trash, and that was queued while it was purged, stayed as points of no run:
/// a later run of the same id had them.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_batches_that_found_the_run_and_deletes_them_too() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let turn = app.parts.queueing.turn();
    let found = app.resolve(batch(&["r"], 1)).await.unwrap();
    let queueing = app.parts.queueing.enter(turn).unwrap();
    app.delete_run("r").await.unwrap();
    let purging = tokio::spawn({
        let app = app.clone();
        async move { app.purge_run("r").await }
    });
    // One that does not wait has the time to end.
    for _ in 0..1_000 {
        if purging.is_finished() {
            break;
        }
        is_in_trash(&app, "r").await;
    }
    let (done, queued) = Queued::pair();
    app.parts.engine.ingest(found, None, done).unwrap();
    drop(queueing);
    queued.acknowledged().await.unwrap();
    purging.await.unwrap().unwrap();
    assert!(app.parts.queueing.enter(turn).is_none(), "who was not in the queue has to look the run up anew");
    create(&app, &["r"]).await;
    assert!(!is_shown(&app, "r"));
    app.ingest(batch(&["r"], 1), None).await.unwrap();
    assert!(is_shown(&app, "r"));
    app.shutdown().await.unwrap();
}
