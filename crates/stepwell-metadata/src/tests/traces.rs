//! Traces that are sent again, whose project is in the trash, and that go.

use serde_json::Value;

use super::{purges::artifact, *};
use crate::{DeletedTraces, Trace, TraceSelection};

fn trace(trace_id: &str, project_id: &str, assessments: Vec<Value>) -> Trace {
    Trace {
        trace_id: trace_id.into(),
        project_id: project_id.into(),
        started_at_us: 1,
        duration_us: None,
        state: "OK".into(),
        client_request_id: None,
        request_preview: None,
        response_preview: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        assessments,
        linked_runs: Vec::new(),
    }
}

async fn opened() -> (tempfile::TempDir, Metadata, String) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    let project = metadata.create_project("p", 0).await.unwrap();
    (dir, metadata, project.project_id)
}

/// Spans whose trace was gone nobody found again: a crash between the two left them for ever.
#[tokio::test]
async fn i7_the_spans_of_a_trace_go_in_its_transaction() {
    let (_dir, metadata, project_id) = opened().await;
    for (trace_id, digit) in [("t1", 'a'), ("t2", 'b'), ("t3", 'c')] {
        metadata.put_trace(trace(trace_id, &project_id, Vec::new()), 2).await.unwrap();
        metadata.put_artifact(&artifact(&format!("traces/{trace_id}/x"), digit), None).await.unwrap();
    }
    let selection = TraceSelection { trace_ids: vec!["t1".into(), "t3".into()], ..TraceSelection::default() };
    let delete = || metadata.delete_traces(project_id.parse().unwrap(), &selection, |id| format!("traces/{id}"), 3);
    super::refuse_commits(&metadata).await;
    assert!(delete().await.is_err());
    assert!(metadata.trace("t1").await.unwrap().is_some());
    assert!(metadata.artifact("traces/t1/x").await.unwrap().is_some());
    metadata.writer.acquire().await.unwrap().lock_handle().await.unwrap().remove_commit_hook();
    let hashes = ["a", "c"].map(|digit| digit.repeat(64)).into();
    assert_eq!(delete().await.unwrap(), DeletedTraces { traces: 2, hashes });
    assert!(metadata.trace("t1").await.unwrap().is_none() && metadata.trace("t2").await.unwrap().is_some());
    assert!(metadata.artifact("traces/t1/x").await.unwrap().is_none());
    assert!(metadata.artifact("traces/t2/x").await.unwrap().is_some());
}
