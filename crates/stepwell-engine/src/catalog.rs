//! The one place where the manifest changes: flush, compaction and recovery all commit through it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, Mutex};
use stepwell_manifest::{FILE_NAME, Manifest, ManifestStore};
use stepwell_types::{Lsn, SegmentMeta, Tombstone};

use crate::{error::EngineError, manifest_doubts::live_names, producers::Producers};

/// The manifest and who writes it. Its lock is held across the disk writes of a commit: commits are rare, and one at a time.
/// It is held, too, while `publish` shows readers what was committed, with the tombstones still needed: they see the commits in
/// their order, and never one that took a tombstone away without the one that took its last points away.
pub(crate) struct Catalog {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    state: Mutex<State>,
}

struct State {
    store: ManifestStore,
    manifest: Manifest,
    /// Whether the last commit did.
    has_failed: bool,
    /// New segments of commits that failed and that the file on the disk may name all the same, until a commit succeeds that does not.
    left_over: Vec<String>,
}

impl Catalog {
    pub(crate) fn new(disk: Arc<dyn Disk>, data_dir: PathBuf, store: ManifestStore, manifest: Manifest) -> Self {
        Self { disk, data_dir, state: Mutex::new(State { store, manifest, has_failed: false, left_over: Vec::new() }) }
    }

    /// Whether this is the manifest. That of a commit that failed may have the number of the one behind it.
    pub(crate) fn is_at(&self, manifest: &Manifest) -> bool {
        self.state.lock().manifest == *manifest
    }

    /// A name for a new segment. It is used up even by a failure: files of that name may be left over, and a manifest may name them.
    /// Where the last commit failed, one that changes nothing is tried first: segments written for commits that go on failing would
    /// fill the disk.
    pub(crate) fn next_file_name(&self) -> Result<String, EngineError> {
        let has_failed = self.state.lock().has_failed;
        if has_failed {
            self.commit(|_| (), |_| ())?;
        }
        let mut state = self.state.lock();
        let number = state.manifest.next_segment;
        state.manifest.next_segment += 1;
        Ok(format!("{number:020}.parquet"))
    }

    /// The commit point of a flush: the segment in, the log's floor up, the producers' states in, in one atomic replacement.
    pub(crate) fn commit_flush(
        &self,
        meta: Option<SegmentMeta>,
        wal_floor: Lsn,
        producers: &Producers,
        publish: impl FnOnce(Vec<Tombstone>),
    ) -> Result<(), EngineError> {
        let change = |next: &mut Manifest| {
            let mut all = Producers::from_states(&next.producers);
            all.merge(producers);
            next.producers = all.to_states();
            next.wal_floor = wal_floor;
            next.segments.extend(meta);
        };
        self.commit(change, publish)
    }

    /// The commit point of a compaction: its result in for the segments that it is made of. `result` is `None` where nothing
    /// of them was to be kept.
    pub(crate) fn commit_compaction(
        &self,
        replaced: &[String],
        result: Option<SegmentMeta>,
        publish: impl FnOnce(Vec<Tombstone>),
    ) -> Result<(), EngineError> {
        let change = |next: &mut Manifest| {
            next.segments.retain(|meta| !replaced.contains(&meta.file_name));
            next.segments.extend(result);
        };
        self.commit(change, publish)
    }

    /// The commit point of a deletion. The tombstone gets its id here.
    pub(crate) fn commit_deletion(
        &self,
        tombstone: Tombstone,
        publish: impl FnOnce(Vec<Tombstone>),
    ) -> Result<(), EngineError> {
        let change = |next: &mut Manifest| {
            let id = next.version;
            next.tombstones.retain(|known| !tombstone.includes(known));
            next.tombstones.push(Tombstone { id, ..tombstone });
        };
        self.commit(change, publish)
    }

    /// The manifest changes only when the commit is durable.
    fn commit(
        &self,
        change: impl FnOnce(&mut Manifest),
        publish: impl FnOnce(Vec<Tombstone>),
    ) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        let mut next = state.manifest.clone();
        next.version += 1;
        change(&mut next);
        // A tombstone goes when no segment and no part of the log holds a point of it.
        let (segments, floor) = (&next.segments, next.wal_floor);
        next.tombstones
            .retain(|tombstone| floor < tombstone.lsn_below || segments.iter().any(|meta| tombstone.concerns(meta)));
        if let Err(error) = state.store.commit(&next) {
            let live = live_names(&state.manifest);
            let names = next.segments.iter().map(|meta| &meta.file_name);
            let mut new: Vec<String> = names.filter(|name| !live.contains(name.as_str())).cloned().collect();
            state.has_failed = true;
            if !new.is_empty() && !self.is_durable_without(&new) {
                state.left_over.append(&mut new);
            }
            drop(state);
            remove_files(&*self.disk, &self.data_dir, new.iter());
            return Err(error.into());
        }
        state.manifest = next;
        state.has_failed = false;
        publish(state.manifest.tombstones.clone());
        let left_over = std::mem::take(&mut state.left_over);
        drop(state);
        remove_files(&*self.disk, &self.data_dir, left_over.iter());
        Ok(())
    }

    /// Whether it is known that no loss of power brings back a manifest that names one of `new`, the new segments of the one commit that
    /// has failed just now: the file that is seen names none, and what is seen is durable.
    fn is_durable_without(&self, new: &[String]) -> bool {
        let names_none = |manifest: Manifest| {
            let live = live_names(&manifest);
            new.iter().all(|name| !live.contains(name.as_str()))
        };
        ManifestStore::read(&*self.disk, &self.data_dir.join(FILE_NAME)).is_ok_and(names_none)
            && self.disk.sync_dir(&self.data_dir).is_ok()
    }
}

/// Removes the files of segments that no manifest names any more. One that stays is removed by the next start.
pub(crate) fn remove_files<'a>(disk: &dyn Disk, data_dir: &Path, names: impl Iterator<Item = &'a String>) {
    for name in names {
        for dir in stepwell_segment::SEGMENT_DIRS {
            let path = data_dir.join(dir).join(name);
            if disk.exists(&path)
                && let Err(error) = disk.remove(&path)
            {
                tracing::warn!(path = %path.display(), %error, "a file that is no longer needed was not removed; nothing to do: it only takes space, and the next start removes it");
            }
        }
    }
}
