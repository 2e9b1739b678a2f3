//! Every row of the call table of the HTTP API, over a real socket.

use std::io::Write;

use serde_json::{Value, json};
use stepwell_tests::{
    Http, Server,
    arrow_stream::{self, Row},
};

/// Runs `test` against a fresh server whose log must stay free of warnings.
fn with_server(test: impl FnOnce(&Http)) {
    let server = Server::start().unwrap();
    test(&server.http());
    server.check_log(&[]).unwrap();
}

fn create_run(http: &Http, run_id: &str) {
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": run_id})).unwrap().expect(201).unwrap();
}

fn row(run_id: &str, metric: &str, step: i64, value: f64) -> Row {
    Row { run_id: run_id.into(), metric: metric.into(), step, timestamp_us: 1_790_000_000_000_000 + step, value }
}

fn ingest_ndjson(http: &Http, lines: &str, headers: &[(&str, &str)]) -> Value {
    let mut all = vec![("content-type", "application/x-ndjson")];
    all.extend_from_slice(headers);
    http.send("POST", "/api/v1/ingest", &all, lines.as_bytes()).unwrap().expect(200).unwrap()
}

#[test]
fn health_ready_metrics_and_openapi() {
    with_server(|http| {
        assert_eq!(http.get("/health").unwrap().status, 200);
        assert_eq!(http.get("/ready").unwrap().status, 200);
        let metrics = http.get("/metrics").unwrap();
        assert_eq!(metrics.status, 200);
        assert!(metrics.header("content-type").unwrap().contains("text"), "{metrics:?}");
        assert!(metrics.text().contains("# TYPE stepwell_"), "{}", metrics.text());
        let openapi = http.get("/api/v1/openapi.json").unwrap().expect(200).unwrap();
        assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
        for path in
            ["/api/v1/projects", "/api/v1/runs", "/api/v1/ingest", "/api/v1/sql", "/api/v1/series", "/health", "/ready"]
        {
            assert!(openapi["paths"].get(path).is_some(), "{path} is not documented");
        }
    });
}

#[test]
fn projects_are_created_once_and_listed() {
    with_server(|http| {
        let created = http.post("/api/v1/projects", &json!({"name": "vision"})).unwrap().expect(201).unwrap();
        assert!(created["project_id"].as_str().unwrap().parse::<u64>().is_ok(), "{created}");
        let again = http.post("/api/v1/projects", &json!({"name": "vision"})).unwrap();
        assert_eq!(again.status, 409, "{}", again.text());
        let list = http.get("/api/v1/projects").unwrap().expect(200).unwrap();
        let names: Vec<_> =
            list["projects"].as_array().unwrap().iter().map(|project| project["name"].clone()).collect();
        assert_eq!(names, ["vision"]);
    });
}

