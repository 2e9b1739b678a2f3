//! I9: no query takes the process, its memory or a caller's patience with it.

use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use futures::StreamExt;
use stepwell_segment::Names;
use stepwell_types::PointFilter;
use tokio::time::timeout;

use super::Fixture;
use crate::{QueryError, QueryRequest, points_exec::PointsExec};

/// Longer than any answer below may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A common table expression per level, each `level` with `BELOW` standing for the one before.
pub(super) fn chain(first: &str, level: &str, levels: usize, last: &str) -> String {
    let mut sql = format!("WITH c0 AS ({first})");
    for i in 1..=levels {
        sql += &format!(", c{i} AS ({})", level.replace("BELOW", &format!("c{}", i - 1)));
    }
    sql + " " + &last.replace("BELOW", &format!("c{levels}"))
}

/// Each of the first six aborted the process by a stack overflow, or would for some length, when only the best-known operators
/// were counted; the others kept the planner busy without end.
#[tokio::test]
async fn i9_no_text_overflows_the_stack_or_the_planner() {
    let fixture = Fixture::new(|config| config.deadline = Duration::from_secs(20)).await;
    let n = 15_000;
    let texts = [
        format!("SELECT true{}", " XOR true".repeat(n)),
        format!("SELECT {} '1'", "INTERVAL ".repeat(n)),
        format!("SELECT 1{}", " IN (1)".repeat(n)),
        format!("SELECT make_array(1){}", "[1]".repeat(n)),
        format!("SELECT 1{}", " NOTNULL".repeat(n)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(n)),
        format!("SELECT a{}", ".a".repeat(n)),
        format!("SELECT 1 FROM runs{}", ", runs".repeat(1_000)),
        chain("SELECT 1 AS x", "SELECT * FROM BELOW UNION ALL SELECT * FROM BELOW", 24, "SELECT count(*) FROM BELOW"),
        chain("SELECT step AS x FROM points", "SELECT x + x AS x FROM BELOW", 24, "SELECT x FROM BELOW WHERE x > 1"),
        chain("SELECT 'aaaa' AS x", "SELECT concat(x, x) AS x FROM BELOW", 30, "SELECT length(x) FROM BELOW"),
        chain("SELECT 1 AS x", "SELECT x FROM BELOW", 200, "SELECT x FROM BELOW"),
        format!(
            "SELECT 1 WHERE EXISTS ({})",
            chain("SELECT 1 AS x", "SELECT x + x AS x FROM BELOW", 24, "SELECT x FROM BELOW")
        ),
    ];
    for sql in texts {
        let answer = timeout(PATIENCE, fixture.ask(&sql)).await.unwrap();
        assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{:.80}: {answer:?}", sql);
    }
}

/// Written out, each would take minutes and gigabytes while it is planned.
#[tokio::test]
async fn i9_grouping_sets_without_end_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    let terms: Vec<String> = (0..30).map(|n| format!("step + {n}")).collect();
    let (cube, few) = (terms.join(","), terms[..8].join(","));
    for group_by in [
        format!("CUBE ({cube})"),
        format!("step, CUBE ({cube})"),
        format!("CUBE ({few}), CUBE ({few})"),
        format!("ROLLUP ({few}), CUBE ({few}), GROUPING SETS ((run_id), (metric))"),
    ] {
        let sql = format!("SELECT count(*) FROM points GROUP BY {group_by}");
        let answer = timeout(PATIENCE, fixture.ask(&sql)).await.unwrap();
        assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{group_by}: {answer:?}");
        let within = format!("SELECT 1 WHERE EXISTS ({sql})");
        assert!(matches!(fixture.ask(&within).await, Err(QueryError::TooComplex { .. })), "{group_by}");
    }
    for group_by in ["CUBE (run_id, metric, step)", "ROLLUP (metric, run_id), step", "GROUPING SETS ((metric), ())"] {
        fixture.ask(&format!("SELECT count(*) FROM points GROUP BY {group_by}")).await.unwrap();
    }
    // The planner answered these without what stands behind WITH.
    for with in ["CUBE", "ROLLUP", "TOTALS"] {
        let answer = fixture.ask(&format!("SELECT metric, count(*) FROM points GROUP BY metric WITH {with}")).await;
        assert!(matches!(answer, Err(QueryError::Plan { .. })), "{answer:?}");
    }
}

