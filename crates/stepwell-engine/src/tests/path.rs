//! One point's way through: log, memory, segment, restart.

use arrow::array::AsArray;
use stepwell_env::Env;
use stepwell_types::{Lsn, PointFilter};

use super::*;

#[test]
fn i2_i10_points_are_read_once_from_memory_segments_and_after_restart() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let engine = open(&env, dir.path());
    let ack =
        ingest(&engine, batch(&[("loss", "a", 1, 0.5), ("loss", "b", 1, 0.25), ("acc", "a", 1, 0.1)]), None).unwrap();
    assert_eq!((ack.points, ack.first_lsn, ack.last_lsn), (3, Some(Lsn(1)), Some(Lsn(3))));
    assert_eq!(series(&engine, "loss", "a").value, [0.5]);
    let before_flush = engine.snapshot();
    engine.flush().unwrap();
    assert_eq!(engine.stats().segments, 1);
    ingest(&engine, batch(&[("loss", "a", 2, 0.4), ("loss", "a", 1, 0.45)]), None).unwrap();
    assert_eq!(rows(&engine), 5);
    let points = series(&engine, "loss", "a");
    assert_eq!(
        (&points.step[..], &points.value[..]),
        (&[1, 1, 2][..], &[0.5, 0.45, 0.4][..]),
        "I6: repeated steps stay"
    );
    let seen: usize = before_flush.scan(&PointFilter::default()).iter().map(|p| p.rows_estimate() as usize).sum();
    assert_eq!((seen, before_flush.lsn()), (3, Lsn(3)), "the old snapshot sees what it saw");
    drop(engine.shutdown());
    let again = open(&env, dir.path());
    assert_eq!((rows(&again), again.snapshot().lsn()), (5, Lsn(5)));
    assert_eq!(again.snapshot().last_step("1", "a").unwrap(), Some(2));
    let summaries = again.snapshot().summaries(&PointFilter::default()).unwrap();
    assert_eq!(summaries.iter().map(|(_, summary)| summary.count).sum::<u64>(), 5);
}

#[test]
fn i3_a_retried_batch_is_applied_once_across_flush_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let engine = open(&env, dir.path());
    let first = ingest(&engine, batch(&[("loss", "a", 1, 1.0)]), producer("p", 7)).unwrap();
    let retry = || batch(&[("loss", "a", 1, 1.0)]);
    let again = ingest(&engine, retry(), producer("p", 7)).unwrap();
    assert!(!first.duplicate && again.duplicate && again.first_lsn == first.first_lsn);
    engine.flush().unwrap();
    assert!(ingest(&engine, retry(), producer("p", 7)).unwrap().duplicate);
    assert!(ingest(&engine, retry(), producer("p", 3)).unwrap().duplicate, "an older sequence is a duplicate");
    engine.shutdown().unwrap();
    let engine = open(&env, dir.path());
    assert!(ingest(&engine, retry(), producer("p", 7)).unwrap().duplicate);
    assert!(!ingest(&engine, retry(), producer("p", 9)).unwrap().duplicate, "a gap is allowed");
    assert_eq!(rows(&engine), 2);
}

#[test]
fn scans_are_sorted_projected_and_filtered_in_memory_as_in_segments() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let points: Vec<_> =
        (0..50).rev().map(|step| ("loss", if step % 2 == 0 { "a" } else { "b" }, step, step as f64)).collect();
    ingest(&engine, batch(&points), None).unwrap();
    let filter = PointFilter { run_ids: Some(["a".into()].into()), step: (10, 20), ..PointFilter::default() };
    let read = || -> Vec<(String, i64)> {
        let parts = engine.snapshot().scan(&filter);
        let batches = parts.iter().flat_map(|part| part.open(&[2, 3], Names::Views, 4).unwrap()).map(Result::unwrap);
        let rows = |batch: arrow::array::RecordBatch| {
            let steps = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone();
            let runs = batch.column(0).as_string_view().clone();
            (0..batch.num_rows()).map(move |i| (runs.value(i).to_owned(), steps.value(i))).collect::<Vec<_>>()
        };
        batches.flat_map(rows).collect()
    };
    let expected: Vec<(String, i64)> = (10..=20).step_by(2).map(|step| ("a".to_owned(), step)).collect();
    assert_eq!(read(), expected);
    engine.flush().unwrap();
    assert_eq!(read(), expected);
}

#[test]
fn a_read_only_engine_shows_the_log_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let engine = open(&env, dir.path());
    ingest(&engine, batch(&[("loss", "a", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    ingest(&engine, batch(&[("loss", "a", 2, 2.0)]), None).unwrap();
    let reader = Engine::open_read_only(env.clone(), config(dir.path())).unwrap();
    assert_eq!(rows(&reader), 2);
    assert!(matches!(ingest(&reader, batch(&[("loss", "a", 3, 3.0)]), None), Err(EngineError::ReadOnly)));
}

#[test]
fn i9_small_memtables_flush_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memtable_bytes = 1;
    let engine = Engine::open(Env::real(), config).unwrap();
    for step in 0..20 {
        ingest(&engine, batch(&[("loss", "a", step, 1.0)]), None).unwrap();
    }
    engine.flush().unwrap();
    assert!(engine.stats().flushes >= 2);
    assert_eq!(rows(&engine), 20);
}

#[test]
fn i3_whether_a_batch_was_applied_is_told_with_its_lsns_also_while_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let applied = |sequence| {
        let (send, receive) = mpsc::channel();
        let producer = producer("p", sequence).unwrap();
        engine.applied(producer, 2, move |ack| send.send(ack).unwrap()).unwrap();
        receive.recv().unwrap()
    };
    assert_eq!(applied(5), None);
    let (send, receive) = mpsc::channel();
    let points = [("loss", "a", 1, 1.0), ("loss", "b", 1, 1.0)];
    engine.ingest(batch(&points), producer("p", 5), move |result| send.send(result).unwrap()).unwrap();
    let told = applied(5);
    let acknowledged = receive.recv().unwrap().unwrap();
    assert_eq!(told, Some(IngestAck { duplicate: true, ..acknowledged }));
    assert_eq!(applied(4), Some(IngestAck { points: 2, first_lsn: None, last_lsn: None, duplicate: true }));
    assert_eq!(applied(6), None);
    engine.shutdown().unwrap();
    assert!(matches!(engine.applied(producer("p", 5).unwrap(), 2, |_| ()), Err(EngineError::ShuttingDown)));
}