#[test]
fn runs_are_created_read_updated_and_listed() {
    with_server(|http| {
        let body = json!({
            "project": "p", "run_id": "r/1 ü", "name": "first", "notes": "n", "git_commit": "abc", "dataset_version": "v1",
            "params": {"lr": 0.1, "layers": 18, "opt": "sgd", "bn": true, "schedule": {"warmup": [1, 2]}},
            "tags": {"team": "a"}, "environment": {"gpu": "none"}, "started_at": "2026-11-23T10:00:00Z",
        });
        let run = http.post("/api/v1/runs", &body).unwrap().expect(201).unwrap();
        assert_eq!(
            (&run["run_id"], &run["status"], &run["name"]),
            (&json!("r/1 ü"), &json!("running"), &json!("first"))
        );
        assert_eq!(run["params"], body["params"]);
        assert_eq!(run["tags"], body["tags"]);
        assert!(run["started_at"].as_str().unwrap().starts_with("2026-11-23T10:00:00"), "{run}");
        let path = "/api/v1/runs/r%2F1%20%C3%BC";
        assert_eq!(http.get(path).unwrap().expect(200).unwrap(), run);
        assert_eq!(http.post("/api/v1/runs", &body).unwrap().status, 409);

        let patch = json!({"status": "finished", "ended_at": "2026-11-23T11:00:00Z", "name": "second", "notes": "m",
                           "params": {"epochs": 3, "lr": 0.1}, "tags": {"stage": "prod"}});
        let patched = http.patch(path, &patch).unwrap().expect(200).unwrap();
        assert_eq!(
            (&patched["status"], &patched["name"], &patched["notes"]),
            (&json!("finished"), &json!("second"), &json!("m"))
        );
        assert_eq!((&patched["params"]["epochs"], &patched["params"]["lr"]), (&json!(3), &json!(0.1)));
        assert_eq!(patched["tags"], json!({"team": "a", "stage": "prod"}));
        let conflict = http.patch(path, &json!({"params": {"lr": 0.2}})).unwrap();
        assert_eq!(conflict.status, 409, "{}", conflict.text());
        assert_eq!(http.get("/api/v1/runs/nobody").unwrap().status, 404);

        let made =
            http.post("/api/v1/runs", &json!({"project": "p", "params": {"lr": 0.5}})).unwrap().expect(201).unwrap();
        assert_eq!(made["run_id"].as_str().unwrap().len(), 36, "a UUID is made: {made}");
        let child = json!({"project": "p", "run_id": "child", "parent_run_id": "r/1 ü", "forked_from": {"run_id": "r/1 ü", "step": 5}});
        let child = http.post("/api/v1/runs", &child).unwrap().expect(201).unwrap();
        assert_eq!((&child["parent_run_id"], &child["forked_from"]["step"]), (&json!("r/1 ü"), &json!(5)));
    });
}

#[test]
fn run_lists_are_filtered_ordered_and_paged() {
    with_server(|http| {
        for number in 0..5 {
            let body = json!({"project": "p", "run_id": format!("r{number}"), "params": {"lr": 0.1 * f64::from(number), "n": number}});
            http.post("/api/v1/runs", &body).unwrap().expect(201).unwrap();
        }
        let list = |query: &str| http.get(&format!("/api/v1/runs?project=p{query}")).unwrap().expect(200).unwrap();
        let ids = |page: &Value| {
            page["runs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|run| run["run_id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&list("")).len(), 5);
        // params['lr'] > 0.15
        let filtered = list("&filter=params%5B%27lr%27%5D%20%3E%200.15&order_by=run_id%20DESC");
        assert_eq!(ids(&filtered), ["r4", "r3", "r2"]);
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("&limit=2&order_by=run_id{token}"));
            assert!(ids(&page).len() <= 2);
            seen.extend(ids(&page));
            match page["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => token = format!("&page_token={next}"),
                _ => break,
            }
        }
        assert_eq!(seen, ["r0", "r1", "r2", "r3", "r4"]);
    });
}

#[test]
fn log_takes_one_object_or_lines_and_fills_in_step_and_time() {
    with_server(|http| {
        create_run(http, "r");
        let path = "/api/v1/runs/r/log";
        let one = http.post(
            path,
            &json!({"step": 10, "timestamp": "2026-11-23T10:00:00Z", "metrics": {"loss": 0.5, "acc": "NaN"}}),
        );
        assert_eq!(one.unwrap().expect(200).unwrap()["points"], 2);
        let lines = "{\"metrics\":{\"loss\":0.25}}\n{\"step\":20,\"metrics\":{\"loss\":-0.0}}\n";
        let reply = http.send("POST", path, &[("content-type", "application/x-ndjson")], lines.as_bytes()).unwrap();
        assert_eq!(reply.expect(200).unwrap()["points"], 2);
        let rows = http.sql("p", "SELECT step, value FROM points WHERE metric = 'loss' ORDER BY step").unwrap();
        assert_eq!(rows.iter().map(|row| row["step"].as_i64().unwrap()).collect::<Vec<_>>(), [10, 11, 20]);
        assert!(rows[2]["value"].as_f64().unwrap().is_sign_negative(), "{rows:?}");
        let rows = http.sql("p", "SELECT value FROM points WHERE metric = 'acc'").unwrap();
        assert_eq!(rows[0]["value"], "NaN");
    });
}

