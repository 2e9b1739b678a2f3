//! Searches through the API against brute force over what `runs/get` says of each run, and against MLflow's own examples.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use stepwell_app::CreateRun;
use stepwell_types::{Batch, SeriesKey};

use super::*;
use crate::mlflow::search::tests::{
    Sample,
    generated::{Wanted, sample, wanted},
};

/// All pages of a search, by run id.
async fn search(server: &Server, mut request: Value, page: usize) -> Vec<String> {
    let mut found = Vec::new();
    request["max_results"] = page.into();
    loop {
        let answer = server.post("runs/search", request.clone()).await;
        let runs = answer["runs"].as_array().unwrap();
        assert!(runs.len() <= page);
        found.extend(runs.iter().map(|run| run["info"]["run_id"].as_str().unwrap().to_owned()));
        match answer.get("next_page_token") {
            Some(token) => request["page_token"] = token.clone(),
            None => return found,
        }
    }
}

/// A run as a sample has it, and the sample as it is then.
async fn log(server: &Server, experiment_id: &str, sample: &Sample) -> Sample {
    let start = sample.start().unwrap_or(0).max(0);
    let made = server.post("runs/create", json!({"experiment_id": experiment_id, "start_time": start})).await;
    let run_id = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let pairs = |texts: &BTreeMap<String, String>| -> Vec<Value> {
        texts.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
    };
    let metric = |(key, value): (&String, &f64)| json!({"key": key, "value": super::super::args::float_json(*value), "timestamp": 1, "step": 0});
    let metrics: Vec<Value> = sample.metrics.iter().map(metric).collect();
    let batch =
        json!({"run_id": run_id, "metrics": metrics, "params": pairs(&sample.params), "tags": pairs(&sample.tags)});
    server.post("runs/log-batch", batch).await;
    sample.clone().named(&run_id).with("start_time", start)
}

