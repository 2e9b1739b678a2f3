//! I9: what operators keep, and what becomes of a batch, is memory that is counted or has a limit.

use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};

use super::Fixture;
use crate::QueryError;

/// Points of run `a`, values as the steps.
fn ingest(fixture: &Fixture, metric: &str, steps: std::ops::Range<i64>) {
    let points: Vec<_> = steps.map(|step| (metric, "a", step, step as f64)).collect();
    fixture.ingest(&fixture.projects[0], &points);
}

fn count(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Regression: it read that side again to spill it, which cannot be done with what is in memory; without it, rows that found no partner
/// came once for each partition of the other side.
#[tokio::test]
async fn i9_a_join_without_equality_whose_smaller_side_does_not_fit_is_over_memory() {
    let fixture = Fixture::new(|config| {
        config.memory_bytes = 64 << 10;
        config.threads = 2;
    })
    .await;
    for part in 0..3 {
        ingest(&fixture, "b", part * 5_000..(part + 1) * 5_000);
        fixture.engine.flush().unwrap();
    }
    ingest(&fixture, "a", 0..10_000);
    let sql = |kind: &str, rows: i64| {
        format!(
            "SELECT count(*) FROM (SELECT value FROM points WHERE metric = 'a' AND step < {rows}) a \
             {kind} JOIN (SELECT value FROM points WHERE metric = 'b') b ON a.value < b.value - 1e9"
        )
    };
    for is_flushed in [false, true] {
        if is_flushed {
            fixture.engine.flush().unwrap();
        }
        for kind in ["LEFT", "LEFT ANTI", "INNER"] {
            let answer = fixture.ask(&sql(kind, 10_000)).await;
            assert!(
                matches!(&answer, Err(QueryError::MemoryExceeded { message, .. }) if message.contains("join without equality")),
                "{kind}: {answer:?}"
            );
        }
    }
    for (kind, expected) in [("LEFT", 300), ("LEFT ANTI", 300), ("INNER", 0)] {
        assert_eq!(count(&fixture.ask(&sql(kind, 300)).await.unwrap()), expected, "{kind}");
    }
}
