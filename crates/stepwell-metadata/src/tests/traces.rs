//! Traces that are sent again, whose project is in the trash, and that go.

use serde_json::{Value, json};

use super::{purges::artifact, *};
use crate::{DeletedTraces, Trace, TraceSelection};

pub(super) fn trace(trace_id: &str, project_id: &str, assessments: Vec<Value>) -> Trace {
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

/// A client that had no answer sends the trace again: each time it had its assessments once more.
#[tokio::test]
async fn a_trace_sent_again_has_its_assessments_once() {
    let (_dir, metadata, project_id) = opened().await;
    let with_id = |value: i64| json!({"assessment_id": "a-1", "feedback": {"value": value}});
    let without = |value: i64| json!({"assessment_name": "n", "feedback": {"value": value}});
    let put =
        async |assessments| metadata.put_trace(trace("t", &project_id, assessments), 2).await.unwrap().assessments;
    let first = vec![with_id(1), without(1), without(1)];
    assert_eq!(put(first.clone()).await, first);
    assert_eq!(put(first.clone()).await, first);
    let both = [first, vec![without(2)]].concat();
    assert_eq!(put(vec![with_id(2), without(2)]).await, both);
    // An id that says nothing is none: others were taken for the one there was.
    for id in [Value::Null, json!("")] {
        let nameless = |value: i64| json!({"assessment_id": id, "feedback": {"value": value}});
        let before = put(vec![nameless(1)]).await;
        assert_eq!(put(vec![nameless(1), nameless(2)]).await, [before, vec![nameless(2)]].concat());
    }
}

/// A trace of a project in the trash was not seen, and taken away by one of its id: a restore did not bring it back.
#[tokio::test]
async fn a_trace_of_a_project_in_the_trash_stays_there() {
    let (_dir, metadata, project_id) = opened().await;
    let other = metadata.create_project("q", 1).await.unwrap().project_id;
    let mine = metadata.put_trace(trace("t", &project_id, Vec::new()), 2).await.unwrap();
    metadata.trash_project(&project_id, 3).await.unwrap();
    let refused = metadata.put_trace(trace("t", &other, Vec::new()), 4).await.unwrap_err();
    assert!(matches!(refused, MetadataError::InTrash { .. }), "{refused}");
    assert_eq!(refused.kind(), stepwell_types::ErrorKind::Conflict);
    metadata.restore_project(&project_id, false, 5).await.unwrap();
    assert_eq!(metadata.trace("t").await.unwrap(), Some(mine));
    metadata.put_trace(trace("t", &project_id, Vec::new()), 6).await.unwrap();
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
