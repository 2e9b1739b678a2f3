//! The load generator against the real binary.

use std::{sync::Arc, time::Duration};

use stepwell_loadgen::{Dataset, Load, Overload, Shape, create_runs, verify};
use stepwell_tests::Server;

fn load(server: &Server, seed: u64) -> Load {
    Load {
        server: server.url().to_owned(),
        project: "load".to_owned(),
        dataset: Arc::new(Dataset::new("sweep", Shape { runs: 5, metrics: 7, steps: 60 }, seed)),
        batch: 10,
        connections: 3,
        pipeline: None,
        mlflow: false,
        prepared: false,
        producers: 4,
        rate: None,
        duration: Duration::from_secs(60),
        session: "test".to_owned(),
    }
}

#[test]
fn all_is_sent_once_and_reading_back_finds_what_differs() {
    let server = Server::start().unwrap();
    let load_one = load(&server, 1);
    create_runs(&load_one.server, &load_one.project, &load_one.dataset, 2).unwrap();
    let report = load_one.run().unwrap();
    let all: u64 = (0..5).map(|run| load_one.dataset.points(run)).sum();
    assert_eq!((report.points, report.latency.count() as u64), (all, report.batches));
    let verified = verify(&load_one, &report.sent, 5).unwrap();
    assert_eq!((verified.runs, verified.whole_runs, verified.points), (5, 5, all));
    // The same producers and sequences again: acknowledged as duplicates, nothing is added (I3).
    load_one.run().unwrap();
    verify(&load_one, &report.sent, 5).unwrap();
    // Another seed has other values: the check must see it.
    let other = load(&server, 2);
    assert!(verify(&other, &report.sent, 5).is_err());
    let mut fewer = report.sent.clone();
    *fewer.get_mut(&3).unwrap() -= 1;
    let error = verify(&load_one, &fewer, 0).unwrap_err().to_string();
    assert!(error.contains("sweep-00003"), "{error}");
}

#[test]
fn a_rate_is_kept() {
    let server = Server::start().unwrap();
    let mut load = load(&server, 1);
    (load.rate, load.duration) = (Some(400.0), Duration::from_millis(1_500));
    create_runs(&load.server, &load.project, &load.dataset, 1).unwrap();
    let report = load.run().unwrap();
    // Batches of ten, due at 0, 75, 150, … ms on each of three connections.
    assert!((30..=60).contains(&report.batches), "{report}");
}

#[test]
fn what_is_logged_as_mlflow_does_is_there_once() {
    let server = Server::start().unwrap();
    let load = Load { mlflow: true, prepared: true, ..load(&server, 1) };
    create_runs(&load.server, &load.project, &load.dataset, 2).unwrap();
    let report = load.run().unwrap();
    assert_eq!(report.points, (0..5).map(|run| load.dataset.points(run)).sum::<u64>());
    assert_eq!(verify(&load, &report.sent, 0).unwrap().runs, 5);
    // The same calls once more are known again, though nothing numbers them.
    load.run().unwrap();
    verify(&load, &report.sent, 0).unwrap();
}

#[test]
fn all_is_streamed_once_over_flight() {
    let server = Server::start().unwrap();
    let mut load = load(&server, 1);
    (load.pipeline, load.producers) = (Some(8), 0);
    create_runs(&load.server, &load.project, &load.dataset, 2).unwrap();
    let report = load.run().unwrap();
    let all: u64 = (0..5).map(|run| load.dataset.points(run)).sum();
    assert_eq!((report.points, report.latency.count() as u64), (all, report.batches));
    assert_eq!(verify(&load, &report.sent, 5).unwrap().points, all);
    // The same once more is acknowledged and adds nothing (I3).
    load.run().unwrap();
    verify(&load, &report.sent, 5).unwrap();
}

#[test]
fn a_rate_is_kept_over_flight() {
    let server = Server::start().unwrap();
    let mut load = load(&server, 1);
    (load.pipeline, load.producers) = (Some(8), 0);
    (load.rate, load.duration) = (Some(400.0), Duration::from_millis(1_500));
    create_runs(&load.server, &load.project, &load.dataset, 1).unwrap();
    let report = load.run().unwrap();
    assert!((30..=60).contains(&report.batches), "{report}");
}

#[test]
fn i1_i9_an_overloaded_server_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let overload = Overload {
        dir: dir.path().to_owned(),
        duration: Duration::from_secs(2),
        round: Duration::from_millis(1_200),
        calibration: Duration::from_secs(1),
        batch: 1_000,
        connections: 64,
        memory_bytes: Some(2 << 30),
        // Room for some thirty batches.
        flags: ["--queue-bytes", "1048576"].map(str::to_owned).to_vec(),
    };
    let report = overload.run().unwrap();
    assert!(report.violations().is_empty(), "{report}");
    assert!(report.refused > 0 && report.accepted > 0 && report.samples >= 2 && report.rounds == 2, "{report}");
}