#[tokio::test]
async fn searches_find_what_brute_force_finds() {
    let server = Server::start().await;
    let mut runner = TestRunner::deterministic();
    let experiments = [server.experiment("a").await, server.experiment("b").await];
    let mut runs: Vec<(usize, Sample, bool)> = Vec::new();
    for number in 0..36 {
        let sample = sample().new_tree(&mut runner).unwrap().current();
        let run = log(&server, &experiments[number % 2], &sample).await;
        runs.push((number % 2, run, false));
    }
    for round in 0..150usize {
        // Changes in between, which the next search must know of.
        let (_, run, is_deleted) = &mut runs[round % 36];
        match round % 3 {
            0 => {
                let verb = if *is_deleted { "runs/restore" } else { "runs/delete" };
                server.post(verb, json!({"run_id": run.name})).await;
                *is_deleted = !*is_deleted;
            }
            1 if !*is_deleted => {
                server.post("runs/set-tag", json!({"run_id": run.name, "key": "a", "value": "x"})).await;
                server
                    .post("runs/log-metric", json!({"run_id": run.name, "key": "a", "value": 7, "timestamp": 2}))
                    .await;
                run.tags.insert("a".to_owned(), "x".to_owned());
                run.metrics.insert("a".to_owned(), 7.0);
            }
            _ => {}
        }
        let ids: Vec<&str> = runs.iter().map(|(_, run, _)| run.name.as_str()).collect();
        let clauses = proptest::collection::vec(wanted(), 0..3).new_tree(&mut runner).unwrap().current();
        let clauses: Vec<Wanted> = clauses.into_iter().map(|clause| clause.about(&ids)).collect();
        let filter = clauses.iter().map(Wanted::text).collect::<Vec<_>>().join(" AND ");
        let of: &[usize] = [&[0][..], &[1], &[0, 1]][round % 3];
        let view = ["ACTIVE_ONLY", "DELETED_ONLY", "ALL"][round / 3 % 3];
        let request = json!({
            "experiment_ids": of.iter().map(|&of| &experiments[of]).collect::<Vec<_>>(),
            "filter": filter,
            "run_view_type": view,
        });
        let found = search(&server, request.clone(), 1 + round % 7).await;
        let is_shown = |is_deleted: bool| match view {
            "ACTIVE_ONLY" => !is_deleted,
            "DELETED_ONLY" => is_deleted,
            _ => true,
        };
        let mut expected: Vec<&Sample> = runs
            .iter()
            .filter(|(experiment, run, is_deleted)| {
                of.contains(experiment) && is_shown(*is_deleted) && clauses.iter().all(|clause| clause.holds(run))
            })
            .map(|(_, run, _)| run)
            .collect();
        expected.sort_by_key(|run| (-run.start().unwrap_or(0), run.name.clone()));
        let expected: Vec<&str> = expected.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(found, expected, "round {round}: {request}");

        for (order, is_ascending) in [("metrics.a", true), ("metrics.a DESC", false)] {
            let mut request = request.clone();
            request["order_by"] = json!([order]);
            let ordered = search(&server, request, 5).await;
            assert_eq!(ordered.iter().collect::<BTreeSet<_>>(), found.iter().collect::<BTreeSet<_>>());
            let value = |run_id: &String| {
                let run = runs.iter().find(|(_, run, _)| run.name == *run_id).map(|(_, run, _)| run);
                run.and_then(|run| run.metrics.get("a").copied())
            };
            let class = |run_id: &String| value(run_id).map_or(2, |value| u8::from(value.is_nan()));
            for pair in ordered.windows(2) {
                assert!(class(&pair[0]) <= class(&pair[1]), "{order}: {pair:?}");
                if class(&pair[1]) == 0 {
                    let is_right = if is_ascending {
                        value(&pair[0]) <= value(&pair[1])
                    } else {
                        value(&pair[0]) >= value(&pair[1])
                    };
                    assert!(is_right, "{order}: {pair:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_found_is_shown_whole_and_the_latest_value_counts() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let metric = |value: f64, timestamp: i64, step: i64| json!({"key": "m", "value": value, "timestamp": timestamp, "step": step});
    // The last written is not the latest: a lower step, an earlier time and a lower value come after it.
    let metrics = [metric(1.0, 9, 2), metric(5.0, 10, 2), metric(3.0, 10, 2), metric(9.0, 5, 2), metric(8.0, 99, 1)];
    server
        .post(
            "runs/log-batch",
            json!({"run_id": run_id, "metrics": metrics, "params": [{"key": "p", "value": "0.10"}]}),
        )
        .await;
    let body = |filter: &str| json!({"experiment_ids": ["0"], "filter": filter});
    let answer = server.post("runs/search", body("metrics.m = 5 AND params.p = '0.10' AND status = 'RUNNING'")).await;
    assert_eq!(answer["runs"], json!([server.read_run(&run_id).await]));
    assert_eq!(answer["runs"][0]["data"]["metrics"][0]["value"], 5.0);
    assert_eq!(server.post("runs/search", body("metrics.m != 5")).await["runs"], json!([]));
    let name = answer["runs"][0]["info"]["run_name"].as_str().unwrap();
    for filter in [
        format!("run_name = '{name}'"),
        format!("tags.mlflow.runName LIKE '{name}'"),
        format!("run_id IN ('{run_id}')"),
    ] {
        assert_eq!(server.post("runs/search", body(&filter)).await["runs"].as_array().unwrap().len(), 1, "{filter}");
    }
    let native = CreateRun {
        project_id: Some("0".into()),
        name: Some("native".into()),
        user_name: Some("ada".into()),
        notes: Some("by hand".into()),
        git_commit: Some("abc".into()),
        parent_run_id: Some(run_id.clone()),
        tags: BTreeMap::from([("team".into(), "vision".into())]),
        ..CreateRun::default()
    };
    let native = server.app.create_run(native).await.unwrap().run_id;
    let shown = server.read_run(&native).await;
    let tags = shown["data"]["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 6, "{tags:?}");
    for tag in tags {
        let filter = format!("tags.`{}` = {} AND run_id = '{native}'", tag["key"].as_str().unwrap(), tag["value"]);
        assert_eq!(server.post("runs/search", body(&filter)).await["runs"], json!([shown]), "{filter}");
    }
    let nowhere = server.post("runs/search", json!({"experiment_ids": ["77"]})).await;
    assert_eq!(nowhere["runs"], json!([]));
}

#[tokio::test]
async fn runs_are_found_by_their_datasets() {
    let server = Server::start().await;
    let (first, second, none) = (server.run().await, server.run().await, server.run().await);
    let read = async |run_id: &str, name: &str, digest: &str, context: &str| {
        let dataset = json!({"name": name, "digest": digest, "source_type": "local", "source": "x"});
        let tags = json!([{"key": "mlflow.data.context", "value": context}]);
        let body = json!({"run_id": run_id, "datasets": [{"dataset": dataset, "tags": tags}]});
        server.post("runs/log-inputs", body).await;
    };
    read(&first, "mnist", "d1", "train").await;
    read(&first, "cifar", "d2", "eval").await;
    read(&second, "mnist", "d3", "eval").await;
    let found = async |filter: &str| -> BTreeSet<String> {
        let request = json!({"experiment_ids": ["0"], "filter": filter});
        search(&server, request, 10).await.into_iter().collect()
    };
    let runs = |runs: &[&String]| runs.iter().map(|&run| run.clone()).collect::<BTreeSet<_>>();
    assert_eq!(found("").await, runs(&[&first, &second, &none]));
    assert_eq!(found("dataset.name = 'mnist'").await, runs(&[&first, &second]));
    assert_eq!(found("datasets.name LIKE 'ci%' AND dataset.digest = 'd1'").await, runs(&[&first]));
    assert_eq!(found("dataset.context = 'train'").await, runs(&[&first]));
    assert_eq!(found("dataset.digest IN ('d2', 'd3')").await, runs(&[&first, &second]));
    assert!(found("dataset.digest = 'd2' AND dataset.digest = 'd3'").await.is_empty());
    let request = json!({"experiment_ids": ["0"], "filter": "dataset.name = 'cifar'"});
    assert_eq!(server.post("runs/search", request).await["runs"], json!([server.read_run(&first).await]));
}

#[tokio::test]
async fn refusals_of_searches_are_mlflow_s() {
    let server = Server::start().await;
    let cases = [
        (json!({"filter": "metric.acc >= 0.94 OR x = 1"}), "Invalid clause(s) in filter string"),
        (json!({"max_results": 50_001}), "Invalid value 50001 for parameter 'max_results' supplied"),
        (
            json!({"max_results": 0}),
            "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer",
        ),
        (json!({"page_token": "x"}), "Invalid page token"),
        (json!({"order_by": "x"}), "Invalid value \"x\" for parameter 'order_by' supplied"),
        (json!({"filter": 5}), "Invalid value 5 for parameter 'filter' supplied"),
        (json!({"run_view_type": "SOME"}), "Invalid value \"SOME\" for parameter 'run_view_type' supplied"),
        (json!({"experiment_ids": ["x"]}), "Invalid experiment ID 'x'"),
    ];
    for (body, expected) in cases {
        let (code, message) = server.refusal("runs/search", body.clone()).await;
        assert_eq!(code, "INVALID_PARAMETER_VALUE", "{body}");
        assert!(message.contains(expected), "{body}: {message}");
    }
    let (_, message) = server.refusal("experiments/search", json!({"max_results": 50_001})).await;
    assert!(message.contains("It must be at most 50000"), "{message}");
}

#[tokio::test]
async fn experiments_are_found_by_name_tag_and_time_in_an_order() {
    let server = Server::start().await;
    for name in ["Abc", "abcde", "x"] {
        let tags = json!([{"key": "team", "value": name.to_uppercase()}]);
        server.post("experiments/create", json!({"name": name, "tags": tags})).await;
    }
    let found = async |request: Value| -> String {
        let answer = server.post("experiments/search", request).await;
        let experiments = answer["experiments"].as_array().unwrap();
        experiments.iter().map(|experiment| experiment["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(json!({"order_by": ["name"]})).await, "Abc Default abcde x");
    assert_eq!(found(json!({"order_by": ["experiment_id DESC"]})).await, "x abcde Abc Default");
    assert_eq!(found(json!({"filter": "name LIKE 'abc%'"})).await, "abcde");
    assert_eq!(found(json!({"filter": "name ILIKE 'abc%'", "order_by": ["name ASC"]})).await, "Abc abcde");
    assert_eq!(found(json!({"filter": "tags.team = 'X'"})).await, "x");
    assert_eq!(found(json!({"filter": "tags.team IS NULL"})).await, "Default");
    assert_eq!(found(json!({"filter": "experiment_id IN ('0')"})).await, "Default");
    let x = server.get("experiments/get-by-name?experiment_name=x").await["experiment"]["experiment_id"].take();
    server.post("experiments/delete", json!({"experiment_id": x})).await;
    assert_eq!(found(json!({"order_by": ["name"]})).await, "Abc Default abcde");
    assert_eq!(found(json!({"view_type": "DELETED_ONLY"})).await, "x");
    assert_eq!(found(json!({"view_type": 3, "order_by": ["name"], "max_results": 2})).await, "Abc Default");
    let page = server.get("experiments/search?max_results=2&order_by=name").await;
    let next = page["next_page_token"].as_str().unwrap();
    let last = server.get(&format!("experiments/search?max_results=2&order_by=name&page_token={next}")).await;
    assert_eq!(last["experiments"][0]["name"], "abcde");
    assert_eq!(last.get("next_page_token"), None);
}

/// The latest values of all metrics of a page, and its text, were in no budget.
#[tokio::test(flavor = "multi_thread")]
async fn i9_pages_of_runs_past_the_memory_of_those_who_read_are_refused() {
    const METRICS: usize = 20_000;
    let server = Server::with_read_memory(8 << 20).await;
    for _ in 0..4 {
        let run_id = server.run().await;
        let series = (0..METRICS).map(|at| SeriesKey::new("", format!("m{at}"), run_id.as_str())).collect();
        let (zeros, values) = (vec![0; METRICS], vec![0.5; METRICS]);
        let batch = Batch::new(series, (0..METRICS as u32).collect(), zeros.clone(), zeros, values).unwrap();
        server.app.ingest(batch, None).await.unwrap();
    }
    let page = async |runs: usize| {
        let asked = json!({"experiment_ids": ["0"], "max_results": runs}).to_string();
        server.answer("POST", "runs/search", None, asked.as_bytes()).await
    };
    let refused = page(4).await;
    let text = String::from_utf8_lossy(&refused.body);
    assert!(refused.status == 400 && text.contains("INVALID_PARAMETER_VALUE"), "{text}");
    let told = page(1).await;
    assert_eq!((told.status, told.counted_by.is_some()), (200, true), "what was refused is not held");
    let shown: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(shown["runs"][0]["data"]["metrics"].as_array().unwrap().len(), METRICS);
    let by_metric = json!({"experiment_ids": ["0"], "max_results": 1, "filter": "metrics.m7 = 0.5"});
    drop(told);
    assert_eq!(server.post("runs/search", by_metric).await["runs"].as_array().unwrap().len(), 1);
}

/// A dataset's profile may have megabytes, and each run that read it shows it.
#[tokio::test(flavor = "multi_thread")]
async fn i9_texts_of_datasets_count_as_read() {
    let server = Server::with_read_memory(8 << 20).await;
    for (megabytes, status) in [(1, 200), (5, 400)] {
        let experiment_id = server.experiment(&format!("{megabytes}")).await;
        let made = server.post("runs/create", json!({"experiment_id": experiment_id})).await;
        let dataset = json!({"name": "d", "digest": megabytes.to_string(), "source_type": "local", "source": "{}",
            "profile": "x".repeat(megabytes << 20)});
        let inputs = json!({"run_id": made["run"]["info"]["run_id"], "datasets": [{"dataset": dataset}]});
        server.post("runs/log-inputs", inputs).await;
        let asked = json!({"experiment_ids": [experiment_id]}).to_string();
        let told = server.answer("POST", "runs/search", None, asked.as_bytes()).await;
        let text = String::from_utf8_lossy(&told.body[..told.body.len().min(300)]).into_owned();
        assert_eq!(told.status, status, "{megabytes}: {text}");
    }
}
