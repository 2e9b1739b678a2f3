//! Aggregation by runs against the planner's own, and what joins let scans skip.

use datafusion::arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use stepwell_engine::Deletion;
use stepwell_env::{Random, SeededRandom};

use super::{Fixture, START_US};

const RUNS: [&str; 3] = ["a", "b", "c"];
const METRICS: [&str; 4] = ["grad/norm of the first layer", "loss", "lr", "spells"];

fn text(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// Series of a few and of many points, in three segments and in memory; all values are integers, so that their sums do not
/// depend on an order. `spells` has NaN and infinity.
async fn varied(seed: u64) -> Fixture {
    let fixture = Fixture::new(|config| config.threads = 2).await;
    let random = SeededRandom::new(seed);
    for part in 0..4 {
        for metric in METRICS {
            for run in RUNS {
                let points = [0, 3, 90, 2_000, 9_000][random.next_u64() as usize % 5];
                let first = random.next_u64() as i64 % 500;
                let value = |step: i64| match random.next_u64() % 50 {
                    0 if metric == "spells" => [f64::NAN, f64::INFINITY][step as usize % 2],
                    other => other as f64 - 20.0,
                };
                let points: Vec<_> = (first..first + points).map(|step| (metric, run, step, value(step))).collect();
                if !points.is_empty() {
                    fixture.ingest(&fixture.projects[0], &points);
                }
            }
        }
        if part < 3 {
            fixture.engine.flush().unwrap();
        }
    }
    fixture
}

fn delete(fixture: &Fixture, metric: Option<&str>, run_id: Option<&str>, before_us: Option<i64>) {
    let project_id = fixture.projects[0].project_id.as_str().into();
    let deletion = Deletion { project_id, metric: metric.map(Into::into), run_id: run_id.map(Into::into), before_us };
    fixture.engine.delete(deletion).unwrap();
}

/// Extremes are asked of metrics without NaN: among several runs' points of a step it counts by which comes first, in the planner's own
/// functions too.
const AGGREGATIONS: [&str; 8] = [
    "SELECT metric, count(*), sum(step), avg(value), max(lsn) FROM points GROUP BY metric ORDER BY 1",
    "SELECT metric, min(value), max(value), min(step), round(stddev(value), 6) FROM points WHERE metric IN ('acc', 'lr') \
     GROUP BY metric ORDER BY 1",
    "SELECT run_id, metric, count(value), avg(value) FROM points GROUP BY run_id, metric ORDER BY 1, 2",
    "SELECT metric, run_id, sum(value), max(timestamp) FROM points WHERE step BETWEEN 100 AND 900 \
     GROUP BY metric, run_id ORDER BY 1, 2",
    "SELECT run_id, count(CASE WHEN value > 0 THEN 1 END), round(var_pop(value * 2), 6) FROM points \
     WHERE metric = 'loss' GROUP BY run_id ORDER BY 1",
    "SELECT step, count(*), avg(value), round(stddev_pop(value), 6) FROM points WHERE metric = 'lr' \
     GROUP BY step ORDER BY 1",
    "SELECT step, max(value) FROM points WHERE metric IN ('acc', 'lr') GROUP BY step ORDER BY 1",
    "SELECT metric FROM points GROUP BY metric HAVING sum(step) > 1000 ORDER BY 1",
];

/// A limit keeps an aggregation away from the scan.
async fn check(fixture: &Fixture, seed: u64) {
    for sql in AGGREGATIONS {
        let apart = sql.replace("FROM points", "FROM (SELECT * FROM points LIMIT 1000000000)");
        let plans = [sql, &apart].map(|sql| format!("EXPLAIN {sql}"));
        assert!(text(&fixture.ask(&plans[0]).await.unwrap()).contains("RunAggregateExec"), "{sql}");
        assert!(!text(&fixture.ask(&plans[1]).await.unwrap()).contains("RunAggregateExec"), "{apart}");
        let (by_runs, by_rows) = (fixture.ask(sql).await.unwrap(), fixture.ask(&apart).await.unwrap());
        assert_eq!(text(&by_runs), text(&by_rows), "seed {seed}: {sql}");
    }
}

#[tokio::test]
async fn aggregation_by_runs_answers_as_that_by_rows() {
    for seed in 0..2 {
        let fixture = varied(seed).await;
        check(&fixture, seed).await;
        delete(&fixture, Some("loss"), Some("b"), None);
        delete(&fixture, Some("lr"), None, Some(START_US + 300_000_000));
        fixture.ingest(&fixture.projects[0], &[("loss", "b", 7, 1.0), ("lr", "c", 1, 2.0), ("lr", "c", 1, 3.0)]);
        check(&fixture, seed).await;
        fixture.engine.flush().unwrap();
        fixture.engine.hide(vec![(fixture.projects[0].project_id.as_str().into(), "a".into())]);
        check(&fixture, seed).await;
    }
}

/// The planner's functions take NaNs in the order of rows; so do ours.
#[tokio::test]
async fn nan_counts_as_it_does_row_by_row() {
    let fixture = Fixture::new(|_| {}).await;
    for (run, at) in [("a", 0), ("b", 99), ("c", 50)] {
        let value = |step| if step == at { f64::NAN } else { step as f64 };
        let points: Vec<_> = (0..100).map(|step| ("nan", run, step, value(step))).collect();
        fixture.ingest(&fixture.projects[0], &points);
    }
    fixture.engine.flush().unwrap();
    let sql =
        "SELECT run_id, min(value), max(value), avg(value) FROM points WHERE metric = 'nan' GROUP BY run_id ORDER BY 1";
    let apart = sql.replace("FROM points", "FROM (SELECT * FROM points LIMIT 1000000000)");
    assert!(text(&fixture.ask(&format!("EXPLAIN {sql}")).await.unwrap()).contains("RunAggregateExec"));
    assert_eq!(text(&fixture.ask(sql).await.unwrap()), text(&fixture.ask(&apart).await.unwrap()));
}

/// Regression: of groups of nothing but infinities the planner's functions answered the largest finite number.
#[tokio::test]
async fn extremes_of_groups_are_infinite_where_all_values_are() {
    let fixture = Fixture::new(|_| {}).await;
    let points: Vec<_> = (0..100).map(|step| ("div", "c", step, f64::INFINITY)).collect();
    fixture.ingest(&fixture.projects[0], &points);
    fixture.engine.flush().unwrap();
    let extremes = "min(value), max(-value), min(-(-value)::real), min(value) FILTER (WHERE step < 3)";
    let whole = format!("SELECT {extremes} FROM points WHERE metric = 'div'");
    let expected = text(&fixture.ask(&whole).await.unwrap());
    assert!(expected.contains("| inf ") && expected.contains("| -inf "), "{expected}");
    // By runs of rows, by rows, and of so many groups that none is worth keeping.
    for group in ["run_id", "run_id || ''"] {
        let grouped = text(&fixture.ask(&format!("{whole} GROUP BY {group}")).await.unwrap());
        assert_eq!(grouped, expected, "{group}");
    }
    let by_step = format!("SELECT DISTINCT * FROM ({whole} AND step < 3 GROUP BY step, lsn)");
    assert_eq!(text(&fixture.ask(&by_step).await.unwrap()), expected);
    // Nothing is neither.
    let none = "SELECT metric, min(value) FILTER (WHERE step > 1000) FROM points WHERE metric = 'div' GROUP BY metric";
    assert!(text(&fixture.ask(none).await.unwrap()).contains("| div    |  "));
}

/// Regression: the planner's filter was of those extremes that had a value, and are of a column, so that scans left out what the others
/// are made of: a step in the last segment was never seen.
#[tokio::test]
async fn extremes_are_of_all_rows_whatever_else_is_asked_of_them() {
    let fixture = Fixture::new(|config| config.threads = 1).await;
    for segment in 0..20 {
        // More of them than are read at once, and none behind another.
        let factor = if segment == 19 { 0.1 } else { 1.0 };
        let steps = (0..9_000).map(|i| segment + 20 * i);
        let points: Vec<_> = steps.map(|step| ("late", "a", step, factor * step as f64)).collect();
        fixture.ingest(&fixture.projects[0], &points);
        fixture.engine.flush().unwrap();
    }
    for extremes in [
        "min(timestamp), min(step) FILTER (WHERE value > 0.0 AND value < 0.2 * step)",
        "max(step), min(value) FILTER (WHERE step > 100), max(value) FILTER (WHERE run_id = 'b')",
        "min(step), max(value * 2)",
    ] {
        let sql = format!("SELECT {extremes} FROM points WHERE metric = 'late' AND run_id = 'a'");
        let apart = sql.replace("FROM points", "FROM (SELECT * FROM points LIMIT 1000000000)");
        assert_eq!(text(&fixture.ask(&sql).await.unwrap()), text(&fixture.ask(&apart).await.unwrap()), "{sql}");
        // Which scans begin late enough to miss something is a matter of time.
        let plan = text(&fixture.ask(&format!("EXPLAIN {sql}")).await.unwrap());
        assert!(plan.contains("mode=Partial") && !plan.contains("dynamic_filters"), "{plan}");
    }
}

/// Rows that all scans of points in a query yielded.
async fn rows_read(fixture: &Fixture, sql: &str) -> usize {
    let plan = text(&fixture.ask(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap());
    let scans = plan.lines().filter(|line| line.contains("PointsExec"));
    let rows = scans.map(|line| line.split("output_rows=").nth(1).unwrap_or_else(|| panic!("{line}")));
    rows.map(|rest| rest.split([',', ']']).next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test]
async fn joins_read_the_points_of_the_runs_that_are_left() {
    let fixture = Fixture::new(|config| config.threads = 2).await;
    for (join, expected) in [
        ("JOIN runs ON points.run_id = runs.run_id WHERE runs.params['lr'] < 0.05", 2),
        ("JOIN runs ON points.run_id = runs.run_id WHERE runs.params['lr'] < 0.05 AND step > 0", 1),
        ("JOIN tags ON points.run_id = tags.run_id WHERE tags.value = 'vision'", 5),
        ("JOIN params ON points.run_id = params.run_id WHERE params.key = 'mixed' AND metric = 'loss'", 7),
        ("JOIN runs ON points.run_id = runs.run_id WHERE runs.status = 'no such'", 0),
        ("WHERE run_id IN (SELECT run_id FROM runs WHERE params['opt'] = 'sgd') AND step < 2", 2),
    ] {
        let sql = format!("SELECT points.lsn::bigint AS l FROM points {join} ORDER BY 1");
        let apart = sql.replace("FROM points", "FROM (SELECT * FROM points LIMIT 1000000000) points");
        assert_eq!(text(&fixture.ask(&sql).await.unwrap()), text(&fixture.ask(&apart).await.unwrap()), "{join}");
        assert_eq!(rows_read(&fixture, &sql).await, expected, "{join}");
    }
    assert_eq!(rows_read(&fixture, "SELECT run_id, count(*) FROM points GROUP BY run_id").await, 10);
}