/// A literal is copied to each row of a batch.
#[tokio::test]
async fn i9_long_literals_in_rows_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    let long = "a".repeat(200_000);
    let half = "a".repeat(10_000);
    for sql in [
        format!("SELECT '{long}' FROM points"),
        format!("SELECT count(*) FROM points WHERE metric < '{long}'"),
        format!("SELECT '{half}' AS a, '{half}' AS b FROM points"),
        format!("SELECT c || '1', c || '2' FROM (SELECT '{half}' AS c) t, points"),
        format!("SELECT c || '1', c || '2' FROM (VALUES ('{half}')) t(c), points"),
        format!("SELECT c || '1', c || '2' FROM (SELECT max('{half}') AS c FROM points) t, points"),
        format!("SELECT (SELECT '{half}') AS a, (SELECT '{half}') AS b FROM points"),
        format!("SELECT {}step FROM points", (0..9_000).map(|n| format!("{n}, ")).collect::<String>()),
    ] {
        let answer = fixture.ask(&sql).await;
        assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{sql:.80}: {answer:?}");
    }
    let bound = fixture.ask_with("SELECT $1 FROM points", vec![long.into()]).await;
    assert!(matches!(bound, Err(QueryError::TooComplex { .. })), "{bound:?}");
    fixture.ask(&format!("SELECT '{half}' FROM points")).await.unwrap();
    let rows = (0..5_000).map(|n| format!("({n}, 'row {n}')")).collect::<Vec<_>>().join(",");
    fixture.ask(&format!("SELECT * FROM (VALUES {rows}) AS t(a, b)")).await.unwrap();
}

