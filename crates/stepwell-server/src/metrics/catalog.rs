//! Everything that `/metrics` shows, once: what it is, what it means, and when somebody should look.

use prometheus_client::registry::{Metric, Registry};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
    Info,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What the text appends to the name of a sample.
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// One figure.
struct Row {
    /// As in the samples of the text, `_total` included.
    name: &'static str,
    kind: Kind,
    /// Names of its labels, with commas between.
    labels: &'static str,
    meaning: &'static str,
    /// When to look; empty where it explains others.
    alert: &'static str,
}

const fn row(name: &'static str, kind: Kind, labels: &'static str, meaning: &'static str, alert: &'static str) -> Row {
    Row { name, kind, labels, meaning, alert }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The process.
    row("process_open_fds", Kind::Gauge, "", "File descriptors in use.", "above 80 % of `process_max_fds`"),
    row("process_max_fds", Kind::Gauge, "", "How many there may be.", ""),
    row("process_resident_memory_bytes", Kind::Gauge, "", "Memory that is resident, pages of mapped segments included.", "near what the machine or container has"),
    row("process_virtual_memory_bytes", Kind::Gauge, "", "Address space in use, mapped segments included.", ""),
    row("process_threads", Kind::Gauge, "", "Threads.", "rises without end"),
    row("process_start_time_seconds", Kind::Gauge, "", "When the process started, seconds since the Unix epoch.", "changes without a deployment: it was restarted"),
    row("stepwell_build_info", Kind::Info, "version", "1; the label says which version runs.", ""),
    // How things stand.
    row("stepwell_ready", Kind::Gauge, "", "1 while `/ready` answers 200.", "0 for longer than a restart takes"),
    row("stepwell_state", Kind::Gauge, "state", "1 for the state that `/ready` tells (`starting`, `stopping`, `ready`, `degraded`, or the code of the worst fault), 0 for the others.", ""),
    row("stepwell_takes_batches", Kind::Gauge, "", "1 while a batch would be taken.", "0"),
    row("stepwell_answers_queries", Kind::Gauge, "", "1 while queries are answered.", "0"),
    row("stepwell_fault", Kind::Gauge, "fault", "1 while that fault lasts; the log has a line for its beginning and one for its end, `/ready` has the reason and what to do.", "any 1"),
    row("stepwell_data_disk_free_bytes", Kind::Gauge, "", "Room that is left where the data directory is.", "below a day of `stepwell_flushed_bytes_total` and `stepwell_compacted_bytes_total`, or 10 %"),
    row("stepwell_data_disk_size_bytes", Kind::Gauge, "", "Size of that file system.", ""),
    row("stepwell_damaged_places", Kind::Gauge, "", "Damaged places known in files; `stepwell check` lists them.", "above 0"),
    // Ways in.
    row("stepwell_http_requests_total", Kind::Counter, "method, route, status", "Requests answered.", "share of status 5xx"),
    row("stepwell_http_request_duration_seconds", Kind::Histogram, "method, route", "From a request's head to its answer's head.", "p99 of `/api/v1/ingest` far above that of `stepwell_wal_sync_duration_seconds`"),
    row("stepwell_http_requests_in_flight", Kind::Gauge, "", "Requests not answered yet.", ""),
    row("stepwell_http_requests_abandoned_total", Kind::Counter, "", "Requests whose client went away before the answer.", "rises with latency: clients give up"),
    row("stepwell_connections", Kind::Gauge, "", "Connections open.", "near `process_max_fds`"),
    row("stepwell_connections_accepted_total", Kind::Counter, "", "Connections taken.", ""),
    row("stepwell_accept_failures_total", Kind::Counter, "", "Times the operating system gave no connection, most often for want of file descriptors.", "any increase"),
    row("stepwell_flight_streams", Kind::Gauge, "", "Flight streams being read.", ""),
    row("stepwell_refusals_total", Kind::Counter, "code, door", "Refusals by their code (`errors.md`) and by where they came in: `ingest`, `log`, `flight`, `sql`, `series`, `other`.", "increase of 5xx codes and of `queue_full`"),
    row("stepwell_request_budget_refusals_total", Kind::Counter, "", "Times the memory for bodies and messages (`request_bytes`) had no room; a stream then waits and tries again, a request hears `queue_full`.", "steady increase: raise `request_bytes`, or send less at once"),
    row("stepwell_ingested_points_total", Kind::Counter, "", "Points acknowledged.", "stops while producers run"),
    row("stepwell_ingested_batches_total", Kind::Counter, "", "Batches acknowledged.", ""),
    row("stepwell_ingested_bytes_total", Kind::Counter, "", "Body bytes of acknowledged batches, as received.", ""),
    row("stepwell_ingest_duplicates_total", Kind::Counter, "", "Batches answered as duplicates: retries of what had been applied.", "a large share: answers do not reach producers"),
    // The queue and the log.
    row("stepwell_queue_batches", Kind::Gauge, "", "Batches waiting for the log.", "near its limit"),
    row("stepwell_queue_limit_batches", Kind::Gauge, "", "How many may wait.", ""),
    row("stepwell_queue_bytes", Kind::Gauge, "", "Bytes of batches waiting for the log.", "near its limit"),
    row("stepwell_queue_limit_bytes", Kind::Gauge, "", "How many may wait, `queue_bytes`.", ""),
    row("stepwell_engine_batches_total", Kind::Counter, "", "Batches applied.", ""),
    row("stepwell_engine_points_total", Kind::Counter, "", "Points applied.", ""),
    row("stepwell_engine_duplicates_total", Kind::Counter, "", "Batches not applied again.", ""),
    row("stepwell_engine_held_total", Kind::Counter, "", "Times a full queue held a stream's batch back.", ""),
    row("stepwell_engine_refused_total", Kind::Counter, "reason", "Batches that the engine refused, whatever way they came in.", "increase of `log_failed`, `disk_full`, `flush_fails`"),
    row("stepwell_wal_written_bytes_total", Kind::Counter, "", "Bytes appended to the log.", ""),
    row("stepwell_wal_sync_duration_seconds", Kind::Histogram, "", "Syncs of the log: no acknowledgement is faster.", "p99 far above the usual: the device is slow or shared"),
    row("stepwell_wal_sync_max_seconds", Kind::Gauge, "", "The longest since the start.", ""),
    row("stepwell_wal_sync_failures_total", Kind::Counter, "", "Writes and syncs of the log that failed.", "any increase"),
    row("stepwell_wal_files", Kind::Gauge, "", "Files of the log.", ""),
    row("stepwell_wal_file_bytes", Kind::Gauge, "", "Their bytes on disk: what a start would replay, at most.", "rises while flushes fail"),
    row("stepwell_visible_lsn", Kind::Gauge, "", "Last LSN that queries see.", ""),
    // Memory.
    row("stepwell_memory_used_bytes", Kind::Gauge, "", "What is counted of the budget.", "near the budget for long"),
    row("stepwell_memory_budget_bytes", Kind::Gauge, "", "The budget, `memory_bytes`.", ""),
    row("stepwell_memory_part_used_bytes", Kind::Gauge, "part", "The same by part: `requests`, `queue`, `memtables`, `free_slabs`, `held` (of points that segments have, by queries that began before), `footers`, `names`, `runs`, `queries`.", ""),
    row("stepwell_memory_part_limit_bytes", Kind::Gauge, "part", "What a part may have, where it has a limit of its own.", ""),
    row("stepwell_request_bodies_bytes", Kind::Gauge, "", "Bodies and messages being received and decoded.", ""),
    row("stepwell_memtable_points", Kind::Gauge, "", "Points not yet in segments.", ""),
    row("stepwell_memtable_series", Kind::Gauge, "", "Series with points not yet in segments.", ""),
    row("stepwell_memtable_bytes", Kind::Gauge, "", "Heap bytes of points not yet in segments.", ""),
    row("stepwell_memtable_free_bytes", Kind::Gauge, "", "Heap bytes kept for the next points.", ""),
    row("stepwell_footer_bytes", Kind::Gauge, "", "Heap bytes of footers of segments kept for the next query.", ""),
    row("stepwell_name_bytes", Kind::Gauge, "", "Heap bytes of what is known of the names of series.", "rises without end: a name has data in it"),
    // Flush.
    row("stepwell_frozen_generations", Kind::Gauge, "", "Generations of memtables waiting for a flush.", "at its limit for long"),
    row("stepwell_frozen_limit_generations", Kind::Gauge, "", "How many may wait before writers wait.", ""),
    row("stepwell_unflushed_age_seconds", Kind::Gauge, "", "Age of the oldest generation with points that are in no segment.", "above ten times `flush_age_seconds`"),
    row("stepwell_flushes_total", Kind::Counter, "", "Flushes into segments.", ""),
    row("stepwell_flush_failures_total", Kind::Counter, "", "Flushes that failed and are tried again.", "any increase"),
    row("stepwell_flush_duration_seconds", Kind::Histogram, "", "Flushes that succeeded.", ""),
    row("stepwell_flushed_bytes_total", Kind::Counter, "", "Bytes of segments written by flushes.", ""),
    // Compaction.
    row("stepwell_segments", Kind::Gauge, "", "Live segments.", "rises without end"),
    row("stepwell_segment_rows", Kind::Gauge, "", "Points in live segments.", ""),
    row("stepwell_segment_bytes", Kind::Gauge, "", "Bytes of live segments.", ""),
    row("stepwell_compaction_due", Kind::Gauge, "", "1 while segments wait to be merged.", ""),
    row("stepwell_compaction_backlog_segments", Kind::Gauge, "", "Segments of flushes that no merge has taken.", "near its limit"),
    row("stepwell_compaction_backlog_limit_segments", Kind::Gauge, "", "From how many on flushes wait for merges.", ""),
    row("stepwell_compactions_total", Kind::Counter, "", "Merges of segments.", ""),
    row("stepwell_compaction_failures_total", Kind::Counter, "", "Merges that failed and are tried again.", "any increase"),
    row("stepwell_compaction_duration_seconds", Kind::Histogram, "", "Merges that succeeded.", ""),
    row("stepwell_compacted_bytes_total", Kind::Counter, "", "Bytes of segments written by merges. Divided by `stepwell_flushed_bytes_total` and plus one, the write amplification.", ""),
    // Artifacts.
    row("stepwell_artifacts", Kind::Gauge, "", "Artifacts, by their paths.", ""),
    row("stepwell_artifact_bytes", Kind::Gauge, "", "Their bytes, as if none were stored once for several.", ""),
    row("stepwell_artifact_blobs", Kind::Gauge, "", "Files that they are stored in.", ""),
    row("stepwell_artifact_blob_bytes", Kind::Gauge, "", "Bytes of those files.", "rises faster than the disk can bear"),
    row("stepwell_artifact_received_bytes_total", Kind::Counter, "", "Bytes of uploads written, those that came to nothing included.", ""),
    row("stepwell_artifact_sent_bytes_total", Kind::Counter, "", "Bytes of artifacts read for downloads.", ""),
    // Start.
    row("stepwell_replay_log_bytes", Kind::Gauge, "", "Bytes of the log's files when the server started; 0 until they were looked at.", ""),
    row("stepwell_replay_done_bytes", Kind::Gauge, "", "How far the replay is in them.", "does not rise while `starting`"),
    row("stepwell_replay_records", Kind::Gauge, "", "Batches replayed.", ""),
    row("stepwell_replay_points", Kind::Gauge, "", "Points replayed.", ""),
    row("stepwell_replay_seconds", Kind::Gauge, "", "How long the start took, the replay included.", "above what a restart may take"),
    row("stepwell_replay_torn_tails", Kind::Gauge, "", "1 if an unfinished write was cut off the log: nothing of it had been acknowledged.", ""),
    // Queries.
    row("stepwell_queries_running", Kind::Gauge, "", "SQL queries that run.", "at its limit for long"),
    row("stepwell_queries_running_limit", Kind::Gauge, "", "How many may run at once.", ""),
    row("stepwell_queries_waiting", Kind::Gauge, "", "SQL queries that wait for their turn.", "above 0 for long"),
    row("stepwell_queries_total", Kind::Counter, "outcome", "SQL queries that ended: `done`, `refused` (not run), `over_memory`, `over_deadline`, `failed`, `cancelled` (the client went away).", "increase of `failed`, share of `over_memory` and `over_deadline`"),
    row("stepwell_queries_spilled_total", Kind::Counter, "", "SQL queries that wrote to disk for want of memory.", ""),
    row("stepwell_query_spilled_bytes_total", Kind::Counter, "", "How much they wrote.", ""),
    row("stepwell_query_memory_limit_bytes", Kind::Gauge, "", "Memory that SQL queries and others who read may have together, `query_memory_bytes`.", ""),
];

