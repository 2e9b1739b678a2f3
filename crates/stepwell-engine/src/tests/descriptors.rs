//! No new file can be opened for a while: for want of descriptors, or of inodes.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use stepwell_env::{Disk, DiskOperation, Env, ManualClock, SeededRandom, SimDisk};
use stepwell_types::Batch;

use super::{batch, config, ingest, producer, rows, watched::Watched};
use crate::{Engine, EngineConfig, EngineError, Health, IngestAck};

/// `EMFILE` and `ENOSPC` of Linux.
pub(super) const NO_FILES: i32 = 24;
const NO_SPACE: i32 = 28;

/// A disk on which creating fails with the error of this number, unless it is 0.
pub(super) fn creating(disk: &SimDisk, code: &Arc<AtomicI32>) -> Arc<dyn Disk> {
    let code = code.clone();
    Watched::over(disk, move |operation, _| match (operation, code.load(Ordering::SeqCst)) {
        (DiskOperation::Create, code) if code != 0 => Err(io::Error::from_raw_os_error(code)),
        _ => Ok(()),
    })
}

/// Sends a batch again for as long as it is refused with a time to try again: the engine counts as failing until the next flush has succeeded, and where
/// as many generations wait for it as may there is no room before.
fn taken_in_the_end(engine: &Engine, points: &Batch, sequence: u64) -> IngestAck {
    for _ in 0..3_000 {
        match ingest(engine, points.clone(), producer("p", sequence)) {
            Ok(ack) => return ack,
            Err(error) => assert!(error.retry_after().is_some(), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("refused for half a minute with descriptors and room")
}

/// A new log file could not be created: for want of descriptors that failed the log for good, and for want of inodes the points
/// in memory, with nowhere to go, grew without bound, while each batch turned the health to full and back.
#[test]
fn i8_i9_without_a_new_file_batches_are_refused_before_memory_runs_out_and_taken_when_there_is_one() {
    for code in [NO_FILES, NO_SPACE] {
        let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
        let failing = Arc::new(AtomicI32::new(0));
        let env = |disk: Arc<dyn Disk>| Env {
            disk,
            clock: Arc::new(ManualClock::new(0)),
            random: Arc::new(SeededRandom::new(1)),
        };
        let small = EngineConfig { memtable_bytes: 1 << 20, ..config(&dir) };
        let engine = Engine::open(env(creating(&disk, &failing)), small.clone()).unwrap();
        let points: Vec<(&str, &str, i64, f64)> = (0..2_000).map(|step| ("m", "r", step, 1.0)).collect();
        failing.store(code, Ordering::SeqCst);
        let mut acked = 0;
        let refusal = loop {
            match ingest(&engine, batch(&points), producer("p", acked)) {
                Ok(_) => acked += 1,
                Err(error) => break error,
            }
            assert!(acked < 1_000, "memory has no bound");
        };
        match code {
            NO_FILES => assert!(matches!(refusal, EngineError::FlushFails { .. }), "{refusal}"),
            _ => assert!(matches!(refusal, EngineError::DiskFull { .. }), "{refusal}"),
        }
        assert!(acked > 0 && refusal.retry_after().is_some());
        assert!(engine.stats().memtable_bytes < 3 << 20, "{} bytes", engine.stats().memtable_bytes);
        assert!(!matches!(engine.health(), Health::Ready | Health::Poisoned { .. }), "{:?}", engine.health());
        assert_eq!(rows(&engine) as u64, acked * 2_000, "reads go on");

        failing.store(0, Ordering::SeqCst);
        for sequence in acked..acked + 5 {
            assert!(!taken_in_the_end(&engine, &batch(&points), sequence).duplicate);
        }
        engine.flush().unwrap();
        assert_eq!(engine.health(), Health::Ready);
        drop(engine);
        let again = Engine::open(env(Arc::new(disk.crash(1))), small).unwrap();
        assert_eq!(rows(&again) as u64, (acked + 5) * 2_000);
    }
}