/// Each is short, and would make gigabytes in one value or in one batch.
#[tokio::test]
async fn i9_short_calls_with_endless_answers_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    let points: Vec<_> = (0..9_000).map(|step| ("train/loss", "a", step, 1.0)).collect();
    fixture.ingest(&fixture.projects[0], &points);
    let text = |letter: &str, bytes: usize| letter.repeat(bytes);
    let elements = vec!["metric"; 500].join(",");
    for sql in [
        format!("SELECT length(replace('{}', 'a', '{}'))", text("a", 7_000), text("b", 7_000)),
        format!("SELECT length(regexp_replace('{}', 'a', '{}', 'g'))", text("a", 7_000), text("b", 7_000)),
        format!("SELECT length(replace(metric, 's', '{}')) FROM points", text("b", 9_000)),
        format!("SELECT length(regexp_replace(metric, '.', '{}', 'g')) FROM points", text("b", 9_000)),
        format!("SELECT length(regexp_replace(metric, '.*', '{}')) FROM points", text("\\0", 4_000)),
        format!("SELECT length(concat_ws('{}', {elements})) FROM points", text("b", 9_000)),
        format!("SELECT length(array_to_string(make_array({elements}), '{}')) FROM points", text("b", 9_000)),
        format!("SELECT array_replace_all(make_array({elements}), metric, '{}') FROM points", text("b", 9_000)),
        format!("SELECT to_char(timestamp, '{}') FROM points", text("%c", 4_000)),
        format!("SELECT to_char('2026-01-01'::timestamp, '{}')", text("%c", 400)),
        format!(
            "SELECT concat({}) FROM points",
            vec![format!("replace(metric, 's', '{}')", text("b", 99)); 90].join(",")
        ),
        format!("SELECT levenshtein(replace(metric, 's', '{0}'), '{0}') FROM points", text("b", 500)),
    ] {
        let answer = timeout(PATIENCE, fixture.ask(&sql)).await.unwrap();
        assert!(matches!(answer, Err(QueryError::MemoryExceeded { .. })), "{sql:.120}: {answer:?}");
    }
    for sql in [
        "SELECT arrow_cast(metric, 'FixedSizeBinary(2000000000)') FROM points",
        "SELECT repeat('a', 9)",
        "SELECT array_transform(make_array(step), x -> make_array(x, x)) FROM points",
    ] {
        assert!(matches!(fixture.ask(sql).await, Err(QueryError::Plan { .. })), "{sql}");
    }
    for sql in [
        "SELECT replace(metric, '/', '.'), replace(metric, run_id, 'x'), replace('a/b', '/', '.') FROM points",
        "SELECT regexp_replace(metric, '^train/(.*)$', 'training \\1'), regexp_replace(run_id, '.', '', 'g') FROM points",
        "SELECT concat(metric, ' of ', run_id, step), concat_ws(', ', metric, run_id, NULL), metric || 'x' FROM points",
        "SELECT array_to_string(array_agg(DISTINCT metric), ', '), list_to_string(make_array(1, NULL), '-', '0') FROM points",
        "SELECT to_char(timestamp, '%Y-%m-%d %H:%M:%S'), levenshtein(metric, 'train/los') FROM points",
        "SELECT to_char(now(), 'Trained until the end of the %e. of %B in the year %Y, at %H:%M:%S and some microseconds')",
        "SELECT array_replace_all(make_array(step, 2), 2, 3), concat('a', NULL, 'b'), concat_ws('-', 'a', 'b') FROM points",
    ] {
        fixture.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Each makes room for as many elements in a row as its type says. `lttb` has its arguments computed while the query is planned.
#[tokio::test]
async fn i9_casts_to_arrays_of_a_fixed_size_are_refused() {
    let fixture = Fixture::new(|_| {}).await;
    for (cast, from) in [
        ("make_array(step)::BIGINT[3]", "FROM points"),
        ("TRY_CAST(make_array(1) AS BIGINT[3])", ""),
        ("CAST(NULL AS BIGINT[3])", ""),
        ("CAST(NULL AS BIGINT[3][])", ""),
        ("CAST(NULL AS STRUCT<a BIGINT, b BIGINT[3]>)", ""),
        ("*", "FROM lttb('loss', TRY_CAST(make_array(3, 4, 5) AS BIGINT[3])[1])"),
    ] {
        for size in ["3", "2000000000"] {
            let sql = format!("SELECT {cast} {from}").replace("[3]", &format!("[{size}]"));
            let answer = fixture.ask(&sql).await;
            let is_said = |message: &str| message.contains("has a size") && message.contains("write BIGINT[]");
            assert!(matches!(&answer, Err(QueryError::Plan { message }) if is_said(message)), "{sql}: {answer:?}");
        }
    }
    fixture.ask("SELECT make_array(step)::BIGINT[], CAST(NULL AS DOUBLE[][]) FROM points").await.unwrap();
}

#[tokio::test]
async fn long_lists_and_ordinary_nesting_pass() {
    let fixture = Fixture::new(|_| {}).await;
    let names: Vec<String> = (0..20_000).map(|i| format!("'r{i}'")).collect();
    let list = format!("SELECT count(*) FROM points WHERE metric = 'loss' AND run_id IN ({})", names.join(","));
    let nested = chain("SELECT step AS x FROM points", "SELECT x + 1 AS x FROM BELOW", 40, "SELECT sum(x) FROM BELOW");
    for sql in [list, nested] {
        fixture.ask(&sql).await.unwrap();
    }
    // A list of literals is as flat where an array or a row has it, and where all of them are negative.
    let names: Vec<String> = (0..2_000).map(|i| format!("'0b7a1f0e-6d3c-4b8e-9a55-{i:012}'")).collect();
    let steps: Vec<String> = (0..2_000).map(|i| format!("-{}", i64::MAX - i)).collect();
    for (sql, expected) in [
        (format!("SELECT run_id FROM points WHERE run_id = ANY(ARRAY[{}, 'b'])", names.join(",")), 3),
        (format!("SELECT run_id FROM points WHERE step IN ({}, 2)", steps.join(", ")), 2),
        (format!("SELECT * FROM (VALUES ({})) AS t(a)", steps.join("), (")), 2_000),
    ] {
        let batches = fixture.ask(&sql).await.unwrap_or_else(|error| panic!("{sql:.80}: {error}"));
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), expected, "{sql:.80}");
    }
    // What is looked up is still counted where it stands in rows, and what nests where it has a sign.
    let listed = format!("SELECT ARRAY[{}] FROM points", names.join(","));
    let added = format!("SELECT 1{}", " + (-1)".repeat(600));
    let negated = format!("SELECT ({}1)", "- ".repeat(600));
    for sql in [listed, added, negated] {
        let answer = fixture.ask(&sql).await;
        assert!(matches!(answer, Err(QueryError::TooComplex { .. })), "{sql:.80}: {answer:?}");
    }
}

const ENDLESS: &str = "SELECT count(*) FROM points a, points b, points c, points d, points e, points f, points g, \
                       points h, points i, points j, points k";