#[test]
fn arrow_ingest_is_visible_at_once_and_applied_once() {
    with_server(|http| {
        create_run(http, "r");
        let rows: Vec<Row> = (0..100).map(|step| row("r", "loss", step, 1.0 / (step + 1) as f64)).collect();
        let body = arrow_stream::encode_rows(&rows).unwrap();
        let headers =
            [("content-type", arrow_stream::MEDIA_TYPE), ("stepwell-producer", "test"), ("stepwell-sequence", "7")];
        let first = http.send("POST", "/api/v1/ingest", &headers, &body).unwrap().expect(200).unwrap();
        assert_eq!((&first["points"], &first["duplicate"]), (&json!(100), &json!(false)));
        let (low, high) = (first["first_lsn"].as_u64().unwrap(), first["last_lsn"].as_u64().unwrap());
        assert_eq!(high - low, 99);
        let again = http.send("POST", "/api/v1/ingest", &headers, &body).unwrap().expect(200).unwrap();
        assert_eq!(again["duplicate"], true, "I3: {again}");
        let count = http.sql("p", "SELECT count(*) AS n, count(DISTINCT lsn) AS d FROM points").unwrap();
        assert_eq!((&count[0]["n"], &count[0]["d"]), (&json!(100), &json!(100)));
    });
}

