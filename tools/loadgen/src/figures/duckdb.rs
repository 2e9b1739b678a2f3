//! DuckDB from PyPI on the same segment files, as a peer.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// Prints the median of seven repetitions after one, in seconds.
const SCRIPT: &str = r"
import sys, time, duckdb
connection = duckdb.connect()
connection.execute(f'CREATE VIEW points AS SELECT * FROM read_parquet(\'{sys.argv[1]}/**/*.parquet\')')
times = []
for _ in range(8):
    begin = time.perf_counter()
    connection.sql(sys.argv[2]).to_arrow_table()
    times.append(time.perf_counter() - begin)
print(sorted(times[1:])[3])
";

/// How long DuckDB takes for `query` over the view `points` of all segments.
pub(super) fn median(python: &Path, segments: &Path, query: &str) -> Result<Duration> {
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(segments)
        .arg(query)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", python.display()))?;
    ensure!(output.status.success(), "DuckDB failed on: {query}");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Duration::from_secs_f64(text.trim().parse().with_context(|| text.clone().into_owned())?))
}
