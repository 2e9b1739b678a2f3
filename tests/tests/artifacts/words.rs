//! What each call says.

use anyhow::Result;
use serde_json::{Value, json};
use stepwell_tests::Server;

use crate::{PROXY, files, get, put, run_of};

#[test]
fn the_proxy_stores_lists_and_deletes_as_mlflow_does() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    for (path, bytes) in
        [("1/r/artifacts/model/MLmodel", "flavors"), ("1/r/artifacts/a%20b.txt", "text"), ("1/r/artifacts/z", "")]
    {
        let reply = put(&http, path, bytes.as_bytes())?;
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"), "{path}");
    }
    let list = |query: &str| -> Result<Value> { http.get(&format!("{PROXY}/artifacts{query}"))?.expect(200) };
    assert_eq!(
        list("?path=1/r/artifacts")?,
        json!({"files": [
            {"path": "a b.txt", "is_dir": false, "file_size": 4},
            {"path": "model", "is_dir": true},
            {"path": "z", "is_dir": false, "file_size": 0},
        ]})
    );
    assert_eq!(list("")?, json!({"files": [{"path": "1", "is_dir": true}]}));
    assert_eq!(list("?path=1/r/artifacts/z")?, json!({}), "a file is no directory");
    assert_eq!(list("?path=nowhere")?, json!({}));

    let reply = get(&http, "1/r/artifacts/model/MLmodel")?;
    assert_eq!((reply.status, reply.text().as_str()), (200, "flavors"));
    assert_eq!(reply.header("content-length"), Some("7"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename*=UTF-8''MLmodel"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    for prefix in ["/ajax-api/2.0", "/api/3.0", "/ajax-api/3.0"] {
        let path = format!("{prefix}/mlflow-artifacts/artifacts/1/r/artifacts/a%20b.txt");
        assert_eq!(http.get(&path)?.status, 200, "{prefix}");
    }
    let absent = get(&http, "1/r/artifacts/none")?;
    let said = json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No such artifact: '1/r/artifacts/none'"});
    assert_eq!((absent.status, absent.json()?), (404, said));
    let directory = get(&http, "1/r/artifacts/model")?;
    assert_eq!((directory.status, directory.json()?["error_code"].clone()), (400, json!("INVALID_PARAMETER_VALUE")));
    assert_eq!(put(&http, "1/r/artifacts/model", b"x")?.status, 400, "a directory is there");
    assert_eq!(put(&http, "1/r/artifacts/z/x", b"x")?.status, 400, "an artifact is there");
    let presigned = http.get(&format!("{PROXY}/presigned/1/r/artifacts/z"))?;
    assert_eq!((presigned.status, presigned.json()?["error_code"].clone()), (501, json!("NOT_IMPLEMENTED")));

    let delete = |path: &str| http.send("DELETE", &format!("{PROXY}/artifacts/{path}"), &[], b"");
    for path in ["1/r/artifacts/model", "1/r/artifacts/nothing"] {
        assert_eq!(delete(path)?.expect(200)?, json!({}));
    }
    assert_eq!(get(&http, "1/r/artifacts/model/MLmodel")?.status, 404);
    delete("1/r/artifacts/")?.expect(200)?;
    assert_eq!((list("")?, files(server.data_dir())?.len()), (json!({}), 0));
    server.check_log(&[])
}