/// Regression: joins do not yield, so that neither the deadline nor the abort of the task was ever seen.
#[tokio::test]
async fn i9_the_deadline_ends_a_join_and_frees_its_threads() {
    let fixture = Fixture::new(|config| {
        config.deadline = Duration::from_secs(1);
        config.concurrency = 1;
        config.threads = 1;
    })
    .await;
    for _ in 0..2 {
        let answer = timeout(PATIENCE, fixture.ask(ENDLESS)).await.unwrap();
        assert!(matches!(answer, Err(QueryError::Deadline { .. })), "{answer:?}");
    }
    fixture.ask("SELECT count(*) FROM points").await.unwrap();
    ended(&fixture, &[("over_deadline", 2), ("done", 1)]).await;
}

/// Joins go through pairs of one key in one go until a batch of their output is full, which is never where nothing comes out.
#[tokio::test]
async fn i9_the_deadline_ends_a_join_that_nothing_comes_out_of() {
    let fixture = Fixture::new(|config| {
        config.deadline = Duration::from_secs(3);
        config.concurrency = 1;
        config.threads = 1;
    })
    .await;
    for part in 0..12 {
        let points: Vec<_> = (0..10_000).map(|step| ("many", "a", 10_000 * part + step, step as f64)).collect();
        fixture.ingest(&fixture.projects[0], &points);
    }
    let same = "b.metric = a.metric AND b.run_id = a.run_id";
    let joins = [
        format!("SELECT count(*) FROM points a JOIN points b ON {same} AND a.value + b.value < -1e300"),
        format!("SELECT count(*) FROM points a WHERE EXISTS (SELECT 1 FROM points b WHERE {same})"),
        "SELECT count(*) FROM points a JOIN points b ON a.value + b.value < -1e300".to_owned(),
    ];
    for join in joins {
        let answer = timeout(PATIENCE, fixture.ask(&join)).await.unwrap();
        assert!(matches!(answer, Err(QueryError::Deadline { .. })), "{join}: {answer:?}");
        // It would wait for its turn until its own deadline.
        fixture.ask("SELECT 1").await.unwrap_or_else(|error| panic!("{join} holds its place: {error}"));
    }
    ended(&fixture, &[("over_deadline", 3), ("done", 3)]).await;
}

