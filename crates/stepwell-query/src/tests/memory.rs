//! I9: what operators keep, and what becomes of a batch, is memory that is counted or has a limit.

use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::StreamExt;

use super::{Fixture, limits::chain};
use crate::{
    QueryError,
    encode::{ResultEncoder, ResultFormat},
};

/// Points of run `a`, values as the steps.
fn ingest(fixture: &Fixture, metric: &str, steps: std::ops::Range<i64>) {
    let points: Vec<_> = steps.map(|step| (metric, "a", step, step as f64)).collect();
    fixture.ingest(&fixture.projects[0], &points);
}

fn count(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// A few levels make thousands of copies of a column in each row, which nothing counted.
#[tokio::test]
async fn i9_texts_and_lists_joined_of_many_parts_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    ingest(&fixture, "train/loss", 0..9_000);
    let first = "SELECT metric AS x FROM points";
    let doubled = |level: &str, last: &str| chain(first, &format!("SELECT {level} AS x FROM BELOW"), 13, last);
    let many = vec!["\"metric\""; 4_000].join(",");
    for sql in [
        doubled("x || x", "SELECT count(*) FROM BELOW WHERE x <> ''"),
        chain(first, "SELECT make_array(x, x) AS x FROM BELOW", 10, "SELECT x FROM BELOW"),
        chain(
            "SELECT make_array(step) AS x FROM points",
            "SELECT array_concat(x, x) AS x FROM BELOW",
            10,
            "SELECT x FROM BELOW",
        ),
        chain("SELECT make_array(step) AS x FROM points", "SELECT x || x AS x FROM BELOW", 10, "SELECT x FROM BELOW"),
        chain(first, "SELECT overlay(x PLACING x FROM 2 FOR 0) AS x FROM BELOW", 10, "SELECT x FROM BELOW"),
        format!("SELECT make_array({many}) FROM points"),
    ] {
        let answer = fixture.ask(&sql).await;
        assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{sql:.120}: {answer:?}");
    }
    let short = vec!["metric"; 200].join(" || ");
    for sql in [
        format!("SELECT {short} FROM points"),
        "SELECT metric || '/' || run_id || ':' || step, overlay(metric PLACING 'x' FROM 2), make_array(step, step + 1) FROM points".to_owned(),
    ] {
        fixture.ask(&sql).await.unwrap_or_else(|error| panic!("{sql:.120}: {error}"));
    }
}

/// Columns that share one column's memory do not share what is written of them.
#[tokio::test]
async fn i9_wide_rows_are_written_in_pieces() {
    let fixture = Fixture::new(|_| {}).await;
    ingest(&fixture, "many", 0..9_000);
    let wide = |columns: usize| {
        let columns: Vec<String> = (0..columns).map(|at| format!("step AS \"c{at}\"")).collect();
        format!("SELECT {} FROM points WHERE metric = 'many'", columns.join(","))
    };
    let answer = fixture.ask(&wide(5_000)).await;
    assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{answer:?}");
    let name = "n".repeat(100_000);
    for sql in [wide(2_000), format!("SELECT step AS \"{name}\" FROM points WHERE metric = 'many'")] {
        let mut stream = fixture.start(&sql, Vec::new()).await.unwrap();
        let mut encoder = ResultEncoder::new(ResultFormat::Ndjson, stream.schema()).unwrap();
        let piece = stream.next().await.unwrap().unwrap();
        let bytes = encoder.push(&piece).unwrap().len();
        assert!(bytes < 16 << 20, "{bytes}");
    }
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