#[test]
fn calls_about_a_run_are_answered_below_it() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    run_of(&http, "r1")?;
    let upload = |query: &str, bytes: &[u8]| {
        http.send("POST", &format!("/ajax-api/2.0/mlflow/upload-artifact{query}"), &[], bytes)
    };
    assert_eq!(upload("?run_uuid=r1&path=d/plot.json", b"{\"a\": 1}")?.status, 200);
    for (query, bytes) in
        [("?run_uuid=r1", &b"x"[..]), ("?path=x", b"x"), ("?run_uuid=r1&path=x", b""), ("?run_uuid=r1&path=../x", b"x")]
    {
        let reply = upload(query, bytes)?;
        assert_eq!(
            (reply.status, reply.json()?["error_code"].clone()),
            (400, json!("INVALID_PARAMETER_VALUE")),
            "{query}"
        );
    }
    let large = upload("?run_uuid=r1&path=x", &vec![0; (10 << 20) + 1])?;
    assert_eq!(
        (large.status, large.json()?["message"].clone()),
        (400, json!("Artifact size is too large. Max size is 10MB."))
    );
    assert_eq!(upload("?run_uuid=nobody&path=x", b"x")?.status, 404);

    let list = http.get("/api/2.0/mlflow/artifacts/list?run_id=r1&path=d")?.expect(200)?;
    assert_eq!(list["files"], json!([{"path": "d/plot.json", "is_dir": false, "file_size": 8}]));
    let root = list["root_uri"].as_str().unwrap_or_default().to_owned();
    assert!(root.starts_with("mlflow-artifacts:/") && root.ends_with("/r1/artifacts"), "{root}");
    let below = root.trim_start_matches("mlflow-artifacts:/");
    assert_eq!(get(&http, &format!("{below}/d/plot.json"))?.text(), "{\"a\": 1}");
    let got = http.get("/get-artifact?run_id=r1&path=d/plot.json")?;
    assert_eq!(
        (got.status, got.text().as_str(), got.header("content-type")),
        (200, "{\"a\": 1}", Some("application/json"))
    );
    assert_eq!(http.get("/get-artifact?run_id=r1&path=d/none")?.status, 404);
    for query in ["run_id=r1&path=..", "run_id=r1&path=%252e%252e/x", "run_id=r1&path=/etc", "path=x", "run_id=r1"] {
        assert_eq!(http.get(&format!("/get-artifact?{query}"))?.status, 400, "{query}");
        if query.contains("..") || query.contains('%') {
            assert_eq!(http.get(&format!("/api/2.0/mlflow/artifacts/list?{query}"))?.status, 400, "{query}");
        }
    }
    assert_eq!(http.get("/api/2.0/mlflow/artifacts/list?run_id=nobody")?.status, 404);

    // The same in this server's own words.
    let own = "/api/v1/runs/r1/artifacts";
    let listed = http.get(own)?.expect(200)?;
    assert_eq!(listed, json!({"artifacts": [{"path": "d", "is_directory": true}]}));
    let stored = http.send("PUT", &format!("{own}/d/w.bin"), &[], b"abc")?;
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(stored.header("etag"), Some(format!("\"{hash}\"").as_str()));
    assert_eq!(stored.expect(201)?, json!({"path": "d/w.bin", "bytes": 3, "sha256": hash}));
    let listed = http.get(&format!("{own}?path=d"))?.expect(200)?;
    assert_eq!(listed["artifacts"][1], json!({"path": "d/w.bin", "is_directory": false, "bytes": 3}));
    let got = http.send("GET", &format!("{own}/d/w.bin"), &[("accept", "application/octet-stream")], b"")?;
    assert_eq!((got.status, got.text().as_str()), (200, "abc"));
    let refusals = [
        ("GET", "/none", 404, "artifact_not_found"),
        ("PUT", "/d/w.bin/x", 409, "artifact_in_the_way"),
        ("GET", "/..%2Fx", 400, "invalid_name"),
    ];
    for (method, path, status, code) in refusals {
        let reply = http.send(method, &format!("{own}{path}"), &[], b"x")?;
        assert_eq!((reply.status, reply.json()?["code"].clone()), (status, json!(code)), "{path}");
    }
    assert_eq!(http.get("/api/v1/runs/nobody/artifacts/x")?.json()?["code"], json!("run_not_found"));
    assert_eq!(http.send("DELETE", &format!("{own}/d"), &[], b"")?.status, 204);
    assert_eq!(http.get(own)?.expect(200)?, json!({"artifacts": []}));
    assert_eq!((server.metric("stepwell_artifacts")?, server.metric("stepwell_artifact_blob_bytes")?), (0.0, 0.0));
    assert!(server.metric("stepwell_artifact_received_bytes_total")? > 10.0);
    server.check_log(&[])
}

#[test]
fn ranges_and_conditions_save_bytes() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    put(&http, "x/y.bin", &bytes)?;
    let ask = |headers: &[(&str, &str)]| http.send("GET", &format!("{PROXY}/artifacts/x/y.bin"), headers, b"");
    let whole = ask(&[])?;
    let etag = whole.header("etag").unwrap_or_default().to_owned();
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.body == bytes), (200, Some("bytes"), true));
    // Across the borders of what is checked together.
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("262143-262144", 262_143, 262_145),
        ("100000-699999", 100_000, 700_000),
        ("-5", 699_995, 700_000),
    ] {
        let part = ask(&[("range", &format!("bytes={range}"))])?;
        assert_eq!((part.status, part.body == bytes[from..to]), (206, true), "{range}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{}/700000", to - 1).as_str()));
    }
    let beyond = ask(&[("range", "bytes=700000-")])?;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */700000")));
    let same = ask(&[("if-none-match", &etag)])?;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(etag.as_str())));
    assert_eq!(ask(&[("if-match", "\"other\"")])?.status, 412);
    assert_eq!(ask(&[("if-range", "\"other\""), ("range", "bytes=0-0")])?.status, 200);
    let head = http.send("HEAD", &format!("{PROXY}/artifacts/x/y.bin"), &[], b"")?;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("700000"), 0));
    server.check_log(&[])
}

