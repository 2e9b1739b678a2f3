//! Functions over whole series see what the tables see.

use datafusion::arrow::{array::AsArray, datatypes::Int64Type};
use stepwell_engine::Deletion;

use super::*;

async fn runs(fixture: &Fixture, call: &str) -> String {
    let batches = fixture.ask(&format!("SELECT DISTINCT run_id FROM {call} ORDER BY run_id")).await.unwrap();
    datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn what_is_deleted_or_hidden_is_in_no_series() {
    let fixture = Fixture::new(|_| {}).await;
    let project_id: std::sync::Arc<str> = fixture.projects[0].project_id.as_str().into();
    let calls = ["m4('loss', 5)", "minmax('loss', 5)", "lttb('loss', 5)", "align('loss', 1, 'last', 'a', 'b')"];
    for call in calls {
        let all = runs(&fixture, call).await;
        assert!(all.contains("| a ") && all.contains("| b "), "{all}");
    }
    let (metric, run_id) = (Some("loss".into()), Some("b".into()));
    fixture.engine.delete(Deletion { project_id: project_id.clone(), metric, run_id, before_us: None }).unwrap();
    fixture.engine.hide(vec![(project_id, "a".into())]);
    fixture.ingest(&fixture.projects[0], &[("loss", "c", 3, 1.0)]);
    for call in &calls[..3] {
        let left = runs(&fixture, call).await;
        assert!(!left.contains("| a ") && !left.contains("| b ") && left.contains("| c "), "{left}");
    }
    let none = runs(&fixture, calls[3]).await;
    assert!(!none.contains("| a ") && !none.contains("| b "), "{none}");
}

/// A grid may be far larger than the points that it is made of; it counts all the same (I9).
#[tokio::test]
async fn i9_a_grid_counts_against_the_memory_of_its_query() {
    let fixture = Fixture::new(|config| config.memory_bytes = 4 << 20).await;
    fixture.ingest(&fixture.projects[0], &[("far", "a", 0, 1.0), ("far", "a", 900_000, 2.0)]);
    assert!(fixture.ask("SELECT count(*) FROM align('far', 100)").await.is_ok());
    let refused = fixture.ask("SELECT count(*) FROM align('far', 1)").await;
    assert!(matches!(refused, Err(QueryError::MemoryExceeded { .. })), "{refused:?}");
}

/// Each row held its run id, of up to hundreds of bytes, in batches of up to a million rows.
#[tokio::test]
async fn i9_batches_of_a_grid_are_small_and_hold_the_run_once() {
    let fixture = Fixture::new(|_| {}).await;
    let run = "r".repeat(700);
    fixture.ingest(&fixture.projects[0], &[("far", &run, 0, 1.0), ("far", &run, 99_999, 2.0)]);
    let batches = fixture.ask("SELECT run_id, step, value FROM align('far', 1, 'linear')").await.unwrap();
    let bytes = batches.iter().map(RecordBatch::get_array_memory_size).max().unwrap();
    assert!(bytes < 1 << 20, "{bytes}");
    let steps: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(steps, (0..100_000).collect::<Vec<i64>>());
    let names = batches.iter().flat_map(|batch| batch.column(0).as_string_view().iter().map(Option::unwrap));
    assert!(names.into_iter().all(|name| name == run));
}

#[tokio::test]
async fn series_of_more_rows_than_a_batch_come_whole() {
    let fixture = Fixture::new(|_| {}).await;
    for (run, points) in [("a", 8_192), ("b", 8_193), ("c", 20_000)] {
        let points: Vec<_> = (0..points).map(|step| ("long", run, step, step as f64)).collect();
        fixture.ingest(&fixture.projects[0], &points);
    }
    let sql = "SELECT run_id, count(*) AS n, count(DISTINCT step) AS s, max(value) AS v, max(timestamp) AS t \
               FROM lttb('long', 100000) GROUP BY 1 ORDER BY 1";
    let all = sql.replace("lttb('long', 100000)", "(SELECT * FROM points WHERE metric = 'long')");
    let text = |batches: Vec<_>| datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let (made, expected) = (text(fixture.ask(sql).await.unwrap()), text(fixture.ask(&all).await.unwrap()));
    assert_eq!(made, expected);
    assert!(made.contains("| c      | 20000 "), "{made}");
}
