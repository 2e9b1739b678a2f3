//! Histories of metrics.

use serde_json::{Value, json};
use stepwell_types::{Batch, SeriesKey};

use super::Server;

async fn log(server: &Server, run_id: &str, points: &[(i64, i64, Value)]) {
    let metrics: Vec<Value> = points
        .iter()
        .map(|(timestamp, step, value)| json!({"key": "m", "timestamp": timestamp, "step": step, "value": value}))
        .collect();
    server.post("runs/log-batch", json!({"run_id": run_id, "metrics": metrics})).await;
}

fn points(page: &Value) -> Vec<(i64, i64, Value)> {
    let point =
        |point: &Value| (point["timestamp"].as_i64().unwrap(), point["step"].as_i64().unwrap(), point["value"].clone());
    page["metrics"].as_array().unwrap().iter().map(point).collect()
}

#[tokio::test]
async fn a_history_is_in_order_and_has_what_is_alike_once() {
    let server = Server::start().await;
    let run_id = server.run().await;
    log(&server, &run_id, &[(20, 1, json!(2.5)), (10, 5, json!("NaN")), (20, 1, json!(-1.0)), (20, 1, json!(2.5))])
        .await;
    log(&server, &run_id, &[(10, 5, json!("NaN")), (20, 1, json!(2.5)), (20, 0, json!("-Infinity"))]).await;
    let expected = [(10, 5, json!("NaN")), (20, 0, json!("-Infinity")), (20, 1, json!(-1.0)), (20, 1, json!(2.5))];
    let path = format!("metrics/get-history?run_id={run_id}&metric_key=m");
    let page = server.get(&path).await;
    assert_eq!((points(&page), page.get("next_page_token")), (expected.to_vec(), None));
    assert_eq!(page["metrics"][0]["key"], "m");
    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("{path}&max_results=3&page_token={token}")).await;
        paged.extend(points(&page));
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, expected);
    let none = server.get(&format!("metrics/get-history?run_uuid={run_id}&metric_key=other")).await;
    assert_eq!(none, json!({}));
    assert_eq!(server.get("metrics/get-history?run_id=nobody&metric_key=m").await, json!({}));
    let (_, text) = server.refusal(&format!("{path}&max_results=0"), Value::Null).await;
    assert_eq!(text, "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer.");
    let (_, text) = server.refusal(&format!("{path}&page_token=x"), Value::Null).await;
    assert_eq!(text, "Invalid page token, could not base64-decode");
}

#[tokio::test]
async fn histories_of_many_runs_come_together_whole_or_thinned_out() {
    let server = Server::start().await;
    let mut runs = [server.run().await, server.run().await];
    runs.sort();
    for run_id in &runs {
        let steps: Vec<_> = (0..10).map(|step| (100 - step, step, json!(step))).collect();
        log(&server, run_id, &steps).await;
    }
    let [a, b] = &runs;
    let bulk = server.get(&format!("metrics/get-history-bulk?run_id={b}&run_id={a}&metric_key=m&max_results=13")).await;
    let of = |page: &Value, run_id: &str| -> Vec<i64> {
        let own = page["metrics"].as_array().unwrap().iter().filter(|point| point["run_id"] == run_id);
        own.map(|point| point["step"].as_i64().unwrap()).collect()
    };
    assert_eq!((of(&bulk, a), of(&bulk, b)), ((0..10).rev().collect(), vec![9, 8, 7]), "by run, then time");
    let path = format!("metrics/get-history-bulk-interval?run_ids={a}&run_ids={b}&metric_key=m");
    let thinned = server.get(&format!("{path}&max_results=4")).await;
    assert_eq!((of(&thinned, a), of(&thinned, b)), (vec![0, 3, 6, 9], vec![0, 3, 6, 9]));
    let range = server.get(&format!("{path}&start_step=3&end_step=5")).await;
    assert_eq!(of(&range, a), [3, 4, 5]);
    for (query, expected) in [
        ("start_step=3", "If either start step or end step are specified, both must be specified."),
        ("start_step=3&end_step=2", "end_step must be greater than start_step. Found start_step=3 and end_step=2."),
        (
            "max_results=2501",
            "max_results must be between 1 and 2500. See the API docs for more information about request parameters.",
        ),
    ] {
        assert_eq!(server.refusal(&format!("{path}&{query}"), Value::Null).await.1, expected);
    }
    let many: String = (0..101).map(|run| format!("&run_ids=r{run}")).collect();
    let (_, text) = server.refusal(&format!("metrics/get-history-bulk-interval?metric_key=m{many}"), Value::Null).await;
    assert!(text.starts_with("GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received 101"));
}

/// Points of a metric, the later ones with the earlier times if `backwards`.
async fn ingest(server: &Server, run_id: &str, metric: &str, count: usize, backwards: bool) {
    let key = SeriesKey::new("", metric, run_id);
    let steps: Vec<i64> = (0..count as i64).collect();
    let times = steps.iter().map(|step| 1_790_000_000_000_000 + if backwards { -step } else { *step } * 1_000);
    let values = steps.iter().map(|step| 1.0 / (step + 1) as f64).collect();
    let batch = Batch::new(vec![key], vec![0; count], steps.clone(), times.collect(), values).unwrap();
    server.app.ingest(batch, None).await.unwrap();
}

/// The answer was made in no budget: a few clients that asked for whole histories took all the memory there is.
#[tokio::test(flavor = "multi_thread")]
async fn i9_histories_longer_than_the_memory_of_those_who_read_are_refused() {
    let server = Server::with_read_memory(24 << 20).await;
    let run_id = server.run().await;
    ingest(&server, &run_id, "short", 100_000, false).await;
    ingest(&server, &run_id, "long", 300_000, false).await;
    ingest(&server, &run_id, "backwards", 300_000, true).await;
    let ask = async |path: &str, query: &str| {
        let query = format!("run_id={run_id}&run_ids={run_id}&{query}");
        server.answer("GET", path, Some(&query), b"").await
    };
    let whole = async |metric: &str| ask("metrics/get-history", &format!("metric_key={metric}")).await;
    for metric in ["long", "backwards", "long"] {
        let refused = whole(metric).await;
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert_eq!((refused.status, refused.retry_after_seconds), (400, None), "{metric}: {text}");
        assert!(text.contains("INVALID_PARAMETER_VALUE"), "{text}");
    }
    let told = whole("short").await;
    assert_eq!(told.status, 200, "what was refused is not held");
    let page: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(page["metrics"].as_array().unwrap().len(), 100_000);
    // Two answers that nobody has read yet, and a third: there may be room later.
    let another = whole("short").await;
    let busy = whole("short").await;
    assert_eq!((told.counted_by.is_some(), another.status, busy.status), (true, 200, 503));
    assert!(busy.retry_after_seconds.is_some());
    drop(told);
    assert_eq!(whole("short").await.status, 200);
    drop(another);
    assert_eq!(ask("metrics/get-history", "metric_key=long&max_results=1000").await.status, 200, "page by page");
    let thinned = ask("metrics/get-history-bulk-interval", "metric_key=long&max_results=2500").await;
    assert_eq!(thinned.status, 200);
    let thinned: Value = serde_json::from_slice(&thinned.body).unwrap();
    assert_eq!(thinned["metrics"].as_array().unwrap().len(), 2_500);
}
