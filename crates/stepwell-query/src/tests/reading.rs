//! What queries see of points, runs and params.

use std::time::Duration;

use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type},
};
use serde_json::json;
use stepwell_metadata::{ParamValue, RunPatch};
use tokio::time::timeout;

use super::{Fixture, START_US};
use crate::{QueryError, QueryRequest};

fn ints(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Regression: each partition kept a blocking thread until it was read to its end, while a merge waited for the first batch of
/// every partition. With more segments than threads nothing ever moved.
#[tokio::test]
async fn more_segments_than_threads_merge() {
    let fixture = Fixture::new(|config| config.threads = 1).await;
    for step in 0..20 {
        // Two batches' worth per segment, so that a reader is not done after its first.
        let points: Vec<_> = (0..9_000).map(|i| ("many", "a", step + 20 * i, step as f64)).collect();
        fixture.ingest(&fixture.projects[0], &points);
        fixture.engine.flush().unwrap();
    }
    let sql = "SELECT step FROM points WHERE metric = 'many' ORDER BY run_id, step, lsn";
    let rows = ints(&timeout(Duration::from_secs(120), fixture.ask(sql)).await.unwrap().unwrap());
    assert_eq!(rows, (0..180_000).collect::<Vec<i64>>());
    let plan = fixture.ask(&format!("EXPLAIN {sql}")).await.unwrap();
    let plan = datafusion::arrow::util::pretty::pretty_format_batches(&plan).unwrap().to_string();
    assert!(!plan.contains("SortExec"), "{plan}");
}

/// Regression: where rows come in order the planner dropped the sort and gave its limit to what brought partitions together, below the
/// filters and aggregations between.
#[tokio::test]
async fn a_limit_takes_the_first_rows_of_the_answer_without_it() {
    let mut wrong = Vec::new();
    for threads in [1, 2] {
        let fixture = Fixture::new(|config| config.threads = threads).await;
        for part in 0..3 {
            let points: Vec<_> = (0..100).map(|i| ("rate", ["a", "b"][i % 2], (3 * i + part) as i64, 1.0)).collect();
            fixture.ingest(&fixture.projects[0], &points);
            fixture.engine.flush().unwrap();
        }
        for (sql, limit) in [
            (
                "SELECT step FROM (SELECT * FROM points LIMIT 10000) WHERE metric = 'rate' AND run_id = 'a' ORDER BY step",
                10,
            ),
            (
                "SELECT run_id, step FROM (SELECT * FROM points LIMIT 10000) WHERE metric = 'rate' ORDER BY metric, run_id, step",
                10,
            ),
            (
                "SELECT step FROM (SELECT * FROM points ORDER BY metric, run_id, step LIMIT 300 OFFSET 20) \
              WHERE metric = 'rate' ORDER BY run_id, step",
                7,
            ),
            ("SELECT run_id, count(*) FROM points WHERE metric = 'rate' GROUP BY run_id ORDER BY run_id", 1),
            (
                "SELECT metric, run_id, count(*), min(step) FROM points GROUP BY metric, run_id HAVING count(*) > 100 \
                 ORDER BY metric, run_id",
                1,
            ),
            ("SELECT step, count(*) FROM points WHERE metric = 'rate' AND run_id = 'a' GROUP BY step ORDER BY step", 3),
            (
                "SELECT run_id, array_agg(step ORDER BY step) FROM points WHERE metric = 'rate' GROUP BY run_id ORDER BY run_id",
                1,
            ),
            ("SELECT DISTINCT run_id FROM points ORDER BY run_id", 2),
            (
                "SELECT n, step FROM (SELECT step, row_number() OVER (ORDER BY step, lsn) AS n FROM points WHERE metric = 'rate' \
              AND run_id = 'a') WHERE n > 50 ORDER BY step",
                3,
            ),
            (
                "SELECT p.step, r.run_id FROM points p JOIN runs r ON r.run_id = p.run_id WHERE p.metric = 'rate' AND p.run_id = 'a' \
              AND p.step % 10 = 1 ORDER BY p.step",
                2,
            ),
            (
                "SELECT step FROM (SELECT step FROM points WHERE metric = 'rate' AND run_id = 'a' UNION ALL SELECT step FROM points \
              WHERE metric = 'rate' AND run_id = 'b') WHERE step % 7 = 0 ORDER BY step",
                4,
            ),
        ] {
            let lines = |batches: Vec<RecordBatch>| {
                let text = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
                let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
                rows.map(|row| row.replace(' ', "")).collect::<Vec<_>>()
            };
            let all = lines(fixture.ask(sql).await.unwrap());
            let first = lines(fixture.ask(&format!("{sql} LIMIT {limit}")).await.unwrap());
            assert!(all.len() > limit, "{sql}: {all:?}");
            if first != all[..limit] {
                wrong.push(format!("{threads} threads: {sql}\n{first:?} is not {:?}", &all[..limit]));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The filters that scans apply against the same ones that nothing pushes down.
#[tokio::test]
async fn pushed_filters_answer_as_those_applied_to_rows() {
    let fixture = Fixture::new(|_| {}).await;
    for filter in [
        "run_id IN ('a', 'b')",
        "run_id = 'a' OR 'c' = run_id",
        "run_id = 'a' OR metric = 'acc'",
        "run_id = 'a' OR step = 0",
        "run_id IN ('a', 'b', 'c', 'd') AND run_id <> 'b'",
        "run_id NOT IN ('a', 'b')",
        "metric = 'loss' AND metric = 'acc'",
        "metric = 'loss' AND run_id = 'b' AND step > 0",
        "step > 9223372036854775806",
        "step > 9223372036854775807",
        "step < -9223372036854775808",
        "step <= 1.5",
        "5 >= step AND step BETWEEN 1 AND 2",
        "timestamp >= '2026-01-01T00:00:01Z' AND timestamp < '2026-01-01T00:00:02Z'",
        "value = 'NaN'::double OR value < 1",
        "metric LIKE 'l%' AND step % 2 = 0",
        "run_id = NULL",
    ] {
        // An offset hinders the pushing down of filters.
        let all = "(SELECT * FROM points OFFSET 0)";
        let opaque = filter.replace("run_id", "concat(run_id, '')").replace("metric", "concat(metric, '')");
        let pushed = fixture.ask(&format!("SELECT lsn::bigint FROM points WHERE {filter} ORDER BY 1")).await.unwrap();
        let applied = fixture.ask(&format!("SELECT lsn::bigint FROM {all} WHERE {opaque} ORDER BY 1")).await.unwrap();
        assert_eq!(ints(&pushed), ints(&applied), "{filter}");
    }
}

/// I5: what SQL hands out has the bits that came in.
#[tokio::test]
async fn i5_bits_come_through() {
    let fixture = Fixture::new(|_| {}).await;
    let odd = [f64::from_bits(0x7ff8_dead_beef_0001), f64::from_bits(0xfff0_0000_0000_0001), -0.0, 5e-324];
    let points: Vec<_> = odd.iter().enumerate().map(|(i, value)| ("bits", "a", i as i64, *value)).collect();
    fixture.ingest(&fixture.projects[0], &points);
    for _ in 0..2 {
        let batches = fixture.ask("SELECT value FROM points WHERE metric = 'bits' ORDER BY step").await.unwrap();
        let bits = |batch: &RecordBatch| batch.column(0).as_primitive::<Float64Type>().values().to_vec();
        let read: Vec<u64> = batches.iter().flat_map(bits).map(f64::to_bits).collect();
        assert_eq!(read, odd.map(f64::to_bits));
        // Once from memory, once from a segment.
        fixture.engine.flush().unwrap();
    }
}

/// I10: points that come or move to a segment after the snapshot change nothing.
#[tokio::test]
async fn i10_a_query_sees_its_snapshot() {
    let fixture = Fixture::new(|_| {}).await;
    let snapshot = fixture.engine.snapshot();
    fixture.ingest(&fixture.projects[0], &[("loss", "a", 3, 0.0)]);
    fixture.engine.flush().unwrap();
    let sql = "SELECT count(*) FROM points".to_owned();
    let request = QueryRequest { sql, project: Some("demo".to_owned()), ..QueryRequest::default() };
    let mut stream = fixture.query.query(|| snapshot, request).await.unwrap();
    let batch = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert_eq!(ints(&[batch]), [10]);
    assert_eq!(ints(&fixture.ask("SELECT count(*) FROM points").await.unwrap()), [11]);
}

/// The cache of runs and params follows the metadata, and so do the params' types.
#[tokio::test]
async fn i2_changed_params_are_seen_and_change_their_type() {
    let fixture = Fixture::new(|_| {}).await;
    let sql = "SELECT run_id FROM runs WHERE params['seed'] > 1";
    assert_eq!(fixture.ask(sql).await.unwrap()[0].num_rows(), 1);
    let patch = RunPatch { params: [("seed".to_owned(), ParamValue::Float(1.5))].into(), ..RunPatch::default() };
    fixture.metadata.update_run("c", patch, START_US).await.unwrap();
    let rows = fixture.ask(sql).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn placeholders_are_bound_and_are_never_sql() {
    let fixture = Fixture::new(|_| {}).await;
    let sql = "SELECT count(*) FROM points WHERE metric = $1 AND step < $2";
    let rows = fixture.ask_with(sql, vec![json!("loss"), json!(1)]).await.unwrap();
    assert_eq!(ints(&rows), [3]);
    let rows = fixture.ask_with(sql, vec![json!("loss' OR true --"), json!(1)]).await.unwrap();
    assert_eq!(ints(&rows), [0]);
    for params in [vec![json!("loss")], vec![json!({}), json!(1)]] {
        let answer = fixture.ask_with(sql, params).await;
        assert!(matches!(answer, Err(QueryError::Params { .. } | QueryError::Plan { .. })), "{answer:?}");
    }
}

/// Every example of the document runs, and every function of ours is in it.
#[tokio::test]
async fn the_documented_functions_work_as_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/sql_functions.md");
    let document = std::fs::read_to_string(path).unwrap();
    let names = crate::functions::aggregates().into_iter().map(|f| f.name().to_owned());
    let names = names.chain(crate::functions::windows().into_iter().map(|f| f.name().to_owned()));
    for name in names.chain(crate::series_functions::NAMES.map(str::to_owned)) {
        assert!(document.contains(&format!("`{name}(")), "{name} is not documented");
    }
    let fixture = Fixture::new(|config| config.threads = 2).await;
    let examples: Vec<&str> =
        document.split("```sql\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 6);
    for example in examples {
        let mut stream =
            fixture.start(example, Vec::new()).await.unwrap_or_else(|error| panic!("{example}: {error:?}"));
        let mut rows = 0;
        while let Some(batch) = futures::StreamExt::next(&mut stream).await {
            rows += batch.unwrap_or_else(|error| panic!("{example}: {error:?}")).num_rows();
        }
        assert!(rows > 0, "{example}");
    }
}