#[test]
fn an_upload_in_parts_is_one_artifact_at_its_end() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    let create = |parts: u32| -> Result<Value> {
        http.post(
            &format!("{PROXY}/mpu/create/1/r/artifacts/d"),
            &json!({"path": "/home/me/big.bin", "num_parts": parts}),
        )?
        .expect(200)
    };
    let created = create(3)?;
    let credentials = created["credentials"].as_array().cloned().unwrap_or_default();
    assert_eq!(credentials.len(), 3);
    let mut parts = Vec::new();
    for credential in credentials.iter().rev() {
        let number = credential["part_number"].as_u64().unwrap_or_default();
        let url = credential["url"].as_str().unwrap_or_default();
        let path = url.strip_prefix(server.url()).unwrap_or_default();
        let reply = http.send("PUT", path, &[], &vec![number as u8; 300_000])?;
        assert_eq!(reply.status, 200, "{url}");
        parts.push(json!({"part_number": number, "etag": reply.header("etag"), "url": url}));
    }
    assert_eq!(get(&http, "1/r/artifacts/d/big.bin")?.status, 404, "not before it is complete");
    let complete = |upload_id: &Value, parts: &[Value]| {
        http.post(
            &format!("{PROXY}/mpu/complete/1/r/artifacts/d"),
            &json!({"path": "big.bin", "upload_id": upload_id, "parts": parts}),
        )
    };
    assert_eq!(complete(&created["upload_id"], &parts[1..])?.status, 400, "a part is not listed");
    complete(&created["upload_id"], &parts)?.expect(200)?;
    let expected: Vec<u8> = (1..=3).flat_map(|number| vec![number; 300_000]).collect();
    assert!(get(&http, "1/r/artifacts/d/big.bin")?.body == expected);
    assert_eq!(complete(&created["upload_id"], &parts)?.status, 404, "it has ended");

    let aborted = create(2)?;
    let url = aborted["credentials"][0]["url"]
        .as_str()
        .unwrap_or_default()
        .strip_prefix(server.url())
        .unwrap_or_default()
        .to_owned();
    assert_eq!(http.send("PUT", &url, &[], b"x")?.status, 200);
    http.post(
        &format!("{PROXY}/mpu/abort/1/r/artifacts/d"),
        &json!({"path": "big.bin", "upload_id": aborted["upload_id"]}),
    )?
    .expect(200)?;
    assert_eq!(http.send("PUT", &url, &[], b"x")?.status, 404);
    assert_eq!(files(server.data_dir())?.len(), 1);
    let create = |path: &str, body: &Value| http.post(&format!("{PROXY}/mpu/create/{path}"), body);
    for (path, body) in [
        ("1/..%2f..", json!({"path": "x"})),
        ("1", json!({"path": ".."})),
        ("1", json!({})),
        ("1", json!({"path": "x", "num_parts": 0})),
        ("1", json!({"path": "x", "num_parts": 1_000_000})),
        ("1", json!({"path": "x", "num_parts": "many"})),
    ] {
        assert_eq!(create(path, &body)?.status, 400, "{path} {body}");
    }
    server.check_log(&[])
}

#[test]
fn files_of_models_are_found_by_their_names() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    let post = |path: &str, body: Value| -> Result<Value> {
        http.post(&format!("/api/2.0/mlflow/{path}"), &body)?.expect(200)
    };
    let run = post("runs/create", json!({"experiment_id": "0", "start_time": 1}))?;
    let (run_id, uri) = (&run["run"]["info"]["run_id"], run["run"]["info"]["artifact_uri"].as_str().unwrap());
    let below = |uri: &str| uri.strip_prefix("mlflow-artifacts:/").unwrap().to_owned();
    assert_eq!(put(&http, &format!("{}/net/MLmodel", below(uri)), b"flavors")?.status, 200);
    post("registered-models/create", json!({"name": "net"}))?;
    post("model-versions/create", json!({"name": "net", "source": format!("{uri}/net"), "run_id": run_id}))?;
    let of_version = |query: &str| http.get(&format!("/model-versions/get-artifact?name=net&{query}"));
    assert_eq!(of_version("version=1&path=MLmodel")?.text(), "flavors");
    for (query, status) in [
        ("version=1&path=none", 404),
        ("version=2&path=MLmodel", 404),
        ("version=1&path=../../x", 400),
        ("version=1", 400),
    ] {
        assert_eq!(of_version(query)?.status, status, "{query}");
    }

    let model = post("logged-models", json!({"experiment_id": "0", "name": "m"}))?;
    let info = &model["model"]["info"];
    let root = info["artifact_uri"].as_str().unwrap();
    for name in ["MLmodel", "data/weights"] {
        assert_eq!(put(&http, &format!("{}/{name}", below(root)), b"12345")?.status, 200);
    }
    let of_model =
        format!("/api/2.0/mlflow/logged-models/{}/artifacts/directories", info["model_id"].as_str().unwrap());
    let file = |path: &str| json!({"path": path, "is_dir": false, "file_size": 5});
    let all = json!({"root_uri": root, "files": [file("MLmodel"), {"path": "data", "is_dir": true}]});
    assert_eq!(http.get(&of_model)?.expect(200)?, all);
    let some = json!({"root_uri": root, "files": [file("data/weights")]});
    assert_eq!(http.get(&format!("{of_model}?artifact_directory_path=data"))?.expect(200)?, some);
    assert_eq!(http.get(&of_model.replace("/m-", "/m-0"))?.status, 404);
    server.check_log(&[])
}
