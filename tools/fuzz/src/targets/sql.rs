//! SQL: from a text to a plan, within its limits.

use std::{sync::OnceLock, time::Duration};

use stepwell_engine::{Engine, EngineConfig};
use stepwell_env::Env;
use stepwell_metadata::Metadata;
use stepwell_query::{QueryConfig, QueryEngine, QueryError, QueryRequest};
use stepwell_types::{Batch, SeriesKey};
use tokio::runtime::Runtime;

use crate::Target;

/// A statement, which is planned, started and dropped.
pub(super) const REQUEST: Target = Target {
    name: "sql",
    run: request,
    seeds: || SEEDS.map(Into::into).into(),
    words: &WORDS,
    // It is planned on a thread of the engine's, which has a pool of its own.
    memory_bytes: (64 << 20, 256),
    replayed: 300,
};

/// Longer texts are only slower.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Far above what planning so short a text takes, on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(60);

const SEEDS: [&str; 14] = [
    "SELECT * FROM points WHERE metric = 'loss' AND step BETWEEN -5 AND 9223372036854775807",
    "SELECT run_id, avg(value), count(*) FROM points GROUP BY run_id ORDER BY 2 DESC LIMIT 10 OFFSET 1",
    "WITH a AS (SELECT run_id FROM runs), b AS (SELECT * FROM a, a AS c) SELECT * FROM b JOIN a USING (run_id)",
    "SELECT params['lr'], tags['x'] FROM runs WHERE params['lr'] > 0.1 AND tags['x'] IS NOT NULL",
    "SELECT run_id, last_value(value) OVER (PARTITION BY run_id ORDER BY step) FROM points",
    "SELECT * FROM summaries WHERE metric IN ('a', 'b') UNION ALL SELECT * FROM summaries",
    "SELECT * FROM align('loss', 'a', 10)",
    "SELECT * FROM lttb('loss', 'a', 10)",
    "EXPLAIN ANALYZE SELECT count(DISTINCT metric) FROM \"demo\".points",
    "SELECT CASE WHEN value > 1 THEN 'x' ELSE NULL END, CAST(step AS DOUBLE) FROM points",
    "SELECT date_trunc('hour', timestamp), approx_percentile_cont(value, 0.5) FROM points GROUP BY 1 HAVING count(*) > 1",
    "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%p\\_%' ESCAPE '\\'",
    "SELECT a.x FROM (VALUES (1, 'y'), (2, NULL)) AS a(x, z) WHERE EXISTS (SELECT 1 FROM runs WHERE run_id = a.z)",
    "INSERT INTO points SELECT * FROM points",
];

const WORDS: [&str; 48] = [
    " SELECT ",
    " FROM ",
    " points ",
    " runs ",
    " summaries ",
    " params ",
    " tags ",
    " WHERE ",
    " GROUP BY ",
    " ORDER BY ",
    " LIMIT ",
    " JOIN ",
    " LEFT JOIN ",
    " CROSS JOIN ",
    " LATERAL ",
    " UNION ",
    " EXCEPT ",
    " INTERSECT ",
    " WITH ",
    " RECURSIVE ",
    " AS ",
    " CASE WHEN ",
    " THEN ",
    " END ",
    " CAST(",
    " OVER (",
    " PARTITION BY ",
    " UNNEST(",
    " VALUES ",
    " NOT ",
    " IN (",
    " EXISTS (",
    " INTERVAL '1 day' ",
    " ARRAY[",
    " GROUPING SETS ",
    " CUBE(",
    " ROLLUP(",
    " QUALIFY ",
    " DISTINCT ON (",
    " FILTER (WHERE ",
    " TABLESAMPLE ",
    "$1",
    "::",
    "||",
    "''",
    "\"",
    "(((((((((((((((((",
    "--",
];

struct Fixture {
    runtime: Runtime,
    engine: Engine,
    query: QueryEngine,
    _dir: tempfile::TempDir,
}

/// A server's storage with one project and a few points, for all inputs of the process.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| open().expect("a temporary directory"))
}

fn open() -> Result<Fixture, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let metadata = runtime.block_on(Metadata::open(&dir.path().join("metadata.sqlite")))?;
    let project = runtime.block_on(metadata.create_project("demo", 0))?;
    let engine = Engine::open(Env::real(), EngineConfig::new(dir.path()))?;
    let key = SeriesKey::new(project.project_id.as_str(), "loss", "a");
    let batch = Batch::new(vec![key], vec![0; 3], vec![0, 1, 2], vec![0; 3], vec![0.5, f64::NAN, -0.0])?;
    let (send, receive) = std::sync::mpsc::channel();
    engine.ingest(batch, None, move |result| {
        let _ = send.send(result.is_ok());
    })?;
    assert!(receive.recv()?, "a batch is taken");
    let mut config = QueryConfig::new(dir.path().join("spill"));
    (config.deadline, config.memory_bytes, config.threads) = (DEADLINE, 64 << 20, 2);
    let query = QueryEngine::new(config, metadata)?;
    Ok(Fixture { runtime, engine, query, _dir: dir })
}

/// I9: any text has an answer in time, and no planner's panic is the reason of one.
fn request(input: &[u8]) {
    let Ok(sql) = std::str::from_utf8(input) else { return };
    if sql.len() > TEXT_BYTES_MAX {
        return;
    }
    let fixture = fixture();
    let request = QueryRequest { sql: sql.to_owned(), project: Some("demo".to_owned()), params: Vec::new() };
    let answer = fixture.runtime.block_on(fixture.query.query(|| fixture.engine.snapshot(), request));
    match answer {
        Ok(stream) => drop(stream),
        Err(error @ (QueryError::Deadline { .. } | QueryError::Cancelled)) => panic!("{error}: {sql}"),
        Err(error) => assert!(!is_broken(&error), "{error}: {sql}"),
    }
}

/// What a query is told whose planner gave up by a panic.
fn is_broken(error: &QueryError) -> bool {
    error.kind() == stepwell_types::ErrorKind::Internal
}
