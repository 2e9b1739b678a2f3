//! The text of a scrape.

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};
use stepwell_app::{ArtifactStats, DiskSpace, EngineStats, QueryStats, Readiness, ReplayProgress, TROUBLES};
use stepwell_env::ProcessFigures;

use super::{Metrics, catalog::Register, const_histogram::ConstHistogram};
use crate::decode::InFlight;

/// The media type of the text below.
pub(crate) const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What others than the server count; what belongs to the application is absent while the storage is being opened.
pub(crate) struct Sources<'a> {
    /// One of `starting`, `stopping`, `ready`, `degraded`, or the code of the worst trouble.
    pub(crate) state: &'static str,
    /// Wall clock at the start of the process, microseconds since the Unix epoch.
    pub(crate) started_us: i64,
    pub(crate) memory_bytes: usize,
    pub(crate) bodies: &'a InFlight,
    pub(crate) replay: ReplayProgress,
    pub(crate) app: Option<AppSources>,
}

/// What the application counts.
pub(crate) struct AppSources {
    pub(crate) readiness: Readiness,
    pub(crate) engine: EngineStats,
    pub(crate) queries: QueryStats,
    pub(crate) disk: Option<DiskSpace>,
    pub(crate) artifacts: Option<ArtifactStats>,
    /// Bytes of runs in memory, and the limit.
    pub(crate) runs: (u64, u64),
}

/// A family of figures, one for each value of its one label.
type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

fn counters(label: &'static str, counts: &[(&'static str, u64)]) -> Labelled<Counter> {
    let family = Labelled::<Counter>::default();
    for (value, count) in counts {
        family.get_or_create(&[(label, *value)]).inc_by(*count);
    }
    family
}

fn gauges(label: &'static str, values: &[(&'static str, u64)]) -> Labelled<Gauge> {
    let family = Labelled::<Gauge>::default();
    for (name, value) in values {
        family.get_or_create(&[(label, *name)]).set(i64::try_from(*value).unwrap_or(i64::MAX));
    }
    family
}

