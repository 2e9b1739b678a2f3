//! From the text of a query to a plan that runs, over a snapshot of an engine with a thousand series.

use std::sync::mpsc;

use criterion::{Criterion, criterion_group, criterion_main};
use stepwell_benches::batch_of;
use stepwell_engine::{Engine, EngineConfig};
use stepwell_env::Env;
use stepwell_loadgen::{Dataset, Shape};
use stepwell_metadata::{Metadata, NewRun};
use stepwell_query::{QueryConfig, QueryEngine, QueryRequest};
use tokio::runtime::Builder;

const QUERIES: [(&str, &str); 4] = [
    (
        "one run",
        "SELECT step, value FROM points WHERE metric = 'train/loss/00000' AND run_id = 'bench-00000' ORDER BY step",
    ),
    (
        "mean by step",
        "SELECT step, avg(value), stddev(value) FROM points WHERE metric = 'train/loss/00000' GROUP BY step",
    ),
    (
        "leaderboard",
        "SELECT r.run_id, s.min FROM summaries s JOIN runs r ON r.run_id = s.run_id \
         WHERE s.metric = 'train/loss/00000' AND r.params['lr'] < 0.01 ORDER BY s.min LIMIT 20",
    ),
    (
        "two runs aligned",
        "WITH a AS (SELECT step, value FROM points WHERE metric = 'lr/00002' AND run_id = 'bench-00000'), \
         b AS (SELECT step, value FROM points WHERE metric = 'train/loss/00000' AND run_id = 'bench-00000') \
         SELECT a.step, a.value - b.value FROM a JOIN b USING (step) ORDER BY a.step",
    ),
];

/// What is timed ends when the plan is made: the stream of rows is dropped before its first.
fn plan(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dataset = Dataset::new("bench", Shape { runs: 1, metrics: 1_000, steps: 100_000 }, 1);
    let metadata = runtime.block_on(async {
        let metadata = Metadata::open(&dir.path().join("metadata.sqlite")).await.expect("metadata");
        let project = metadata.create_project("bench", 0).await.expect("a project");
        let run = NewRun { run_id: dataset.run_id(0), project_id: project.project_id, ..NewRun::default() };
        metadata.create_run(run, 0).await.expect("a run");
        metadata
    });
    let engine = Engine::open(Env::real(), EngineConfig::new(dir.path())).expect("an engine");
    let (send, receive) = mpsc::channel();
    let batch = batch_of(&dataset, 10).expect("a batch");
    engine.ingest(batch, None, move |ack| drop(send.send(ack))).expect("a place in the queue");
    receive.recv().expect("an answer").expect("an acknowledgement");
    let queries = QueryEngine::new(QueryConfig::new(dir.path().join("spill")), metadata).expect("a query engine");
    let mut group = c.benchmark_group("plan");
    for (name, sql) in QUERIES {
        group.bench_function(name, |b| {
            b.iter(|| {
                let request =
                    QueryRequest { sql: sql.to_owned(), project: Some("bench".to_owned()), params: Vec::new() };
                let engine = engine.clone();
                runtime.block_on(queries.query(move || engine.snapshot(), request)).expect("a plan").schema()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, plan);
criterion_main!(benches);
