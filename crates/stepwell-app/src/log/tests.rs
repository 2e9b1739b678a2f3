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
