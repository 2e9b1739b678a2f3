//! Many traces that go at once.

use std::collections::BTreeMap;

use super::*;
use crate::trash::tests::{create, open};

/// One of the first project, without anything.
pub(crate) fn trace(trace_id: &str, started_at_us: i64) -> Trace {
    Trace {
        trace_id: trace_id.into(),
        project_id: "1".into(),
        started_at_us,
        duration_us: None,
        state: "OK".into(),
        client_request_id: None,
        request_preview: None,
        response_preview: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        assessments: Vec::new(),
        linked_runs: Vec::new(),
    }
}

/// All traces that a deletion took went in one transaction of the only connection that writes: nothing else of the metadata could be
/// changed until the last was gone.
#[tokio::test(flavor = "multi_thread")]
async fn other_changes_come_between_the_lots_of_a_deletion_of_traces() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["r"]).await;
    let ids: Vec<String> = (0..2 * LOT + 50).map(|number| format!("t{number:03}")).collect();
    for (id, at_us) in ids.iter().zip(0..) {
        app.put_trace(trace(id, at_us)).await.unwrap();
    }
    let left = async || {
        let mut left = Vec::new();
        for id in &ids {
            left.extend(app.get_trace(id).await.ok().map(|trace| trace.trace_id));
        }
        left
    };
    let spans = app.artifact_place(&format!("{}/traces.json", trace_directory("1", &ids[0]))).await.unwrap();
    app.put_artifact(&spans, app.begin_artifact(None).await.unwrap()).await.unwrap();
    // The blob of those spans cannot be removed: the deletion waits behind its first lot.
    let publishing = app.parts.artifacts.publishing.read().await;
    let (wanted, deleting) = (2 * LOT + 20, app.clone());
    let oldest = TraceSelection { started_by_us: Some(1_000), limit: Some(wanted as u32), trace_ids: Vec::new() };
    let deletion = tokio::spawn(async move { deleting.delete_traces("1", &oldest).await });
    while app.get_trace(&ids[0]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(left().await, ids[LOT..]);
    app.put_trace(trace("new", 1_001)).await.unwrap();
    drop(publishing);
    assert_eq!(deletion.await.unwrap().unwrap(), wanted);
    assert_eq!(left().await, ids[wanted..]);

    let named = TraceSelection { trace_ids: ids.clone(), ..TraceSelection::default() };
    let oldest_of_them = TraceSelection { limit: Some(10), ..named.clone() };
    assert_eq!(app.delete_traces("1", &oldest_of_them).await.unwrap(), 10);
    assert_eq!(left().await, ids[wanted + 10..]);
    assert_eq!(app.delete_traces("1", &named).await.unwrap(), 20);
    assert_eq!(left().await, Vec::<String>::new());
    app.get_trace("new").await.unwrap();
    app.shutdown().await.unwrap();
}
