//! What the disk itself can do, measured beside the figures.

use std::{fmt, path::Path};

use anyhow::{Context, Result};
use stepwell_env::{Clock, Disk, RealDisk, SystemClock};

use crate::Latencies;

const SYNCS: usize = 1_000;
const SYNC_BYTES: usize = 4 << 10;
const STREAM_CHUNK: usize = 1 << 20;
const STREAM_CHUNKS: u64 = 512;

/// Latency of small appends each made durable, and the speed of a long one.
#[derive(Debug, Clone)]
pub struct FsyncProbe {
    pub latency: Latencies,
    /// Bytes per second of one long write, synced at its end.
    pub bandwidth: f64,
}

impl fmt::Display for FsyncProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fsync of 4 KiB appends: {}; sequential write {:.0} MB/s", self.latency, self.bandwidth / 1e6)
    }
}

/// Measures the disk below `dir`, which stays as it was.
pub fn probe_fsync(dir: &Path) -> Result<FsyncProbe> {
    let path = dir.join("fsync-probe");
    let measured = measure(&path);
    RealDisk.remove(&path).with_context(|| format!("remove {}", path.display()))?;
    measured
}

fn measure(path: &Path) -> Result<FsyncProbe> {
    let clock = SystemClock::new();
    let mut file = RealDisk.create(path).with_context(|| format!("create {}", path.display()))?;
    let mut micros = Vec::with_capacity(SYNCS);
    let block = vec![0x5a; SYNC_BYTES];
    for _ in 0..SYNCS {
        let begin = clock.monotonic();
        file.append(&block)?;
        file.sync()?;
        micros.push((clock.monotonic() - begin).as_micros() as u64);
    }
    let chunk = vec![0xa5; STREAM_CHUNK];
    let begin = clock.monotonic();
    for _ in 0..STREAM_CHUNKS {
        file.append(&chunk)?;
    }
    file.sync()?;
    let seconds = (clock.monotonic() - begin).as_secs_f64();
    Ok(FsyncProbe {
        latency: Latencies::new(micros),
        bandwidth: (STREAM_CHUNKS * STREAM_CHUNK as u64) as f64 / seconds,
    })
}
