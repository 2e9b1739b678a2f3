//! Deletion through the API of the real binary: every surface at once, the disk by and by, restarts included.

use anyhow::Result;
use serde_json::{Value, json};
use stepwell_tests::{Http, Server, ServerOptions};

fn log(http: &Http, run: &str, metric: &str, step: i64, value: f64) -> u16 {
    let row = format!(
        "{{\"run_id\":\"{run}\",\"metric\":\"{metric}\",\"step\":{step},\"timestamp\":{},\"value\":{value}}}\n",
        step * 86_400_000_000
    );
    http.send("POST", "/api/v1/ingest", &[("content-type", "application/x-ndjson")], row.as_bytes()).unwrap().status
}

/// Points and summaries that SQL counts, and the status of a chart, for a run.
fn seen(http: &Http, run: &str) -> (Value, Value, u16) {
    let count = |table: &str| -> Value {
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE run_id = '{run}'");
        http.sql("p", &sql).unwrap()[0]["n"].clone()
    };
    let chart = http.get(&format!("/api/v1/series?project=p&run_ids={run}&metrics=loss")).unwrap();
    (count("points"), count("summaries"), chart.status)
}

fn created(http: &Http, run: &str) {
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": run})).unwrap().expect(201).unwrap();
}

fn status(http: &Http, method: &str, path: &str) -> u16 {
    http.send(method, path, &[], b"").unwrap().status
}

#[test]
fn a_run_goes_into_the_trash_and_back_and_away_for_good() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start_in(dir.path(), &ServerOptions::default())?;
    let http = server.http();
    for run in ["a", "b"] {
        created(&http, run);
        assert_eq!(log(&http, run, "loss", 1, 0.5), 200);
    }
    assert_eq!(status(&http, "DELETE", "/api/v1/runs/a"), 204);
    assert_eq!(seen(&http, "a"), (json!(0), json!(0), 404));
    assert_eq!(seen(&http, "b"), (json!(1), json!(1), 200), "the other is as it was");
    assert_eq!(log(&http, "a", "loss", 2, 0.4), 404, "the trash takes nothing");
    assert_eq!(status(&http, "GET", "/api/v1/runs/a"), 404);
    let taken = http.post("/api/v1/runs", &json!({"project": "p", "run_id": "a"}))?;
    assert_eq!((taken.status, &taken.json()?["code"]), (409, &json!("in_trash")));
    let trash = http.get("/api/v1/trash")?.expect(200)?;
    assert_eq!((&trash["runs"][0]["run_id"], &trash["runs"][0]["project"]), (&json!("a"), &json!("p")));

    // A restart flushes; the trash stays the trash.
    server.terminate()?;
    server = Server::start_in(dir.path(), &ServerOptions::default())?;
    let http = server.http();
    assert_eq!(seen(&http, "a"), (json!(0), json!(0), 404));
    http.send("POST", "/api/v1/runs/a/restore", &[], b"")?.expect(200)?;
    assert_eq!(seen(&http, "a"), (json!(1), json!(1), 200));
    assert_eq!(status(&http, "POST", "/api/v1/runs/a/purge"), 404, "only what is in the trash is purged");

    assert_eq!(status(&http, "DELETE", "/api/v1/runs/a"), 204);
    assert_eq!(status(&http, "POST", "/api/v1/runs/a/purge"), 204);
    assert_eq!(http.get("/api/v1/trash")?.expect(200)?, json!({"runs": [], "projects": []}));
    created(&http, "a");
    assert_eq!(log(&http, "a", "loss", 7, 0.1), 200);
    assert_eq!(seen(&http, "a"), (json!(1), json!(1), 200), "a new run of the name has nothing of the old");
    server.terminate()?;
    let mut server = Server::start_in(dir.path(), &ServerOptions::default())?;
    assert_eq!(seen(&server.http(), "a").0, json!(1));
    server.terminate()?;
    let mut inspect = stepwell_tests::command()?;
    let inspected = inspect.args(["inspect", "--json"]).arg(dir.path()).output()?;
    let inspected: Value = serde_json::from_slice(&inspected.stdout)?;
    assert_eq!(inspected["points_in_segments"], 2, "{inspected}");
    assert_eq!(inspected["manifest"]["tombstones"], json!([]), "{inspected}");
    Ok(())
}

#[test]
fn a_metric_old_points_and_a_project_are_deleted() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    created(&http, "a");
    let today = std::time::UNIX_EPOCH.elapsed()?.as_secs() as i64 / 86_400;
    for (metric, step) in [("loss", today), ("loss", today - 10), ("acc/top%1", today), ("acc/top%1", today - 1)] {
        assert_eq!(log(&http, "a", metric, step, 1.0), 200);
    }
    assert_eq!(status(&http, "DELETE", "/api/v1/projects/p/metrics/acc%2Ftop%251"), 204);
    assert_eq!(seen(&http, "a").0, json!(2));
    let keep = |days: Value| {
        http.send(
            "PUT",
            "/api/v1/projects/p/retention",
            &[("content-type", "application/json")],
            json!({"keep_days": days}).to_string().as_bytes(),
        )
    };
    assert_eq!(keep(json!(0))?.status, 400);
    assert_eq!(keep(json!(5))?.expect(200)?["keep_days"], json!(5));
    assert_eq!(seen(&http, "a").0, json!(1));
    assert_eq!(keep(Value::Null)?.expect(200)?["keep_days"], Value::Null);

    assert_eq!(status(&http, "DELETE", "/api/v1/projects/p"), 204);
    assert_eq!(http.get("/api/v1/projects")?.expect(200)?["projects"], json!([]));
    assert_eq!((log(&http, "a", "loss", 1, 1.0), status(&http, "GET", "/api/v1/runs/a")), (404, 404));
    assert_eq!(http.post("/api/v1/runs", &json!({"project": "p"}))?.status, 409, "the name is in the trash");
    http.send("POST", "/api/v1/projects/p/restore", &[], b"")?.expect(200)?;
    assert_eq!(seen(&http, "a"), (json!(1), json!(1), 200));
    assert_eq!(status(&http, "DELETE", "/api/v1/projects/p"), 204);
    assert_eq!(status(&http, "POST", "/api/v1/projects/p/purge"), 204);
    created(&http, "a");
    assert_eq!(seen(&http, "a").0, json!(0));
    Ok(())
}
