//! What a scrape shows.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use stepwell_app::{ArtifactStats, DiskSpace, EngineStats, QueryStats, Readiness, ReplayProgress};

use super::{catalog::expected, *};
use crate::decode::InFlight;

fn scrape(metrics: &Metrics, bodies: &InFlight, app: Option<AppSources>) -> String {
    let replay = ReplayProgress { bytes_total: 9, bytes_done: 4, points: 1 };
    let started_us = 1_790_000_000_000_000;
    let sources = Sources { state: "ready", started_us, memory_bytes: 1_000, bodies, replay, app };
    metrics.scrape(&sources).unwrap()
}

fn app() -> AppSources {
    let readiness = Readiness { takes_batches: true, answers_queries: true, troubles: Vec::new() };
    let engine = EngineStats { refusals: vec![("queue_full", 3)], queue_bytes: 5, ..EngineStats::default() };
    let queries = QueryStats { ended: vec![("done", 2)], ..QueryStats::default() };
    let (disk, artifacts) = (DiskSpace { free_bytes: 1, total_bytes: 2 }, ArtifactStats::default());
    AppSources { readiness, engine, queries, disk: Some(disk), artifacts: Some(artifacts), runs: (7, 8) }
}

fn used() -> Metrics {
    let metrics = Metrics::new();
    metrics.ingested(5, 100, false);
    metrics.ingested(5, 100, true);
    let problem = Problem::new(StatusCode::BAD_REQUEST, "null_value", "row 3");
    metrics.refused(Door::Ingest, &problem);
    metrics.answered(metrics.began(), "POST", "/api/v1/ingest", 400, Duration::from_millis(1));
    metrics
}

#[test]
fn i4_refusals_are_counted_by_code_and_door() {
    let bodies = InFlight::new(10);
    let text = scrape(&used(), &bodies, Some(app()));
    for line in [
        "stepwell_ingested_points_total 5",
        "stepwell_ingest_duplicates_total 1",
        "stepwell_refusals_total{code=\"null_value\",door=\"ingest\"} 1",
        "stepwell_engine_refused_total{reason=\"queue_full\"} 3",
        "stepwell_queries_total{outcome=\"done\"} 2",
        "stepwell_request_bodies_bytes 0",
        "stepwell_http_request_duration_seconds_count{method=\"POST\",route=\"/api/v1/ingest\"} 1",
        "stepwell_memtable_bytes 0",
        "stepwell_memory_budget_bytes 1000",
        "stepwell_memory_used_bytes 12",
        "stepwell_memory_part_limit_bytes{part=\"runs\"} 8",
        "stepwell_memory_part_limit_bytes{part=\"requests\"} 10",
        "stepwell_state{state=\"ready\"} 1",
        "stepwell_state{state=\"disk_full\"} 0",
        "stepwell_fault{fault=\"disk_full\"} 0",
        "stepwell_wal_sync_duration_seconds_bucket{le=\"+Inf\"} 0",
        "stepwell_http_requests_abandoned_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
    }
    assert_eq!(text.matches("# EOF").count(), 1);
}

/// Everything that is shown is in the reference, with its type and labels, and the other way round.
#[test]
fn the_reference_is_what_is_shown() {
    let bodies = InFlight::new(10);
    let text = scrape(&used(), &bodies, Some(app()));
    let mut shown = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{name}{suffix}");
        let sample = if kind == "histogram" { format!("{name}_bucket") } else { name.clone() };
        let first = text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap_or_default();
        let labels = first.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let mut labels: Vec<&str> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        labels.retain(|label| *label != "le");
        labels.sort_unstable();
        shown.insert((name, kind.to_owned(), labels.join(", ")));
    }
    let expected =
        expected().into_iter().map(|(name, kind, labels)| (name.to_owned(), kind.to_owned(), labels.to_owned()));
    let expected: BTreeSet<_> = expected.collect();
    let differences: Vec<_> = shown.symmetric_difference(&expected).collect();
    assert!(differences.is_empty(), "only on one side: {differences:#?}");
}

#[test]
fn before_the_storage_is_open_the_replay_is_shown() {
    let bodies = InFlight::new(10);
    let text = scrape(&Metrics::new(), &bodies, None);
    assert!(text.contains("stepwell_replay_log_bytes 9\n") && text.contains("stepwell_replay_done_bytes 4\n"));
    assert!(!text.contains("stepwell_queue_bytes"));
}

#[test]
fn a_request_that_is_dropped_without_an_answer_is_counted_as_abandoned() {
    let metrics = Metrics::new();
    let (begun, dropped) = (metrics.began(), metrics.began());
    assert_eq!(metrics.in_flight.get(), 2);
    drop(dropped);
    metrics.answered(begun, "GET", "/health", 200, Duration::ZERO);
    assert_eq!((metrics.in_flight.get(), metrics.abandoned.get()), (0, 1));
    let (one, two) = (metrics.connection_opened(), metrics.connection_opened());
    drop(one);
    assert_eq!((metrics.connections.get(), metrics.accepted.get()), (1, 2));
    drop(two);
}

#[test]
fn every_route_has_a_door() {
    assert_eq!(Door::of_route(crate::flight::ROUTE), Door::Flight);
    assert_eq!(Door::of_route("/api/v1/runs/{run_id}/log"), Door::Log);
    assert_eq!(Door::of_route("unknown"), Door::Other);
}