impl Metrics {
    /// All of it, as text.
    pub(crate) fn scrape(&self, sources: &Sources<'_>) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let mut registry = Registry::default();
        of_process(&mut registry, sources);
        if let Some(app) = &sources.app {
            of_app(&mut registry, app);
            of_engine(&mut registry, &app.engine);
            of_queries(&mut registry, &app.queries);
        }
        encode(&mut text, &registry)?;
        // Each registry ends its text; only the last may.
        text.truncate(text.len() - "# EOF\n".len());
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn of_process(registry: &mut Registry, sources: &Sources<'_>) {
    let figures = ProcessFigures::read();
    registry.add("stepwell_build_info", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let known = [
        ("process_open_fds", figures.open_files),
        ("process_max_fds", figures.open_files_limit),
        ("process_resident_memory_bytes", figures.resident_bytes),
        ("process_virtual_memory_bytes", figures.virtual_bytes),
        ("process_threads", figures.threads),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            registry.add(name, ConstGauge::new(value));
        }
    }
    registry.add("process_start_time_seconds", ConstGauge::new(sources.started_us as f64 / 1e6));
    registry.add("stepwell_ready", ConstGauge::new(u64::from(matches!(sources.state, "ready" | "degraded"))));
    let states = ["starting", "stopping", "ready", "degraded"].into_iter().chain(TROUBLES);
    let states: Vec<_> = states.map(|state| (state, u64::from(state == sources.state))).collect();
    registry.add("stepwell_state", gauges("state", &states));
    registry.add("stepwell_replay_log_bytes", ConstGauge::new(sources.replay.bytes_total));
    registry.add("stepwell_replay_done_bytes", ConstGauge::new(sources.replay.bytes_done));
    registry.add("stepwell_request_bodies_bytes", ConstGauge::new(sources.bodies.used_bytes() as u64));
    registry.add("stepwell_request_budget_refusals_total", ConstCounter::new(sources.bodies.refused()));
    of_memory(registry, sources);
}

/// What of the budget of memory is in use, part by part.
fn of_memory(registry: &mut Registry, sources: &Sources<'_>) {
    let mut parts = vec![("requests", sources.bodies.used_bytes() as u64, sources.bodies.limit_bytes() as u64)];
    if let Some(AppSources { engine, queries, runs, .. }) = &sources.app {
        parts.extend([
            ("queue", engine.queue_bytes, engine.queue_bytes_limit),
            ("memtables", engine.memtable_bytes, engine.memtable_bytes_limit),
            ("free_slabs", engine.memtable_free_bytes, engine.memtable_bytes_limit),
            ("held", engine.memtable_held_bytes, 0),
            ("footers", engine.footer_bytes, engine.footer_bytes_limit),
            ("names", engine.name_bytes, 0),
            ("runs", runs.0, runs.1),
            ("queries", queries.memory_bytes, queries.memory_limit_bytes),
        ]);
    }
    let used: Vec<_> = parts.iter().map(|(part, used, _)| (*part, *used)).collect();
    let limits: Vec<_> = parts.iter().filter(|part| part.2 > 0).map(|(part, _, limit)| (*part, *limit)).collect();
    registry.add("stepwell_memory_used_bytes", ConstGauge::new(used.iter().map(|(_, used)| used).sum::<u64>()));
    registry.add("stepwell_memory_budget_bytes", ConstGauge::new(sources.memory_bytes as u64));
    registry.add("stepwell_memory_part_used_bytes", gauges("part", &used));
    registry.add("stepwell_memory_part_limit_bytes", gauges("part", &limits));
}

fn of_app(registry: &mut Registry, app: &AppSources) {
    let lasts = |code| app.readiness.troubles.iter().any(|trouble| trouble.code == code);
    let faults = TROUBLES.map(|code| (code, u64::from(lasts(code))));
    registry.add("stepwell_fault", gauges("fault", &faults));
    registry.add("stepwell_takes_batches", ConstGauge::new(u64::from(app.readiness.takes_batches)));
    registry.add("stepwell_answers_queries", ConstGauge::new(u64::from(app.readiness.answers_queries)));
    if let Some(disk) = app.disk {
        registry.add("stepwell_data_disk_free_bytes", ConstGauge::new(disk.free_bytes));
        registry.add("stepwell_data_disk_size_bytes", ConstGauge::new(disk.total_bytes));
    }
    if let Some(ArtifactStats { totals, received_bytes, sent_bytes }) = app.artifacts {
        registry.add("stepwell_artifacts", ConstGauge::new(totals.artifacts));
        registry.add("stepwell_artifact_bytes", ConstGauge::new(totals.bytes));
        registry.add("stepwell_artifact_blobs", ConstGauge::new(totals.blobs));
        registry.add("stepwell_artifact_blob_bytes", ConstGauge::new(totals.blob_bytes));
        registry.add("stepwell_artifact_received_bytes_total", ConstCounter::new(received_bytes));
        registry.add("stepwell_artifact_sent_bytes_total", ConstCounter::new(sent_bytes));
    }
}

/// The engine counts by itself; a scrape shows what it counted.
fn of_engine(registry: &mut Registry, stats: &EngineStats) {
    let levels: [(&str, u64); 25] = [
        ("stepwell_queue_batches", stats.queue_batches),
        ("stepwell_queue_limit_batches", stats.queue_batches_limit),
        ("stepwell_queue_bytes", stats.queue_bytes),
        ("stepwell_queue_limit_bytes", stats.queue_bytes_limit),
        ("stepwell_memtable_points", stats.memtable_points),
        ("stepwell_memtable_series", stats.memtable_series),
        ("stepwell_memtable_bytes", stats.memtable_bytes),
        ("stepwell_memtable_free_bytes", stats.memtable_free_bytes),
        ("stepwell_footer_bytes", stats.footer_bytes),
        ("stepwell_name_bytes", stats.name_bytes),
        ("stepwell_frozen_generations", stats.frozen_generations),
        ("stepwell_frozen_limit_generations", stats.frozen_generations_limit),
        ("stepwell_compaction_due", u64::from(stats.compaction_is_due)),
        ("stepwell_compaction_backlog_segments", stats.compaction_backlog),
        ("stepwell_compaction_backlog_limit_segments", stats.compaction_backlog_limit),
        ("stepwell_segments", stats.segments),
        ("stepwell_segment_rows", stats.segment_rows),
        ("stepwell_segment_bytes", stats.segment_bytes),
        ("stepwell_wal_files", stats.wal_files),
        ("stepwell_wal_file_bytes", stats.wal_file_bytes),
        ("stepwell_replay_records", stats.replay_records),
        ("stepwell_replay_points", stats.replay_points),
        ("stepwell_replay_torn_tails", stats.torn_tails),
        ("stepwell_damaged_places", stats.damaged),
        ("stepwell_visible_lsn", stats.visible_lsn),
    ];
    for (name, value) in levels {
        registry.add(name, ConstGauge::new(value));
    }
    let totals: [(&str, u64); 10] = [
        ("stepwell_engine_batches_total", stats.batches),
        ("stepwell_engine_points_total", stats.points),
        ("stepwell_engine_duplicates_total", stats.duplicates),
        ("stepwell_engine_held_total", stats.held),
        ("stepwell_wal_written_bytes_total", stats.wal_bytes),
        ("stepwell_wal_sync_failures_total", stats.wal_sync_failures),
        ("stepwell_flush_failures_total", stats.flush_failures),
        ("stepwell_flushed_bytes_total", stats.flushed_bytes),
        ("stepwell_compaction_failures_total", stats.compaction_failures),
        ("stepwell_compacted_bytes_total", stats.compacted_bytes),
    ];
    for (name, value) in totals {
        registry.add(name, ConstCounter::new(value));
    }
    registry.add("stepwell_flushes_total", ConstCounter::new(stats.flushes));
    registry.add("stepwell_compactions_total", ConstCounter::new(stats.compactions));
    registry.add("stepwell_engine_refused_total", counters("reason", &stats.refusals));
    registry.add("stepwell_wal_sync_duration_seconds", ConstHistogram(stats.wal_sync.clone()));
    registry.add("stepwell_flush_duration_seconds", ConstHistogram(stats.flush.clone()));
    registry.add("stepwell_compaction_duration_seconds", ConstHistogram(stats.compaction.clone()));
    registry.add("stepwell_wal_sync_max_seconds", ConstGauge::new(seconds(stats.wal_sync_us_max)));
    registry.add("stepwell_unflushed_age_seconds", ConstGauge::new(seconds(stats.unflushed_us)));
    registry.add("stepwell_replay_seconds", ConstGauge::new(seconds(stats.replay_us)));
}

fn of_queries(registry: &mut Registry, stats: &QueryStats) {
    registry.add("stepwell_queries_running", ConstGauge::new(stats.running));
    registry.add("stepwell_queries_waiting", ConstGauge::new(stats.waiting));
    registry.add("stepwell_queries_running_limit", ConstGauge::new(stats.running_limit));
    registry.add("stepwell_query_memory_limit_bytes", ConstGauge::new(stats.memory_limit_bytes));
    registry.add("stepwell_queries_total", counters("outcome", &stats.ended));
    registry.add("stepwell_queries_spilled_total", ConstCounter::new(stats.spilled_queries));
    registry.add("stepwell_query_spilled_bytes_total", ConstCounter::new(stats.spilled_bytes));
}
