//! Limits of names: exact at the limit, wherever the names are.

use std::{path::PathBuf, sync::Arc};

use stepwell_env::{Env, SimDisk, SimFault};

use super::*;
use crate::Deletion;

fn limited(dir: &Path, series: usize, metrics: usize) -> Engine {
    let config = EngineConfig { series_per_run_max: series, metrics_per_project_max: metrics, ..config(dir) };
    Engine::open(Env::real(), config).unwrap()
}

/// One point of each metric of a run.
fn log(engine: &Engine, run: &str, metrics: &[&str]) -> Result<IngestAck, EngineError> {
    let points: Vec<_> = metrics.iter().map(|metric| (*metric, run, 1, 1.0)).collect();
    ingest(engine, batch(&points), None)
}

/// The metric, and the row, that were one too many.
#[track_caller]
fn refused(result: Result<IngestAck, EngineError>) -> (String, usize) {
    match result {
        Err(EngineError::TooManySeries { metric, row, .. } | EngineError::TooManyMetrics { metric, row, .. }) => {
            (metric.to_string(), row)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn i4_a_run_past_its_series_is_refused_whole_in_memory_in_segments_and_after_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = limited(dir.path(), 3, 100);
    log(&engine, "r", &["a", "b"]).unwrap();
    for restarts in 0..3 {
        let engine = if restarts == 0 { engine.clone() } else { limited(dir.path(), 3, 100) };
        let before = rows(&engine);
        // Known ones add nothing, however often they come and whatever segment they are in.
        log(&engine, "r", &["a", "b"]).unwrap();
        assert_eq!(refused(log(&engine, "r", &["a", "c", "b", "d"])), ("d".to_owned(), 4));
        assert_eq!(rows(&engine), before + 2, "nothing of what was refused is there");
        log(&engine, "other", &["c", "d"]).unwrap();
        engine.flush().unwrap();
        log(&engine, "r", &["b", "a"]).unwrap();
        assert_eq!(refused(log(&engine, "r", &["c", "d"])), ("d".to_owned(), 2));
        engine.shutdown().unwrap();
    }
    let engine = limited(dir.path(), 3, 100);
    log(&engine, "r", &["c"]).unwrap();
    assert_eq!(refused(log(&engine, "r", &["d"])).0, "d");
    assert!(engine.stats().refused > 0 && engine.stats().name_bytes > 0);
}

#[test]
fn i4_a_project_past_its_metrics_is_refused_whole_and_deletion_gives_room() {
    let dir = tempfile::tempdir().unwrap();
    let engine = limited(dir.path(), 100, 2);
    log(&engine, "r", &["a", "b"]).unwrap();
    log(&engine, "s", &["b", "a"]).unwrap();
    assert_eq!(refused(log(&engine, "s", &["a", "c"])), ("c".to_owned(), 2));
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let engine = limited(dir.path(), 100, 2);
    assert_eq!(refused(log(&engine, "s", &["c"])).0, "c");
    let delete = |metric: &str| {
        let deletion = Deletion { project_id: "1".into(), metric: Some(metric.into()), run_id: None, before_us: None };
        engine.delete(deletion).unwrap();
    };
    delete("a");
    // Whether or not compaction was in time to take the tombstone away with the last of its points.
    engine.wait_for_compaction();
    log(&engine, "s", &["c"]).unwrap();
    assert_eq!(refused(log(&engine, "s", &["a"])).0, "a", "what was deleted is new when it comes again");
    // Also from memory alone.
    delete("c");
    log(&engine, "r", &["a"]).unwrap();
    assert_eq!(refused(log(&engine, "r", &["c"])).0, "c");
}

#[test]
fn i4_a_run_at_its_limit_gets_room_by_deletion_and_no_more_than_that() {
    let dir = tempfile::tempdir().unwrap();
    let engine = limited(dir.path(), 2, 100);
    log(&engine, "r", &["a", "b"]).unwrap();
    let metric = Some("a".into());
    engine.delete(Deletion { project_id: "1".into(), metric, run_id: None, before_us: None }).unwrap();
    log(&engine, "r", &["c"]).unwrap();
    assert_eq!(refused(log(&engine, "r", &["a"])).0, "a");
    assert_eq!(refused(log(&engine, "r", &["b", "c", "d"])).0, "d");
}

#[test]
fn i4_batches_of_one_group_do_not_pass_the_limit_together() {
    let dir = tempfile::tempdir().unwrap();
    let engine = limited(dir.path(), 50, 1_000);
    let (send, receive) = mpsc::channel();
    for number in 0..200 {
        let send = send.clone();
        let points = [(format!("m{number}"), "r", 1, 1.0)];
        let points: Vec<_> = points.iter().map(|(metric, run, step, value)| (&**metric, *run, *step, *value)).collect();
        engine.ingest(batch(&points), None, move |result| send.send(result.is_ok()).unwrap()).unwrap();
    }
    let taken = (0..200).filter(|_| receive.recv().unwrap()).count();
    assert_eq!((taken, rows(&engine)), (50, 50));
}

/// On a disk of which a test says when it is full, with a point in a segment: the log has no zeros ahead then, for which there would be
/// room.
fn limited_on(disk: &SimDisk, series: usize, metrics: usize) -> Engine {
    let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
    let config = config(&PathBuf::from("data"));
    let config = EngineConfig { series_per_run_max: series, metrics_per_project_max: metrics, ..config };
    let engine = Engine::open(env, config).unwrap();
    log(&engine, "other", &["z"]).unwrap();
    engine.flush().unwrap();
    engine
}

/// Logs where there is no space.
fn log_to_full_disk(disk: &SimDisk, engine: &Engine, run: &str, metrics: &[&str]) {
    disk.inject(SimFault::Space(10));
    assert!(matches!(log(engine, run, metrics), Err(EngineError::DiskFull { .. })));
    disk.inject(SimFault::NoLimit);
}

/// The metrics of a batch that was refused kept others out until the next start.
#[test]
fn i4_metrics_that_a_full_disk_refused_take_no_room() {
    let disk = SimDisk::new();
    let engine = limited_on(&disk, 100, 3);
    log_to_full_disk(&disk, &engine, "r", &["a", "b"]);
    log(&engine, "r", &["c"]).unwrap();
    log(&engine, "r", &["a"]).unwrap();
    assert_eq!(refused(log(&engine, "r", &["b"])).0, "b", "z, c and a are there");
}

/// The series of a batch that was refused counted as seen, and others had taken their room when they came again.
#[test]
fn i9_series_that_a_full_disk_refused_are_counted_when_they_come_again() {
    let disk = SimDisk::new();
    let engine = limited_on(&disk, 3, 100);
    log_to_full_disk(&disk, &engine, "r", &["a", "b", "c"]);
    log(&engine, "r", &["d", "e", "f"]).unwrap();
    assert_eq!(refused(log(&engine, "r", &["a", "b", "c"])).0, "a");
    log(&engine, "r", &["f", "e", "d"]).unwrap();
    assert_eq!(rows(&engine), 7);
}