#[test]
fn bodies_may_be_compressed() {
    with_server(|http| {
        create_run(http, "r");
        let line = "{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1.5}\n";
        assert_eq!(ingest_ndjson(http, line, &[])["points"], 1);
        let packed = zstd::encode_all(line.as_bytes(), 3).unwrap();
        let ndjson = ("content-type", "application/x-ndjson");
        let reply = http.send("POST", "/api/v1/ingest", &[ndjson, ("content-encoding", "zstd")], &packed).unwrap();
        assert_eq!(reply.expect(200).unwrap()["points"], 1);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(line.as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        let reply = http.send("POST", "/api/v1/ingest", &[ndjson, ("content-encoding", "gzip")], &packed).unwrap();
        assert_eq!(reply.expect(200).unwrap()["points"], 1);
        let count = http.sql("p", "SELECT count(*) AS n FROM points WHERE step = 1").unwrap();
        assert_eq!(count[0]["n"], 3, "I6: three points at one step are all kept");
    });
}

#[test]
fn i5_extremes_round_trip_bit_for_bit() {
    with_server(|http| {
        create_run(http, "r");
        let values = [
            f64::NAN,
            f64::from_bits(0x7ff8_0000_dead_beef),
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::from_bits(1),
            f64::MAX,
        ];
        let steps = [i64::MIN, -1, 0, 1, 2, 3, i64::MAX];
        let rows: Vec<Row> = steps
            .iter()
            .zip(values)
            .map(|(step, value)| Row {
                run_id: "r".into(),
                metric: "m".into(),
                step: *step,
                timestamp_us: *step,
                value,
            })
            .collect();
        let body = arrow_stream::encode_rows(&rows).unwrap();
        let reply = http.send("POST", "/api/v1/ingest", &[("content-type", arrow_stream::MEDIA_TYPE)], &body).unwrap();
        reply.expect(200).unwrap();
        let batches = http.sql_arrow("p", "SELECT step, value FROM points ORDER BY step").unwrap();
        let mut found = Vec::new();
        for batch in batches {
            use arrow::{
                array::AsArray,
                datatypes::{Float64Type, Int64Type},
            };
            let (step, value) =
                (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Float64Type>());
            found.extend((0..batch.num_rows()).map(|row| (step.value(row), value.value(row).to_bits())));
        }
        assert_eq!(found, steps.iter().zip(values).map(|(step, value)| (*step, value.to_bits())).collect::<Vec<_>>());
    });
}

#[test]
fn sql_answers_in_five_formats() {
    with_server(|http| {
        create_run(http, "r");
        ingest_ndjson(http, "{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":0.5}\n", &[]);
        let body = json!({"query": "SELECT metric, step, value FROM points", "project": "p"}).to_string();
        let ask = |accept: &str| {
            let reply = http.send(
                "POST",
                "/api/v1/sql",
                &[("content-type", "application/json"), ("accept", accept)],
                body.as_bytes(),
            );
            let reply = reply.unwrap();
            assert_eq!(reply.status, 200, "{accept}: {}", reply.text());
            assert!(reply.header("content-type").unwrap().starts_with(accept), "{reply:?}");
            reply
        };
        let json = ask("application/json").json().unwrap();
        assert_eq!(json["rows"], json!([{"metric": "m", "step": 1, "value": 0.5}]));
        assert_eq!(json["schema"][1]["name"], "step");
        assert_eq!(ask("application/x-ndjson").json().unwrap(), json!({"metric": "m", "step": 1, "value": 0.5}));
        assert_eq!(ask("text/csv").text().lines().collect::<Vec<_>>(), ["metric,step,value", "m,1,0.5"]);
        assert_eq!(arrow_stream::decode(&ask(arrow_stream::MEDIA_TYPE).body).unwrap()[0].num_rows(), 1);
        assert!(ask("application/vnd.apache.parquet").body.starts_with(b"PAR1"));
    });
}

#[test]
fn sql_takes_parameters_and_sees_all_tables() {
    with_server(|http| {
        let run = json!({"project": "p", "run_id": "r", "params": {"lr": 0.1}, "tags": {"team": "a"}});
        http.post("/api/v1/runs", &run).unwrap().expect(201).unwrap();
        ingest_ndjson(http, "{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":2.5}\n", &[]);
        let body = json!({"query": "SELECT value FROM points WHERE metric = $1 AND step <= $2", "project": "p", "params": ["m", 1]});
        assert_eq!(http.post("/api/v1/sql", &body).unwrap().expect(200).unwrap()["rows"], json!([{"value": 2.5}]));
        let one = |query: &str| http.sql("p", query).unwrap().remove(0);
        assert_eq!(one("SELECT run_id FROM runs WHERE params['lr'] < 0.5")["run_id"], "r");
        assert_eq!(one("SELECT tags['team'] AS team FROM runs")["team"], "a");
        assert_eq!(one("SELECT key FROM params")["key"], "lr");
        assert_eq!(one("SELECT value FROM tags")["value"], "a");
        assert_eq!(one("SELECT max FROM summaries WHERE metric = 'm'")["max"], 2.5);
        assert_eq!(one("SELECT count(*) AS n FROM information_schema.tables WHERE table_name = 'points'")["n"], 1);
        let other = json!({"query": "SELECT value FROM \"p\".points", "project": "q"});
        http.post("/api/v1/projects", &json!({"name": "q"})).unwrap().expect(201).unwrap();
        assert_eq!(http.post("/api/v1/sql", &other).unwrap().expect(200).unwrap()["rows"], json!([{"value": 2.5}]));
        let plan = json!({"query": "EXPLAIN ANALYZE SELECT value FROM points", "project": "p"});
        assert_eq!(http.post("/api/v1/sql", &plan).unwrap().status, 200);
    });
}

#[test]
fn series_come_raw_or_in_buckets_by_post_or_get() {
    with_server(|http| {
        create_run(http, "r");
        let rows: Vec<Row> = (0..1000).map(|step| row("r", "loss", step, (step as f64 - 500.0).abs())).collect();
        let body = arrow_stream::encode_rows(&rows).unwrap();
        let sent = http.send("POST", "/api/v1/ingest", &[("content-type", arrow_stream::MEDIA_TYPE)], &body).unwrap();
        let last_lsn = sent.expect(200).unwrap()["last_lsn"].clone();
        let ask = json!({"project": "p", "run_ids": ["r"], "metrics": ["loss"], "buckets": 10});
        let answer = http.post("/api/v1/series", &ask).unwrap().expect(200).unwrap();
        assert_eq!(answer["snapshot_lsn"], last_lsn, "I2: {answer}");
        let series = &answer["series"][0];
        assert_eq!((&series["points"], &series["raw"]), (&json!(1000), &json!(false)));
        let columns = &series["columns"];
        let sum = |name: &str| columns[name].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).sum::<f64>();
        assert_eq!(columns["count"].as_array().unwrap().len(), 8, "128 steps each");
        assert_eq!((sum("count"), sum("sum")), (1000.0, 250_000.0));
        let minimum = columns["min"].as_array().unwrap().iter().position(|value| value == &json!(0.0)).unwrap();
        assert_eq!(columns["min_step"][minimum], 500);
        for name in [
            "first_step",
            "last_step",
            "first_time",
            "last_time",
            "finite",
            "nan",
            "pos_inf",
            "neg_inf",
            "max",
            "max_step",
            "first",
            "last",
        ] {
            assert_eq!(columns[name].as_array().unwrap().len(), 8, "{name}");
        }
        let raw =
            http.get("/api/v1/series?project=p&run_ids=r&metrics=loss&from_step=10&to_step=12&buckets=100").unwrap();
        let raw = raw.expect(200).unwrap();
        assert_eq!(raw["series"][0]["raw"], true, "{raw}");
        assert_eq!(raw["series"][0]["columns"]["step"], json!([10, 11, 12]));
        assert_eq!(raw["series"][0]["columns"]["value"], json!([490.0, 489.0, 488.0]));
        let accept = [("content-type", "application/json"), ("accept", arrow_stream::MEDIA_TYPE)];
        let path = "/api/v1/series?project=p&run_ids=r&metrics=loss&buckets=10";
        let first = http.get(path).unwrap();
        let tag = first.header("etag").unwrap().to_owned();
        let again = |tag: &str| http.send("GET", path, &[("if-none-match", tag)], b"").unwrap();
        assert_eq!((first.status, again(&tag).status, again("W/\"x-json\"").status), (200, 304, 200));
        http.post("/api/v1/runs/r/log", &json!({"step": 5_000, "metrics": {"other": 1.0}}))
            .unwrap()
            .expect(200)
            .unwrap();
        assert_eq!(again(&tag).status, 304, "points of another series change nothing here");
        let arrow = http.send("POST", "/api/v1/series", &accept, ask.to_string().as_bytes()).unwrap();
        assert_eq!(arrow.status, 200, "{}", arrow.text());
        assert_eq!(arrow_stream::decode(&arrow.body).unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 8);
    });
}

