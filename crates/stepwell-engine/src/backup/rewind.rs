//! Back to an earlier LSN: what came later is taken out of a restored directory.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use stepwell_env::Disk;
use stepwell_manifest::{Manifest, ProducerState};
use stepwell_segment::{FooterCache, Segment, SegmentOptions, SegmentWriter};
use stepwell_types::{Lsn, SegmentMeta, SeriesColumns};

use super::{error::BackupError, log_run::LogRun};
use crate::{catalog::remove_files, compaction::Input};

/// Bytes of footers that are kept while segments are read through.
const FOOTER_BYTES: usize = 16 << 20;
/// Rows read and written at a time.
const BATCH_ROWS: u64 = 65_536;

/// The end of the last batch that ends at or before `wanted`; `None` if the log does not say.
pub(crate) fn boundary(log: &LogRun, wanted: Lsn) -> Option<Lsn> {
    if wanted >= log.next || wanted.0 + 1 < log.from.0 {
        return None;
    }
    let ends = log.frames().map(|(frame, _)| Lsn(frame.next_lsn.0 - 1));
    ends.filter(|end| *end <= wanted).max().or(Some(Lsn(log.from.0 - 1)))
}

/// The manifest of `dir` as of `last`, the end of a batch. Segments that hold later points too are written anew. Deletions
/// stay: what they took is not there any more.
pub(crate) fn rewind(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: Manifest,
    log: &LogRun,
    last: Lsn,
) -> Result<Manifest, BackupError> {
    let next = Lsn(last.0 + 1);
    let mut rewound = Manifest {
        version: manifest.version + 1,
        wal_floor: manifest.wal_floor.min(next),
        producers: producers(&manifest.producers, log, last),
        segments: Vec::new(),
        ..manifest
    };
    // LSNs are given again from here on, and what gets them is not deleted.
    rewound.tombstones.iter_mut().for_each(|tombstone| tombstone.lsn_below = tombstone.lsn_below.min(next));
    for meta in manifest.segments {
        if meta.lsn.1 <= last.0 {
            rewound.segments.push(meta);
        } else if meta.lsn.0 <= last.0 {
            let name = format!("{:020}.parquet", rewound.next_segment);
            rewound.next_segment += 1;
            rewound.segments.extend(write_earlier(disk, dir, &meta, &name, last)?);
            remove_files(&**disk, dir, [&meta.file_name].into_iter());
        }
    }
    Ok(rewound)
}

/// Writes the points up to `last` of a segment as another.
fn write_earlier(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: &SegmentMeta,
    name: &str,
    last: Lsn,
) -> Result<Option<SegmentMeta>, BackupError> {
    let footers = FooterCache::new(FOOTER_BYTES);
    let segment = Segment::open(disk, dir, meta, &footers)?;
    let mut writer = SegmentWriter::create(disk.clone(), dir, name, &SegmentOptions::default())?;
    let mut input = Input::open(&segment)?;
    let mut rows = SeriesColumns::default();
    while let Some(series) = input.next_series()? {
        let (mut left, mut has_begun) = (series.extent.points, false);
        while left > 0 {
            rows.clear();
            left -= input.read(left.min(BATCH_ROWS), &mut rows)? as u64;
            rows.keep(|_, lsn| lsn <= last.0);
            if !rows.is_empty() && !std::mem::replace(&mut has_begun, true) {
                writer.begin(&series.key, series.extent)?;
            }
            writer.append(&rows)?;
        }
    }
    if writer.rows() == 0 {
        return Ok(None);
    }
    let written = SegmentMeta { tier: meta.tier, purged: meta.purged, ..writer.finish()? };
    Segment::open(disk, dir, &written, &footers)?.verify()?;
    Ok(Some(written))
}

/// The last sequence of each producer up to `last`. Of one that is known to have sent later batches only, all sequences below
/// the first of those count as applied, as they did when it came.
fn producers(states: &[ProducerState], log: &LogRun, last: Lsn) -> Vec<ProducerState> {
    let wanted: BTreeSet<&Arc<str>> =
        states.iter().filter(|state| state.last_lsn > last.0).map(|state| &state.producer).collect();
    let mut before: HashMap<Arc<str>, (u64, Lsn, Lsn)> = HashMap::new();
    let mut first_after: HashMap<Arc<str>, u64> = HashMap::new();
    for (frame, file) in log.frames() {
        let Some(sent) = frame.producer(file).filter(|sent| wanted.contains(&sent.producer)) else { continue };
        if frame.first_lsn <= last {
            before.insert(sent.producer, (sent.sequence, frame.first_lsn, Lsn(frame.next_lsn.0 - 1)));
        } else {
            first_after.entry(sent.producer).or_insert(sent.sequence);
        }
    }
    let rewound = |state: &ProducerState| {
        if state.last_lsn <= last.0 {
            return Some(state.clone());
        }
        let known = before.get(&state.producer).copied();
        // LSN 0 is no point's: it is not known which batch this was.
        let unknown = || Some((first_after.get(&state.producer)?.checked_sub(1)?, Lsn(0), Lsn(0)));
        let (sequence, first, last) = known.or_else(unknown)?;
        Some(ProducerState { sequence, first_lsn: first.0, last_lsn: last.0, ..state.clone() })
    };
    states.iter().filter_map(rewound).collect()
}
