//! What the server counts itself. The text of a scrape is written by `scrape`, which adds what the engine, the queries and the
//! operating system say; `catalog` has a row for everything that is shown.

mod catalog;
mod complaints;
mod const_histogram;
mod scrape;

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

pub use catalog::metrics_markdown;
pub(crate) use scrape::{AppSources, OPENMETRICS_TEXT, Sources};

use self::{catalog::Register, complaints::Complaints};
use crate::problem::Problem;

/// The way a call comes in, for the counters of refusals. Few, whatever clients invent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    Ingest,
    Log,
    Flight,
    Sql,
    Series,
    Other,
}

impl Door {
    /// Of a route of the router.
    pub(crate) fn of_route(route: &str) -> Self {
        match route {
            "/api/v1/ingest" => Self::Ingest,
            "/api/v1/runs/{run_id}/log" => Self::Log,
            "/api/v1/sql" => Self::Sql,
            "/api/v1/series" => Self::Series,
            crate::flight::ROUTE => Self::Flight,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Log => "log",
            Self::Flight => "flight",
            Self::Sql => "sql",
            Self::Series => "series",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: &'static str,
    door: &'static str,
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

type Level = Gauge<u64, AtomicU64>;

/// Cheap to update from any request.
pub(crate) struct Metrics {
    registry: Registry,
    ingested_points: Counter,
    ingested_batches: Counter,
    ingested_bytes: Counter,
    duplicates: Counter,
    refusals: Family<RefusalLabels, Counter>,
    requests: Family<StatusLabels, Counter>,
    latency: Family<RouteLabels, Histogram>,
    in_flight: Level,
    abandoned: Counter,
    flight_streams: Level,
    connections: Level,
    accepted: Counter,
    accept_failures: Counter,
    complaints: Complaints,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            ingested_points: Counter::default(),
            ingested_batches: Counter::default(),
            ingested_bytes: Counter::default(),
            duplicates: Counter::default(),
            refusals: Family::default(),
            requests: Family::default(),
            // 100 µs to 26 s.
            latency: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 19))),
            in_flight: Level::default(),
            abandoned: Counter::default(),
            flight_streams: Level::default(),
            connections: Level::default(),
            accepted: Counter::default(),
            accept_failures: Counter::default(),
            complaints: Complaints::default(),
        };
        let registry = &mut metrics.registry;
        registry.add("stepwell_ingested_points_total", metrics.ingested_points.clone());
        registry.add("stepwell_ingested_batches_total", metrics.ingested_batches.clone());
        registry.add("stepwell_ingested_bytes_total", metrics.ingested_bytes.clone());
        registry.add("stepwell_ingest_duplicates_total", metrics.duplicates.clone());
        registry.add("stepwell_refusals_total", metrics.refusals.clone());
        registry.add("stepwell_http_requests_total", metrics.requests.clone());
        registry.add("stepwell_http_request_duration_seconds", metrics.latency.clone());
        registry.add("stepwell_http_requests_in_flight", metrics.in_flight.clone());
        registry.add("stepwell_http_requests_abandoned_total", metrics.abandoned.clone());
        registry.add("stepwell_flight_streams", metrics.flight_streams.clone());
        registry.add("stepwell_connections", metrics.connections.clone());
        registry.add("stepwell_connections_accepted_total", metrics.accepted.clone());
        registry.add("stepwell_accept_failures_total", metrics.accept_failures.clone());
        metrics
    }

    /// Counts a stream for as long as what it returns is kept.
    pub(crate) fn stream_opened(&self) -> Held {
        Held::new(&self.flight_streams)
    }

    /// Counts a connection for as long as what it returns is kept.
    pub(crate) fn connection_opened(&self) -> Held {
        self.accepted.inc();
        Held::new(&self.connections)
    }

    /// Counts a connection that the operating system did not give.
    pub(crate) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// Counts a refusal, and says so in the log where it is a fault of the server's.
    pub(crate) fn refused(&self, door: Door, problem: &Problem) {
        self.refused_with(door, problem.code(), problem.status(), problem.detail());
    }

    fn refused_with(&self, door: Door, code: &'static str, status: u16, detail: &str) {
        self.refusals.get_or_create(&RefusalLabels { code, door: door.as_str() }).inc();
        if status >= 500 {
            self.complaints.complain(code, detail, tokio::time::Instant::now());
        }
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

    /// Counts a request until it is answered, or dropped without.
    pub(crate) fn began(&self) -> Begun {
        Begun { _held: Held::new(&self.in_flight), abandoned: Some(self.abandoned.clone()) }
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, mut begun: Begun, method: &'static str, route: &str, status: u16, took: Duration) {
        begun.abandoned = None;
        let route = route.to_owned();
        self.latency.get_or_create(&RouteLabels { method, route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&StatusLabels { method, route, status }).inc();
    }
}

/// Something that is counted while it is there.
pub(crate) struct Held(Level);

impl Held {
    fn new(level: &Level) -> Self {
        level.inc();
        Self(level.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request without an answer yet.
pub(crate) struct Begun {
    _held: Held,
    abandoned: Option<Counter>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(abandoned) = &self.abandoned {
            abandoned.inc();
        }
    }
}

#[cfg(test)]
mod tests;
