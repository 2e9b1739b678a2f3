//! Functions over whole series see what the tables see.

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
