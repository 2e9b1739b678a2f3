//! Counters of the network's side, and the engine's figures, as Prometheus text.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use stepwell_app::EngineStats;

/// The media type of the text below.
pub(crate) const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    method: &'static str,
    route: String,
    status: u16,
}

/// What the server counts itself. Cheap to update from any request.
pub(crate) struct Metrics {
    registry: Registry,
    ingested_points: Counter,
    ingested_batches: Counter,
    ingested_bytes: Counter,
    duplicates: Counter,
    refusals: Family<CodeLabel, Counter>,
    requests: Family<StatusLabels, Counter>,
    latency: Family<RouteLabels, Histogram>,
    in_flight_bytes: Gauge<u64, AtomicU64>,
    memory_bytes: Gauge<u64, AtomicU64>,
    flight_streams: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// All at zero. `memory_bytes` is the budget of the process.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("stepwell"),
            ingested_points: Counter::default(),
            ingested_batches: Counter::default(),
            ingested_bytes: Counter::default(),
            duplicates: Counter::default(),
            refusals: Family::default(),
            requests: Family::default(),
            // 100 µs to 26 s.
            latency: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 19))),
            in_flight_bytes: Gauge::default(),
            memory_bytes: Gauge::default(),
            flight_streams: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("ingested_points", "Points acknowledged", metrics.ingested_points.clone());
        registry.register("ingested_batches", "Batches acknowledged", metrics.ingested_batches.clone());
        registry.register("ingested_bytes", "Body bytes of acknowledged batches", metrics.ingested_bytes.clone());
        registry.register("ingest_duplicates", "Batches answered as duplicates", metrics.duplicates.clone());
        registry.register("refusals", "Requests answered with a problem, by its code", metrics.refusals.clone());
        registry.register("http_requests", "Requests answered, by route and status", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's head, by route",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register("request_bodies_bytes", "Bodies being received and decoded", metrics.in_flight_bytes.clone());
        registry.register("memory_used_bytes", "What is counted of the budget of memory", metrics.memory_bytes.clone());
        let budget = ConstGauge::new(memory_bytes as u64);
        registry.register("memory_budget_bytes", "The budget of memory, memory_bytes", budget);
        registry.register("flight_streams", "Flight streams being read", metrics.flight_streams.clone());
        metrics
    }

    /// Counts a stream for as long as what it returns is kept.
    pub(crate) fn stream_opened(&self) -> impl Drop + Send + use<> {
        struct Open(Gauge<u64, AtomicU64>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.flight_streams.inc();
        Open(self.flight_streams.clone())
    }

    /// Counts a refusal that is not an answer's status.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts an acknowledged batch. `body_bytes` are as received.
    pub(crate) fn ingested(&self, points: u64, body_bytes: usize, duplicate: bool) {
        if duplicate {
            self.duplicates.inc();
            return;
        }
        self.ingested_batches.inc();
        self.ingested_points.inc_by(points);
        self.ingested_bytes.inc_by(body_bytes as u64);
    }

    /// Counts an answered request.
    pub(crate) fn answered(
        &self,
        method: &'static str,
        route: &str,
        status: u16,
        code: Option<&'static str>,
        took: Duration,
    ) {
        let route = route.to_owned();
        self.latency.get_or_create(&RouteLabels { method, route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&StatusLabels { method, route, status }).inc();
        if let Some(code) = code {
            self.refused(code);
        }
    }

    /// The text of a scrape; `engine` is absent while the storage is being opened.
    pub(crate) fn scrape(
        &self,
        in_flight_bytes: usize,
        engine: Option<&EngineStats>,
    ) -> Result<String, std::fmt::Error> {
        self.in_flight_bytes.set(in_flight_bytes as u64);
        let of_engine = engine.map_or(0, |stats| {
            stats.queue_bytes + stats.memtable_bytes + stats.memtable_free_bytes + stats.footer_bytes + stats.name_bytes
        });
        self.memory_bytes.set(in_flight_bytes as u64 + of_engine);
        let mut text = String::new();
        if let Some(stats) = engine {
            encode(&mut text, &engine_registry(stats))?;
            // Each registry ends its text; only the last may.
            text.truncate(text.len() - "# EOF\n".len());
        }
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The engine counts by itself; a scrape shows what it counted.
fn engine_registry(stats: &EngineStats) -> Registry {
    let mut registry = Registry::with_prefix("stepwell");
    let gauges: [(&str, &str, u64); 16] = [
        ("ready", "1 once the storage is open", 1),
        ("queue_bytes", "Batches waiting for the log", stats.queue_bytes),
        ("memtable_points", "Points not yet in segments", stats.memtable_points),
        ("memtable_series", "Series with points not yet in segments", stats.memtable_series),
        ("memtable_bytes", "Heap bytes of points not yet in segments", stats.memtable_bytes),
        ("memtable_free_bytes", "Heap bytes kept for the next points", stats.memtable_free_bytes),
        ("footer_bytes", "Heap bytes of footers of segments kept for the next query", stats.footer_bytes),
        ("name_bytes", "Heap bytes of what is known of the names of series", stats.name_bytes),
        ("frozen_generations", "Memtable generations waiting for a flush", stats.frozen_generations),
        ("compaction_due", "1 while segments wait to be merged", u64::from(stats.compaction_is_due)),
        ("segments", "Live segments", stats.segments),
        ("segment_rows", "Points in live segments", stats.segment_rows),
        ("segment_bytes", "Bytes of live segments", stats.segment_bytes),
        ("replay_points", "Points replayed from the log at the start", stats.replay_points),
        ("damaged_places", "Damaged places known in files; `stepwell check` lists them", stats.damaged),
        ("visible_lsn", "Last visible LSN", stats.visible_lsn),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(value));
    }
    let counters: [(&str, &str, u64); 13] = [
        ("engine_batches", "Batches applied", stats.batches),
        ("engine_points", "Points applied", stats.points),
        ("engine_duplicates", "Batches not applied again", stats.duplicates),
        ("engine_held", "Times a full queue held a stream's batch back", stats.held),
        ("engine_refused", "Batches refused for overload or failure", stats.refused),
        ("wal_written_bytes", "Bytes appended to the log", stats.wal_bytes),
        ("wal_syncs", "Syncs of the log", stats.wal_syncs),
        ("flushes", "Flushes into segments", stats.flushes),
        ("flush_failures", "Flushes that failed", stats.flush_failures),
        ("flushed_bytes", "Bytes of segments written by flushes", stats.flushed_bytes),
        ("compactions", "Merges of segments", stats.compactions),
        ("compaction_failures", "Merges of segments that failed", stats.compaction_failures),
        ("compacted_bytes", "Bytes of segments written by merges", stats.compacted_bytes),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let seconds = |us: u64| us as f64 / 1e6;
    let times = [
        ("wal_sync", "Time spent in syncs of the log", seconds(stats.wal_sync_us)),
        ("flush", "Time spent in flushes", seconds(stats.flush_us)),
        ("compaction", "Time spent in merges of segments", seconds(stats.compaction_us)),
    ];
    for (name, help, value) in times {
        registry.register_with_unit(name, help, Unit::Seconds, ConstCounter::new(value));
    }
    let longest = ConstGauge::new(seconds(stats.wal_sync_us_max));
    registry.register_with_unit("wal_sync_max", "Longest sync of the log so far", Unit::Seconds, longest);
    let replay = ConstGauge::new(seconds(stats.replay_us));
    registry.register_with_unit("replay", "Time the replay at the start took", Unit::Seconds, replay);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_refusals_are_counted_by_code() {
        let metrics = Metrics::new(1_000);
        metrics.ingested(5, 100, false);
        metrics.ingested(5, 100, true);
        metrics.answered("POST", "/api/v1/ingest", 400, Some("null_value"), Duration::from_millis(1));
        let text = metrics.scrape(7, Some(&EngineStats::default())).unwrap();
        for line in [
            "stepwell_ingested_points_total 5",
            "stepwell_ingest_duplicates_total 1",
            "stepwell_refusals_total{code=\"null_value\"} 1",
            "stepwell_request_bodies_bytes 7",
            "stepwell_http_request_duration_seconds_count{method=\"POST\",route=\"/api/v1/ingest\"} 1",
            "stepwell_memtable_bytes 0",
            "stepwell_memory_budget_bytes 1000",
            "stepwell_memory_used_bytes 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
