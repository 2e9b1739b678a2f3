//! What joins let scans skip is no point that the query asks for.

use datafusion::arrow::{array::RecordBatch, util::pretty::pretty_format_batches};

use super::Fixture;

fn text(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// Asks as it is and with scans that no filter reaches.
async fn check(fixture: &Fixture, sql: &str) -> String {
    let apart = sql.replace("points ", "(SELECT * FROM points LIMIT 1000000000) ");
    assert_ne!(sql, apart);
    let (skipping, whole) = (text(&fixture.ask(sql).await.unwrap()), text(&fixture.ask(&apart).await.unwrap()));
    assert_eq!(skipping, whole, "{sql}");
    skipping
}

async fn three_metrics() -> Fixture {
    let fixture = Fixture::new(|config| config.threads = 2).await;
    let mut points = Vec::new();
    for (metric, runs, steps) in
        [("loss", &["a", "c"][..], 12_000), ("acc", &["b"], 9_000), ("rate", &["b"], 9_000), ("b", &["a"], 1)]
    {
        for run in runs {
            points.extend((0..steps).map(|step| (metric, *run, step, step as f64)));
        }
    }
    fixture.ingest(&fixture.projects[0], &points);
    fixture.engine.flush().unwrap();
    fixture
}

/// Regression: the keys of the join with `runs`, which are of `q`, came down to `p` as well, since a filter goes from operator to
/// operator by the names of its columns. The points of runs a and c were missing.
#[tokio::test]
async fn a_filter_on_one_of_two_columns_of_a_name_reaches_no_other() {
    let fixture = three_metrics().await;
    for key in ["q.run_id", "p.run_id"] {
        let sql = format!(
            "SELECT p.run_id, q.run_id, count(*) FROM points p JOIN points q ON p.step = q.step \
             JOIN points s ON s.step = q.step AND s.run_id = q.run_id JOIN runs r ON r.run_id = {key} \
             WHERE r.params['lr'] > 0.5 AND p.metric = 'loss' AND q.metric = 'acc' AND s.metric = 'rate' \
             GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let answer = check(&fixture, &sql).await;
        assert_eq!(answer.contains("9000"), key == "q.run_id", "{answer}");
    }
}

#[tokio::test]
async fn a_sort_with_a_limit_filters_by_the_column_it_sorts_by() {
    let fixture = three_metrics().await;
    // The scan has the filter of the join, and that of the sort where its column is the only one of its name.
    for (shown, by, filters) in [
        ("p.step, q.step", "q.step DESC, p.run_id", 1),
        ("p.step, q.step", "p.step DESC, p.run_id", 1),
        ("p.step, q.step", "q.run_id DESC, p.step DESC, p.run_id", 1),
        ("p.step, q.value", "p.step DESC, p.run_id", 2),
    ] {
        let sql = format!(
            "SELECT {shown}, p.run_id FROM points p JOIN points q ON p.step + 8000 = q.step + 0 \
             WHERE p.metric = 'loss' AND q.metric = 'acc' ORDER BY {by} LIMIT 3"
        );
        check(&fixture, &sql).await;
        let plan = text(&fixture.ask(&format!("EXPLAIN {sql}")).await.unwrap());
        assert!(plan.contains(&format!("dynamic_filters={filters}")), "{filters} {plan}");
    }
}

/// Inputs of a union go together by their places, whatever the columns of each are called. The planner renames those of the others to
/// those of the first; else the keys of the join would come down to the second input as those of its `x`.
#[tokio::test]
async fn a_filter_on_a_column_of_a_union_reaches_the_same_place_of_each_input() {
    let fixture = three_metrics().await;
    let sql = "SELECT u.x, count(*) FROM (SELECT run_id AS x, metric AS y FROM points p UNION ALL \
               SELECT DISTINCT metric AS y, run_id AS x FROM points p) u \
               JOIN runs r ON r.run_id = u.x WHERE r.params['lr'] > 0.5 GROUP BY 1";
    let answer = check(&fixture, sql).await;
    assert!(answer.contains("| b | 18004 "), "{answer}");
}

/// The first ten rows would be looked for among those that the join finds a partner for.
#[tokio::test]
async fn a_filter_of_a_join_stays_above_a_limit() {
    let fixture = Fixture::new(|config| config.threads = 1).await;
    let points: Vec<_> = (0..100).map(|step| ("rate", "a", step, 1.0)).collect();
    fixture.ingest(&fixture.projects[0], &points);
    fixture.engine.flush().unwrap();
    for (step, rows) in [(50, 0), (5, 1)] {
        let sql = format!(
            "SELECT f.step FROM (VALUES ({step})) v(s) JOIN (SELECT step FROM points WHERE metric = 'rate' \
             AND run_id = 'a' AND value > 0 ORDER BY step LIMIT 10) f ON f.step = v.s"
        );
        let batches = fixture.ask(&sql).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{step}");
        let plan = text(&fixture.ask(&format!("EXPLAIN {sql}")).await.unwrap());
        // The limit is where a filter once went through it.
        assert!(plan.contains("FilterExec: value@1 > 0, projection=[step@0], fetch=10"), "{plan}");
        assert!(!plan.contains("dynamic_filters"), "{plan}");
    }
}

/// A semi join hands a filter on its key to its other side too, whose key may have another name.
#[tokio::test]
async fn a_filter_on_the_key_of_a_semi_join_reaches_no_other_column_of_its_name() {
    let fixture = three_metrics().await;
    let sql = "SELECT p.run_id, count(*) FROM (SELECT * FROM points p WHERE p.metric = 'acc' AND EXISTS \
               (SELECT 1 FROM points q WHERE q.metric = p.run_id AND q.run_id <> p.metric)) p \
               JOIN runs r ON r.run_id = p.run_id WHERE r.params['lr'] > 0.5 GROUP BY 1";
    let answer = check(&fixture, sql).await;
    assert!(answer.contains("| b      | 9000"), "{answer}");
}
