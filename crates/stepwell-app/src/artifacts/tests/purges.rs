//! What goes with a run or a trace, and what only seems to be its own.

use std::collections::BTreeMap;

use super::*;
use crate::{Trace, run_directory, trace_directory, trash::tests::create};

fn trace(trace_id: &str) -> Trace {
    Trace {
        trace_id: trace_id.into(),
        project_id: "1".into(),
        started_at_us: 1,
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

/// The purge of a run called `traces` took the spans of all traces of its project, one called `models` the files of its models.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_nothing_of_traces_and_models_whatever_the_run_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    create(&app, &["traces", "models"]).await;
    let mut kept = vec!["1/models/m-1/artifacts/MLmodel".to_owned()];
    for trace_id in ["t", "artifacts"] {
        app.put_trace(trace(trace_id)).await.unwrap();
        kept.push(format!("{}/traces.json", trace_directory("1", trace_id)));
    }
    for path in &kept {
        put(&app, path, path.as_bytes()).await.unwrap();
    }
    for run in ["traces", "models"] {
        let own = format!("{}/own", run_directory("1", run));
        put(&app, &own, run.as_bytes()).await.unwrap();
        app.delete_run(run).await.unwrap();
        app.purge_run(run).await.unwrap();
        assert_eq!(code(get(&app, &own).await), Some(ErrorCode::ArtifactNotFound));
    }
    for path in &kept {
        assert_eq!(get(&app, path).await.unwrap(), path.as_bytes());
    }
    app.shutdown().await.unwrap();
}