#[test]
fn series_show_the_last_point_of_a_step_unless_asked_for_all_and_a_fork_shows_its_source() {
    with_server(|http| {
        create_run(http, "r");
        let lines: String = (0..10)
            .chain([9])
            .enumerate()
            .map(|(order, step)| format!("{{\"run_id\":\"r\",\"metric\":\"m\",\"step\":{step},\"value\":{order}}}\n"))
            .collect();
        ingest_ndjson(http, &lines, &[]);
        let values = |run: &str, points: &str| {
            let ask = json!({"project": "p", "run_ids": [run], "metrics": ["m"], "points": points});
            http.post("/api/v1/series", &ask).unwrap().expect(200).unwrap()["series"][0]["columns"]["value"].clone()
        };
        assert_eq!(values("r", "last").as_array().unwrap().last().unwrap(), &json!(10.0));
        assert_eq!(values("r", "all").as_array().unwrap().len(), 11);
        let fork = json!({"project": "p", "run_id": "f", "forked_from": {"run_id": "r", "step": 2}});
        http.post("/api/v1/runs", &fork).unwrap().expect(201).unwrap();
        ingest_ndjson(http, "{\"run_id\":\"f\",\"metric\":\"m\",\"step\":3,\"value\":77}\n", &[]);
        assert_eq!(values("f", "last"), json!([0.0, 1.0, 2.0, 77.0]));
    });
}