/// Waits until queries have ended so; the task that counts may go on for a moment after the last row.
pub(super) async fn ended(fixture: &Fixture, expected: &[(&'static str, u64)]) {
    let met = || {
        let stats = fixture.query.stats();
        expected.iter().all(|end| stats.ended.contains(end)) && stats.running == 0 && stats.waiting == 0
    };
    for _ in 0..500 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("wanted {expected:?}, found {:?}", fixture.query.stats());
}

#[tokio::test]
async fn every_query_is_counted_by_how_it_ended() {
    let fixture = Fixture::new(|_| {}).await;
    fixture.ask("SELECT count(*) FROM points").await.unwrap();
    fixture.ask("SELECT nothing FROM points").await.unwrap_err();
    fixture.ask("DROP TABLE points").await.unwrap_err();
    fixture.ask("SELECT 1 / (step - step) FROM points").await.unwrap_err();
    ended(&fixture, &[("done", 1), ("refused", 2), ("failed", 1), ("cancelled", 0)]).await;
}

#[tokio::test]
async fn i9_a_dropped_stream_ends_its_query() {
    let fixture = Fixture::new(|config| {
        config.concurrency = 1;
        config.threads = 1;
    })
    .await;
    let request = QueryRequest { sql: ENDLESS.to_owned(), project: Some("demo".to_owned()), ..QueryRequest::default() };
    let engine = fixture.engine.clone();
    let mut stream = fixture.query.query(move || engine.snapshot(), request).await.unwrap();
    assert!(timeout(Duration::from_millis(300), stream.next()).await.is_err(), "it must still run");
    drop(stream);
    // The one permit and the one thread are free again well before the deadline of a minute.
    let answer = timeout(Duration::from_secs(20), fixture.ask("SELECT count(*) FROM points")).await;
    answer.expect("the dropped query holds its place").unwrap();
    ended(&fixture, &[("cancelled", 1), ("done", 1)]).await;
}

/// On a disk without an inode every query was refused as the caller's fault.
#[tokio::test]
async fn without_a_place_to_spill_to_queries_that_need_none_are_answered() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let fixture = Fixture::new(|config| {
        config.spill_dir = file.path().join("below-a-file");
        config.memory_bytes = 1 << 20;
    })
    .await;
    fixture.ask("SELECT metric, count(*) FROM points GROUP BY metric ORDER BY metric").await.unwrap();
    let sorted = ENDLESS.replace("count(*)", "a.value") + " ORDER BY a.value, k.value";
    let answer = timeout(PATIENCE, fixture.ask(&sorted)).await.unwrap();
    assert!(matches!(answer, Err(QueryError::MemoryExceeded { .. })), "{answer:?}");
}

#[tokio::test]
async fn i9_memory_beyond_the_budget_fails_the_one_query() {
    let fixture = Fixture::new(|config| config.memory_bytes = 256 << 10).await;
    let sql = "SELECT array_agg(a.value) FROM points a, points b, points c, points d, points e";
    let answer = timeout(PATIENCE, fixture.ask(sql)).await.unwrap();
    assert!(matches!(answer, Err(QueryError::MemoryExceeded { limit_bytes: 262_144, .. })), "{answer:?}");
    fixture.ask("SELECT count(*) FROM points").await.unwrap();
    ended(&fixture, &[("over_memory", 1), ("done", 1)]).await;
}

/// A million series were gigabytes for a count of them, whatever queries might have.
#[tokio::test]
async fn i9_summaries_count_as_memory_of_the_query() {
    let fixture = Fixture::new(|config| config.memory_bytes = 1 << 20).await;
    let runs: Vec<String> = (0..20_000).map(|number| format!("run{number}")).collect();
    let points: Vec<_> = runs.iter().map(|run| ("loss", run.as_str(), 0, 1.0)).collect();
    fixture.ingest(&fixture.projects[0], &points);
    fixture.engine.flush().unwrap();
    for sql in ["SELECT count(*) FROM summaries", "SELECT count(*) FROM lttb('loss', 10)"] {
        let answer = fixture.ask(sql).await;
        assert!(matches!(answer, Err(QueryError::MemoryExceeded { limit_bytes: 1_048_576, .. })), "{answer:?}");
    }
    fixture.ask("SELECT * FROM summaries WHERE run_id = 'run7'").await.unwrap();
    ended(&fixture, &[("over_memory", 2), ("done", 1)]).await;
    assert_eq!(fixture.query.memory().used(), 0);
}

#[tokio::test]
async fn i9_points_in_memory_are_given_back_when_they_are_read_and_not_when_the_query_ends() {
    let fixture = Fixture::new(|_| {}).await;
    let held = || fixture.engine.stats().memtable_held_bytes;
    let filter = PointFilter::default();
    let plan = PointsExec::new(fixture.engine.snapshot().scan(&filter), &filter, vec![3], None).unwrap();
    fixture.engine.flush().unwrap();
    assert!(held() > 0, "the plan holds them");
    for partition in 0.. {
        let Some(mut reading) = plan.read(partition, Names::Views, 8_192).unwrap() else { break };
        while reading.next_batch().unwrap().is_some() {}
    }
    assert_eq!(held(), 0, "{plan:?}");
}

#[tokio::test]
async fn i9_a_query_waits_for_its_turn_without_a_snapshot() {
    let fixture = Fixture::new(|config| config.concurrency = 1).await;
    let first = fixture.start(ENDLESS, Vec::new()).await.unwrap();
    let (taken, engine) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), fixture.engine.clone());
    let request =
        |sql: &str| QueryRequest { sql: sql.to_owned(), project: Some("demo".to_owned()), params: Vec::new() };
    let noted = taken.clone();
    let snapshot = move || {
        noted.store(true, std::sync::atomic::Ordering::SeqCst);
        engine.snapshot()
    };
    let second = fixture.query.query(snapshot, request("SELECT count(*) FROM points"));
    let mut second = std::pin::pin!(second);
    assert!(timeout(Duration::from_millis(100), &mut second).await.is_err(), "one at a time");
    assert!(!taken.load(std::sync::atomic::Ordering::SeqCst), "it holds nothing yet");
    drop(first);
    second.await.unwrap();
    assert!(taken.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn i9_no_query_begins_while_others_hold_more_points_than_all_may() {
    let fixture = Fixture::new(|config| config.memory_bytes = 256 << 10).await;
    let reader = fixture.engine.snapshot();
    fixture.engine.flush().unwrap();
    let refused = fixture.ask("SELECT count(*) FROM points").await.unwrap_err();
    assert!(matches!(refused, QueryError::MemoryHeld { limit_bytes: 262_144, .. }), "{refused}");
    drop(reader);
    fixture.ask("SELECT count(*) FROM points").await.unwrap();
}
