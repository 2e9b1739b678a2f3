//! Start: manifest → segments → replay of the log from its floor, through the same insert as live batches.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use stepwell_env::{
    Disk, Env, JoinHandle,
    channel::{Sender, bounded},
    spawn,
};
use stepwell_manifest::{Manifest, ManifestStore};
use stepwell_memtable::SlabPool;
use stepwell_segment::{FooterCache, SEGMENT_DIRS, Segment};
use stepwell_types::{Lsn, SegmentMeta};
use stepwell_wal::{ReplayReport, Wal, WalRecord};

use crate::{
    catalog::Catalog,
    config::EngineConfig,
    error::EngineError,
    exclusions::Exclusions,
    flusher::write_segment,
    generation::Generation,
    manifest_doubts::{live_names, refuse_lost_manifest, refuse_stale_manifest},
    producers::Producers,
    progress::Progress,
    shared::{Pools, Shared, Storage},
};

/// What recovery brings back.
pub(crate) struct Recovered {
    pub(crate) shared: Arc<Shared>,
    pub(crate) catalog: Arc<Catalog>,
    /// `None` when opened for reading only.
    pub(crate) wal: Option<Wal>,
    pub(crate) producers: Producers,
    pub(crate) next_lsn: Lsn,
}

/// Whether recovery may change the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// Walks the road of the module's first line. Running it twice changes nothing (I7).
pub(crate) fn recover(
    env: Env,
    config: EngineConfig,
    access: Access,
    progress: &Progress,
) -> Result<Recovered, EngineError> {
    let start = env.clock.monotonic();
    let disk = env.disk.clone();
    if access == Access::ReadWrite {
        let of_segments = SEGMENT_DIRS.map(|name| config.data_dir.join(name));
        for dir in [config.data_dir.clone(), config.wal_dir()].into_iter().chain(of_segments) {
            disk.create_dir_all(&dir).map_err(io_error("create directory", &dir))?;
        }
    }
    let (mut store, mut manifest) = ManifestStore::open(disk.clone(), config.manifest_dir())?;
    let is_mended = store.damage().is_some();
    if let Some(damage) = store.damage() {
        tracing::error!(%damage, "the manifest is damaged or gone; its copy, which says the same, is read instead");
    }
    refuse_lost_manifest(&*disk, &config, &store)?;
    if access == Access::ReadWrite {
        refuse_stale_manifest(&disk, &config, &manifest)?;
        if store.is_new() || is_mended {
            // Before anything else is written: segments and logs without a manifest are a manifest that was lost.
            manifest.version += 1;
            store.commit(&manifest)?;
        } else {
            // From here on files go that only the manifest before this one needs.
            store.settle()?;
        }
        for name in SEGMENT_DIRS {
            remove_orphans(&*disk, &config.data_dir.join(name), &manifest)?;
        }
    }
    let footers = FooterCache::new(config.footer_bytes);
    let segments = open_segments(&disk, &config.data_dir, &manifest, &footers);
    let floor = manifest.wal_floor;
    let slabs = SlabPool::new(config.memtable_bytes);
    let first = Arc::new(Generation::new(floor, start, config.shards, &slabs));
    let exclusions = Arc::new(Exclusions::new(manifest.tombstones.clone(), Vec::new()));
    let storage = Storage { segments: Arc::new(segments), frozen: Vec::new(), active: first, exclusions };
    let (wal_dir, data_dir) = (config.wal_dir(), config.data_dir.clone());
    let shared = Arc::new(Shared::new(env, config, storage, Pools { slabs, footers }, floor));
    let producers = Producers::from_states(&manifest.producers);
    let catalog = Arc::new(Catalog::new(disk.clone(), data_dir, store, manifest));
    let replay = Replay {
        shared: shared.clone(),
        producers,
        flush: (access == Access::ReadWrite).then(|| catalog.clone()),
        error: None,
    };
    let mut apply = Pipeline::start(replay)?;
    let passed = |bytes| progress.passed(bytes);
    let opened = match access {
        Access::ReadWrite => {
            let files = disk.list(&wal_dir).map_err(io_error("list", &wal_dir))?;
            progress.begin(files.iter().map(|file| file.bytes).sum());
            let mut push = |record: WalRecord| {
                progress.replayed(record.batch.len() as u64);
                apply.push(record);
            };
            Wal::open_watched(disk, &wal_dir, floor, &passed, &mut push).map(|(wal, report)| (Some(wal), report))
        }
        Access::ReadOnly if !disk.try_exists(&wal_dir).map_err(io_error("look for", &wal_dir))? => {
            Ok((None, ReplayReport { next_lsn: floor, ..Default::default() }))
        }
        Access::ReadOnly => {
            Wal::replay_read_only(disk, &wal_dir, floor, &mut |record| apply.push(record)).map(|report| (None, report))
        }
    };
    let producers = apply.finish()?;
    let (wal, report) = opened?;
    let next_lsn = report.next_lsn.max(floor);
    shared.visible.show_below(next_lsn);
    let counters = &shared.counters;
    counters.replay_records.store(report.records, Ordering::Relaxed);
    counters.replay_points.store(report.points, Ordering::Relaxed);
    let elapsed = shared.env.clock.monotonic().saturating_sub(start);
    counters.replay_us.store(elapsed.as_micros() as u64, Ordering::Relaxed);
    counters.torn_tails.store(u64::from(report.torn_tail.is_some()), Ordering::Relaxed);
    counters.damaged.store(u64::from(is_mended) + report.damaged.len() as u64, Ordering::Relaxed);
    log_report(&report);
    Ok(Recovered { shared, catalog, wal, producers, next_lsn })
}

