//! I9: what operators keep, and what becomes of a batch, is memory that is counted or has a limit.

use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type},
};
use futures::StreamExt;

use super::{
    Fixture,
    limits::{chain, ended},
};
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

/// Regression: a window function held all of its input, a copy and its answers, of which nobody knew.
#[tokio::test]
async fn i9_rows_that_a_window_function_keeps_are_memory_of_the_query() {
    const ROWS: i64 = 150_000;
    let fixture = Fixture::new(|config| config.memory_bytes = 8 << 20).await;
    for part in 0..3 {
        ingest(&fixture, "many", part * ROWS / 3..(part + 1) * ROWS / 3);
    }
    let sql = |call: &str| {
        format!("SELECT count(x) FROM (SELECT {call} AS x FROM points WHERE metric = 'many' AND run_id = 'a')")
    };
    let keeping = [
        "sum(value) OVER (PARTITION BY run_id)",
        "sum(value) OVER (ORDER BY step ROWS BETWEEN 1000000 PRECEDING AND CURRENT ROW)",
        "sum(value) OVER (ORDER BY step ROWS BETWEEN CURRENT ROW AND 1000000 FOLLOWING)",
        "sum(value) OVER (ORDER BY step RANGE BETWEEN 1000000 PRECEDING AND CURRENT ROW)",
        "count(DISTINCT step) OVER (ORDER BY step)",
        "lag(value, 1000000, 0) OVER (ORDER BY step)",
        "lag(value) IGNORE NULLS OVER (ORDER BY step)",
        "max(run_id) OVER (PARTITION BY metric)",
    ];
    for call in keeping {
        let answer = fixture.ask(&sql(call)).await;
        // Who of the query is refused is chance: the sort below it runs beside. It has room where nothing is kept, as is seen below.
        assert!(matches!(&answer, Err(QueryError::MemoryExceeded { .. })), "{call}: {answer:?}");
    }
    let passing = [
        "smooth(value, 0.6) OVER (ORDER BY step)",
        "sum(value) OVER (ORDER BY step)",
        "avg(value) OVER (ORDER BY step ROWS BETWEEN 9 PRECEDING AND 9 FOLLOWING)",
        "row_number() OVER (ORDER BY step)",
        "lag(value, 2, 0) OVER (ORDER BY step)",
        "first_value(value) OVER (ORDER BY step)",
        "max(run_id) OVER (ORDER BY step)",
    ];
    for call in passing {
        let answer = fixture.ask(&sql(call)).await.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert_eq!(count(&answer), ROWS, "{call}");
    }
    ended(&fixture, &[("over_memory", keeping.len() as u64), ("done", passing.len() as u64)]).await;
    assert_eq!(fixture.query.memory().used(), 0);
}

/// Regression: all rows were one batch, whose JSON was made in one piece.
#[tokio::test]
async fn i9_a_window_hands_out_its_rows_in_batches() {
    let fixture = Fixture::new(|_| {}).await;
    ingest(&fixture, "many", 0..20_000);
    let sql = "SELECT step, sum(value) OVER () FROM points WHERE metric = 'many'";
    let batches = fixture.ask(sql).await.unwrap();
    assert!(batches.iter().all(|batch| batch.num_rows() <= 8_192), "{}", batches.len());
    let mut steps: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    steps.sort_unstable();
    assert_eq!(steps, (0..20_000).collect::<Vec<_>>());
    let sums = batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Float64Type>().values().to_vec());
    assert!(sums.into_iter().all(|sum| sum == (0..20_000).sum::<i64>() as f64));
}

/// It answers as rows come where its operator need not wait, and of all at once where it must.
#[tokio::test]
async fn smooth_answers_alike_with_and_without_the_end_of_its_input() {
    let fixture = Fixture::new(|_| {}).await;
    ingest(&fixture, "many", 0..20_000);
    let rows = "FROM points WHERE metric IN ('many', 'loss') AND run_id <> 'c'";
    let over = "OVER (PARTITION BY metric, run_id ORDER BY step, lsn)";
    let sql = format!(
        "SELECT count(*) FROM (SELECT lsn, smooth(value, 0.9) {over} AS x {rows}) one \
         JOIN (SELECT lsn, smooth(value, 0.9) {over} AS x, \
         sum(value) OVER (PARTITION BY metric, run_id ORDER BY step, lsn ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS s {rows}) two \
         ON one.lsn = two.lsn WHERE s IS NOT NULL AND (one.x = two.x OR (isnan(one.x) AND isnan(two.x)))"
    );
    let all = format!("SELECT count(*) {rows}");
    assert_eq!(count(&fixture.ask(&sql).await.unwrap()), count(&fixture.ask(&all).await.unwrap()));
}

/// Of n rows they would make n times n values.
#[tokio::test]
async fn i9_lists_and_texts_made_over_a_window_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    for call in [
        "array_agg(value) OVER ()",
        "array_agg(value) OVER (ORDER BY step, lsn)",
        "string_agg(metric, ',') OVER (PARTITION BY run_id)",
        "max(metric || run_id) OVER ()",
        "lag(metric, 1, 'a text that is longer than short ones') OVER (ORDER BY step)",
    ] {
        for sql in [
            format!("SELECT {call} FROM points"),
            format!("SELECT 1 WHERE EXISTS (SELECT {call} FROM points)"),
            format!("SELECT count(x) + 1 FROM (SELECT {call} AS x FROM points) t"),
        ] {
            let answer = fixture.ask(&sql).await;
            assert!(matches!(answer, Err(QueryError::Plan { .. })), "{sql}: {answer:?}");
        }
    }
    for sql in [
        "SELECT max(metric) OVER (PARTITION BY run_id), lag(metric, 1, 'none') OVER (ORDER BY step, lsn) FROM points",
        "SELECT max(name) OVER (PARTITION BY run_id) FROM (SELECT run_id, metric || '/' || run_id AS name FROM points) t",
        "SELECT first_value(run_id) OVER (ORDER BY step DESC), rank() OVER (PARTITION BY split_part(metric, 'o', 1) ORDER BY value) FROM points",
        "SELECT best_min(value, step) OVER (PARTITION BY run_id) FROM points",
        "SELECT lag(params) OVER (ORDER BY run_id), lead(params['lr']) OVER (ORDER BY run_id) FROM runs",
        "SELECT run_id, array_agg(value ORDER BY step) FROM points GROUP BY run_id",
    ] {
        fixture.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
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
        chain(first, "SELECT max(x || x || x || x) AS x FROM BELOW GROUP BY length(x)", 5, "SELECT x FROM BELOW"),
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
