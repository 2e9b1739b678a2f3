//! Retries whose runs are not what they were.

use std::time::Duration;

use stepwell_types::ProducerSequence;

use crate::{
    ErrorCode, LogRow,
    trash::tests::{batch, create, open},
};

fn sequence(sequence: u64) -> Option<ProducerSequence> {
    Some(ProducerSequence { producer: "p".into(), sequence })
}

/// The client took the refusal for "nothing of it was applied", and sent the points of the other run again under a new number.
#[tokio::test(flavor = "multi_thread")]
async fn i3_a_retry_of_an_applied_batch_is_a_duplicate_though_a_run_went_into_the_trash() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["a", "b"]).await;
    let both = || batch(&["a", "b"], 1);
    let first = app.ingest(both(), sequence(1)).await.unwrap();
    app.delete_run("b").await.unwrap();
    let again = app.ingest(both(), sequence(1)).await.unwrap();
    assert!(again.duplicate && again.last_lsn == first.last_lsn && again.points == 2, "{again:?}");
    let stream = app.ingest_stream(Duration::ZERO);
    let again = stream.queue(both(), sequence(1)).await.unwrap().acknowledged().await.unwrap();
    assert!(again.duplicate, "{again:?}");
    let row = LogRow { metrics: vec![("loss".into(), 0.5)], ..LogRow::default() };
    assert!(app.log("b", vec![row], sequence(1)).await.unwrap().duplicate);
    for (number, is_stream) in [(Some(2), false), (None, false), (Some(2), true)] {
        let number = number.and_then(sequence);
        let refused = match is_stream {
            true => stream.queue(both(), number).await.err(),
            false => app.ingest(both(), number).await.err(),
        };
        assert_eq!(refused.map(|error| (error.code, error.row)), Some((ErrorCode::RunNotFound, Some(2))));
    }
    app.shutdown().await.unwrap();
}