/// Decoded bytes handed over at a time; two such parts may wait.
const PART_BYTES: usize = 4 << 20;

/// Applies records in a thread of its own, so that decoding goes on meanwhile.
struct Pipeline {
    records: Sender<Vec<WalRecord>>,
    part: Vec<WalRecord>,
    part_bytes: usize,
    applying: JoinHandle<Replay>,
}

impl Pipeline {
    fn start(mut replay: Replay) -> Result<Self, EngineError> {
        let (records, parts) = bounded::<Vec<WalRecord>>(2);
        let path = replay.shared.config.data_dir.clone();
        let apply = move || {
            parts.into_messages().flatten().for_each(|record| replay.apply(&record));
            replay
        };
        let applying = spawn("stepwell-replay", apply).map_err(io_error("start thread for", &path))?;
        Ok(Self { records, part: Vec::new(), part_bytes: 0, applying })
    }

    fn push(&mut self, record: WalRecord) {
        self.part_bytes += record.batch.heap_bytes();
        self.part.push(record);
        if self.part_bytes >= PART_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.part_bytes = 0;
        // Fails only if the thread has panicked, which `finish` reports.
        drop(self.records.send(std::mem::take(&mut self.part)));
    }

    /// Waits until all is applied.
    fn finish(mut self) -> Result<Producers, EngineError> {
        self.hand_over();
        let Self { records, applying, .. } = self;
        drop(records);
        let panicked =
            |_| EngineError::Poisoned { reason: "the thread that replays the log ended by a panic".to_owned() };
        let replay = applying.join().map_err(panicked)?;
        match replay.error {
            Some(error) => Err(error),
            None => Ok(replay.producers),
        }
    }
}

struct Replay {
    shared: Arc<Shared>,
    producers: Producers,
    /// `None` when opened for reading only.
    flush: Option<Arc<Catalog>>,
    /// The first error; what follows it is not applied.
    error: Option<EngineError>,
}

impl Replay {
    fn apply(&mut self, record: &WalRecord) {
        if self.error.is_some() || record.batch.is_empty() {
            return;
        }
        // Memory is bounded however long the log is (I9): a full generation is flushed before the next record.
        let active = self.shared.storage().0.active;
        if active.heap_bytes() >= self.shared.config.memtable_bytes
            && let Err(error) = self.flush(&active, record.first_lsn)
        {
            self.error = Some(error);
            return;
        }
        let active = self.shared.storage().0.active;
        active.insert(&record.batch, record.first_lsn);
        if let Some(producer) = &record.producer {
            let last_lsn = Lsn(record.first_lsn.0 + record.batch.len() as u64 - 1);
            let now_us = self.shared.env.clock.now_us();
            self.producers.record(producer, record.first_lsn, last_lsn, now_us);
            let mut of_generation = active.producers.lock().unwrap_or_else(PoisonError::into_inner);
            of_generation.record(producer, record.first_lsn, last_lsn, now_us);
        }
    }

    fn flush(&mut self, active: &Arc<Generation>, next_lsn: Lsn) -> Result<(), EngineError> {
        let Some(catalog) = &self.flush else { return Ok(()) };
        let meta = write_segment(&self.shared, &catalog.next_file_name()?, active, &|| false)?;
        let open = |meta: &SegmentMeta| self.shared.open_written(meta);
        let segment = meta.as_ref().map(open).transpose()?;
        let next = self.shared.new_generation(next_lsn);
        catalog.commit_flush(meta, next_lsn, &active.producers(), |tombstones| {
            self.shared.change_storage(|storage| {
                storage.flushed(segment, tombstones);
                storage.active = next;
            });
        })?;
        self.shared.wal_floor.store(next_lsn.0, Ordering::Release);
        Ok(())
    }
}

/// Removes what a crash left between writing a segment and committing it.
fn remove_orphans(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    let live = live_names(manifest);
    for entry in disk.list(dir).map_err(io_error("list", dir))? {
        let is_ours = entry.name.ends_with(".parquet") || entry.name.ends_with(".tmp");
        if is_ours && !entry.is_dir && !live.contains(entry.name.as_str()) {
            tracing::info!(file = entry.name, "removing a segment file that was never committed");
            let path = dir.join(&entry.name);
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// A segment that does not open stays among the others: who needs it hears of the damage, the rest is served (I11).
fn open_segments(disk: &Arc<dyn Disk>, data_dir: &Path, manifest: &Manifest, footers: &FooterCache) -> Vec<Segment> {
    manifest.segments.iter().map(|meta| Segment::open_damaged(disk, data_dir, meta, footers)).collect()
}

fn log_report(report: &ReplayReport) {
    tracing::info!(records = report.records, points = report.points, next_lsn = report.next_lsn.0, "log replayed");
    if let Some(tail) = &report.torn_tail {
        tracing::info!(path = %tail.path.display(), offset = tail.offset, bytes = tail.bytes, "cut a torn tail");
    }
    for damage in &report.damaged {
        let path = damage.path.display();
        tracing::error!(%path, offset = damage.offset, detail = damage.detail, "damage in the log: its points are lost; a copy of the file is kept as *.damaged, and they are in a backup or with their producer");
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io { what, path, source }
}
