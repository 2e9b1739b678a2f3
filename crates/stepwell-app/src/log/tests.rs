use stepwell_types::{PointFilter, ProducerSequence, SeriesKey};

use crate::{
    LogRow,
    trash::tests::{create, open},
};

/// The steps that a duplicate would have had counted as given: the next row left a gap.
#[tokio::test(flavor = "multi_thread")]
async fn i3_a_row_sent_again_leaves_no_gap_in_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    for (sequence, is_duplicate) in [(1, false), (1, true), (2, false)] {
        let row = LogRow { metrics: vec![("loss".into(), 0.5)], ..LogRow::default() };
        let producer = ProducerSequence { producer: "p".into(), sequence };
        assert_eq!(app.log("r", vec![row], Some(producer)).await.unwrap().duplicate, is_duplicate);
    }
    let logged =
        app.parts.engine.snapshot().series(&SeriesKey::new("1", "loss", "r"), &PointFilter::default()).unwrap();
    assert_eq!(logged.step, [0, 1]);
    app.shutdown().await.unwrap();
}

/// It went on with the steps of the run that had its id before.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_made_anew_after_a_purge_begins_with_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let log = async |run: &str| {
        let row = LogRow { metrics: vec![("loss".into(), 0.5)], ..LogRow::default() };
        app.log(run, vec![row], None).await.unwrap();
    };
    let steps = |run: &str| {
        let key = SeriesKey::new("1", "loss", run);
        app.parts.engine.snapshot().series(&key, &PointFilter::default()).unwrap().step
    };
    create(&app, &["r", "other"]).await;
    for run in ["r", "r", "r", "other", "other"] {
        log(run).await;
    }
    app.delete_run("r").await.unwrap();
    app.purge_run("r").await.unwrap();
    create(&app, &["r"]).await;
    log("r").await;
    log("other").await;
    assert_eq!((steps("r"), steps("other")), (vec![0], vec![0, 1, 2]));
    app.delete_project("p").await.unwrap();
    app.purge_project("p").await.unwrap();
    assert!(app.parts.next_steps.lock().unwrap().is_empty());
    app.shutdown().await.unwrap();
}
