//! `/ready` tells the truth within a second of a fault, and of its end. Each fault is injected.

use std::time::Duration;

use axum::body::Body;
use serde_json::Value;
use stepwell_app::{App, AppConfig};
use stepwell_env::{DiskOperation, Env, SimDisk, SimFault};

use super::{tests::send, *};
use crate::state::{AppSlot, ServerConfig};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// A server whose points are on a simulated disk.
struct Fixture {
    disk: SimDisk,
    state: Arc<ServerState>,
    router: Router,
    /// With the metadata.
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new(flush_age: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimDisk::new();
        let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
        let mut config = AppConfig::new(dir.path());
        config.engine.flush_age = flush_age;
        let app = App::open(env, config).await.unwrap();
        let state = Arc::new(ServerState::new(AppSlot::from(app), ServerConfig::default()));
        let this = Self { disk, router: router(state.clone()), state, dir };
        let run = br#"{"project": "p", "run_id": "r"}"#.to_vec();
        assert_eq!(send(&this.router, "POST", "/api/v1/runs", &[JSON], run).await.0, 201);
        this
    }

    async fn ingest(&self, step: u64) -> u16 {
        let line = format!("{{\"run_id\": \"r\", \"metric\": \"m\", \"step\": {step}, \"value\": 1}}\n");
        send(&self.router, "POST", "/api/v1/ingest", &[NDJSON], line).await.0
    }

    async fn ready(&self) -> (u16, Value) {
        let (status, _, body) = send(&self.router, "GET", "/ready", &[], Body::empty()).await;
        assert_eq!(send(&self.router, "GET", "/health", &[], Body::empty()).await.0, 200, "the process is alive");
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Waits until `/ready` says what is wanted, a second at most, or as much longer as something is tried again later.
    async fn becomes(&self, within: Duration, status: u16, word: &str) -> Value {
        let begin = tokio::time::Instant::now();
        loop {
            let (found, body) = self.ready().await;
            let standing = body.get("standing").unwrap_or(&body);
            if found == status && standing["status"] == word {
                return standing.clone();
            }
            assert!(begin.elapsed() < within, "wanted {status} {word}, found {found} {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A figure without labels.
    async fn figure(&self, name: &str) -> f64 {
        let (_, _, text) = send(&self.router, "GET", "/metrics", &[], Body::empty()).await;
        let text = String::from_utf8(text).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).expect(name)
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// What is looked at twice a second is known within one; more on a machine that is busy with other tests.
const LOOKED: Duration = Duration::from_secs(4);
/// What is tried again each second succeeds within two; more on a machine that is busy with other tests.
const RETRIED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_failed_sync_is_told_at_once_and_for_good() {
    let fixture = Fixture::new(Duration::from_secs(60)).await;
    assert_eq!(fixture.ready().await.0, 200);
    fixture.disk.inject(SimFault::SyncError(0));
    assert_eq!(fixture.ingest(1).await, 503);
    let standing = fixture.becomes(SECOND, 503, "storage_failed").await;
    assert_eq!((&standing["takes_batches"], &standing["answers_queries"]), (&Value::Bool(false), &Value::Bool(true)));
    let fault = &standing["faults"][0];
    assert!(fault["reason"].as_str().unwrap().contains("sync"), "{fault}");
    assert!(fault["advice"].as_str().unwrap().contains("restart"), "{fault}");
    assert_eq!(send(&fixture.router, "GET", "/api/v1/projects", &[], Body::empty()).await.0, 200, "reads go on");
    assert_eq!((fixture.figure("stepwell_ready").await, fixture.figure("stepwell_takes_batches").await), (0.0, 0.0));
    assert_eq!(fixture.figure("stepwell_fault{fault=\"storage_failed\"}").await, 1.0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(fixture.ready().await.0, 503, "only a restart helps");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_full_disk_is_told_and_so_is_its_end_without_a_batch() {
    let fixture = Fixture::new(Duration::from_secs(60)).await;
    fixture.disk.inject(SimFault::Space(10));
    assert_eq!(fixture.ingest(1).await, 503);
    let standing = fixture.becomes(SECOND, 503, "disk_full").await;
    assert!(standing["faults"][0]["advice"].as_str().unwrap().contains("free space"), "{standing}");
    let (_, body) = fixture.ready().await;
    assert_eq!((&body["code"], &body["status"]), (&"disk_full".into(), &503.into()));
    fixture.disk.inject(SimFault::NoLimit);
    fixture.becomes(RETRIED, 200, "ready").await;
    assert_eq!(fixture.ingest(1).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_flush_is_told_while_batches_are_taken() {
    let fixture = Fixture::new(Duration::from_millis(50)).await;
    // The next log file is made, the segment is not.
    fixture.disk.inject(SimFault::Error(DiskOperation::Create, 1));
    assert_eq!(fixture.ingest(1).await, 200);
    let standing = fixture.becomes(2 * SECOND, 200, "degraded").await;
    assert_eq!(standing["faults"][0]["code"], "flush_fails", "{standing}");
    assert_eq!(standing["takes_batches"], true);
    fixture.becomes(RETRIED, 200, "ready").await;
    assert_eq!(fixture.figure("stepwell_flush_failures_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_stop_are_told() {
    let starting = router(Arc::new(ServerState::new(AppSlot::new(), ServerConfig::default())));
    let (status, _, body) = send(&starting, "GET", "/ready", &[], Body::empty()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["code"], &body["standing"]["status"]), (503, &"not_ready".into(), &"starting".into()));
    assert_eq!(body["standing"]["replay"]["points"], 0);
    let fixture = Fixture::new(Duration::from_secs(60)).await;
    fixture.becomes(SECOND, 200, "ready").await;
    fixture.state.stopping.send_replace(true);
    let (status, body) = fixture.ready().await;
    assert_eq!((status, &body["code"]), (503, &"shutting_down".into()));
    fixture.becomes(SECOND, 503, "stopping").await;
    assert_eq!(fixture.figure("stepwell_ready").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_cannot_be_read_is_told_and_so_is_its_end() {
    let fixture = Fixture::new(Duration::from_secs(60)).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fixture.dir.path().join("metadata.sqlite"));
    let other = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("ALTER TABLE runs RENAME TO elsewhere").execute(&other).await.unwrap();
    let standing = fixture.becomes(LOOKED, 503, "metadata_fails").await;
    assert!(standing["faults"][0]["reason"].as_str().unwrap().contains("runs"), "{standing}");
    assert_eq!(standing["answers_queries"], false);
    sqlx::query("ALTER TABLE elsewhere RENAME TO runs").execute(&other).await.unwrap();
    fixture.becomes(LOOKED, 200, "ready").await;
    other.close().await;
}
