//! Queries over a small data set in a real engine, half of it in a segment and half in memory.

mod aggregates;
mod joins;
mod limits;
mod memory;
mod reading;
mod run_list;
mod series_functions;
mod slt;

use std::{collections::BTreeMap, sync::mpsc, time::Duration};

use datafusion::arrow::array::RecordBatch;
use futures::StreamExt;
use stepwell_engine::{Engine, EngineConfig};
use stepwell_env::Env;
use stepwell_metadata::{ForkPoint, Metadata, NewRun, ParamValue, Project};
use stepwell_types::{Batch, SeriesKey};

use crate::{QueryConfig, QueryEngine, QueryError, QueryRequest, QueryStream};

/// 2026-01-01T00:00:00Z, when every run of the data set starts.
const START_US: i64 = 1_767_225_600_000_000;

pub(super) struct Fixture {
    pub(super) query: QueryEngine,
    pub(super) engine: Engine,
    pub(super) metadata: Metadata,
    pub(super) projects: [Project; 2],
    _dir: tempfile::TempDir,
}

/// A point: metric, run, step, value.
pub(super) type Point<'a> = (&'a str, &'a str, i64, f64);

impl Fixture {
    /// Two projects, `demo` with runs a, b, c and `other project` with run z; the first half of the points flushed.
    pub(super) async fn new(configure: impl FnOnce(&mut QueryConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(&dir.path().join("metadata.sqlite")).await.unwrap();
        let demo = metadata.create_project("demo", START_US).await.unwrap();
        let other = metadata.create_project("other project", START_US).await.unwrap();
        for run in runs(&demo, &other) {
            metadata.create_run(run, START_US).await.unwrap();
        }
        let config = EngineConfig { shards: 2, flush_age: Duration::from_secs(3_600), ..EngineConfig::new(dir.path()) };
        let engine = Engine::open(Env::real(), config).unwrap();
        let mut config = QueryConfig::new(dir.path().join("spill"));
        configure(&mut config);
        let query = QueryEngine::new(config, metadata.clone()).unwrap();
        let fixture = Self { query, engine, metadata, projects: [demo, other], _dir: dir };
        fixture.fill();
        fixture
    }

    fn fill(&self) {
        let [demo, other] = &self.projects;
        self.ingest(demo, &[("loss", "a", 0, 1.0), ("loss", "a", 1, 0.5), ("loss", "b", 0, 2.0), ("acc", "a", 0, 0.1)]);
        self.ingest(other, &[("loss", "z", 0, 9.0)]);
        self.engine.flush().unwrap();
        let hostile =
            [("loss", "b", 2, f64::NAN), ("loss", "c", i64::MAX, f64::INFINITY), ("loss", "c", i64::MIN, -0.0)];
        self.ingest(demo, &[("loss", "a", 1, 0.25), ("loss", "a", 2, 0.125), ("loss", "b", 1, 1.5)]);
        self.ingest(demo, &hostile);
    }

    /// Timestamps are the start plus one second a step, the start for steps that are no small numbers.
    pub(super) fn ingest(&self, project: &Project, points: &[Point<'_>]) {
        let keys = points.iter().map(|(metric, run, ..)| SeriesKey::new(project.project_id.as_str(), *metric, *run));
        let at = |step: i64| if (0..1_000_000).contains(&step) { START_US + step * 1_000_000 } else { START_US };
        let steps: Vec<i64> = points.iter().map(|point| point.2).collect();
        let times = steps.iter().map(|step| at(*step)).collect();
        let values = points.iter().map(|point| point.3).collect();
        let batch = Batch::new(keys.collect(), (0..points.len() as u32).collect(), steps, times, values).unwrap();
        let (send, receive) = mpsc::channel();
        self.engine.ingest(batch, None, move |result| send.send(result).unwrap()).unwrap();
        receive.recv().unwrap().unwrap();
    }

    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.ask_with(sql, Vec::new()).await
    }

    pub(super) async fn start(&self, sql: &str, params: Vec<serde_json::Value>) -> Result<QueryStream, QueryError> {
        let request = QueryRequest { sql: sql.to_owned(), project: Some("demo".to_owned()), params };
        let engine = self.engine.clone();
        self.query.query(move || engine.snapshot(), request).await
    }

    pub(super) async fn ask_with(
        &self,
        sql: &str,
        params: Vec<serde_json::Value>,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let mut stream = self.start(sql, params).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

fn runs(demo: &Project, other: &Project) -> Vec<NewRun> {
    use ParamValue::{Bool, Float, Int, Json, String};
    let params = |list: Vec<(&str, ParamValue)>| {
        list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()
    };
    let run = |run_id: &str, project: &Project, list| NewRun {
        run_id: run_id.to_owned(),
        project_id: project.project_id.clone(),
        started_at_us: Some(START_US),
        params: params(list),
        ..NewRun::default()
    };
    let text = |value: &str| String(value.to_owned());
    let a = vec![
        ("lr", Float(0.1)),
        ("layers", Int(9)),
        ("amp", Bool(true)),
        ("opt", text("adam")),
        ("seed", Int(1)),
        ("mixed", Int(5)),
        ("net", Json(serde_json::json!({"width": 64}))),
    ];
    let b = vec![
        ("lr", Int(1)),
        ("layers", Int(10)),
        ("amp", Bool(false)),
        ("opt", text("sgd")),
        ("seed", Int(i64::MAX)),
        ("mixed", text("five")),
    ];
    let c = vec![("lr", Float(0.02)), ("layers", Int(100)), ("opt", text("")), ("odd", Float(f64::NAN))];
    vec![
        NewRun {
            name: Some("baseline".to_owned()),
            tags: [("team".to_owned(), "vision".to_owned())].into(),
            environment: Some(serde_json::json!({"gpu": "H100"})),
            ..run("a", demo, a)
        },
        NewRun { parent_run_id: Some("a".to_owned()), ..run("b", demo, b) },
        NewRun {
            forked_from: Some(ForkPoint { run_id: "a".to_owned(), step: 1 }),
            tags: [("team".to_owned(), "speech, \"old\"".to_owned())].into(),
            ..run("c", demo, c)
        },
        run("z", other, vec![("lr", text("auto"))]),
    ]
}