/// Registering by the name in the samples; the catalog has the words.
pub(super) trait Register {
    fn add(&mut self, name: &'static str, metric: impl Metric);
}

impl Register for Registry {
    fn add(&mut self, name: &'static str, metric: impl Metric) {
        let row = ROWS.iter().find(|row| row.name == name);
        let suffix = row.map_or("", |row| row.kind.suffix());
        let meaning = row.map_or("", |row| row.meaning.trim_end_matches('.'));
        self.register(name.strip_suffix(suffix).unwrap_or(name), meaning, metric);
    }
}

/// The reference of figures, as committed in `schemas/metrics.md`.
pub fn metrics_markdown() -> String {
    let mut text = String::from(
        "# Figures\n\nGenerated. What `GET /metrics` shows, in OpenMetrics text, for Prometheus and its kin. Units are seconds and bytes, \
         counters start at 0 with the process. Labels have few values, none of them chosen by clients. What comes from the storage is absent \
         while it is being opened. Of a histogram there are `_bucket`, `_sum` and `_count`; a percentile is \
         `histogram_quantile(0.99, rate(NAME_bucket[5m]))`.\n\n\
         | name | type | labels | meaning | look when |\n| --- | --- | --- | --- | --- |\n",
    );
    for Row { name, kind, labels, meaning, alert } in ROWS {
        text += &format!("| `{name}` | {} | {labels} | {meaning} | {alert} |\n", kind.as_str());
    }
    text
}

#[cfg(test)]
pub(super) fn expected() -> Vec<(&'static str, &'static str, &'static str)> {
    ROWS.iter().map(|row| (row.name, row.kind.as_str(), row.labels)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/metrics.md");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, metrics_markdown()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), metrics_markdown(), "run `cargo xtask schemas`");
    }

    #[test]
    fn names_follow_the_conventions() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "{} is there twice", row.name);
            assert!(row.name.starts_with("stepwell_") || row.name.starts_with("process_"), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            let is_base_unit = |word: &str| !["ms", "us", "millis", "kib", "mb", "minutes"].contains(&word);
            assert!(row.name.split('_').all(is_base_unit), "{}", row.name);
            assert!(
                row.meaning.ends_with('.') && !row.meaning.contains('|') && !row.alert.contains('|'),
                "{}",
                row.name
            );
        }
    }
}
