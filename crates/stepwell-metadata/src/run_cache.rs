//! Runs of projects in memory: a search over thousands of them reads what changed, not every row of them.

use std::{
    collections::HashMap,
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    changes::Since,
    error::MetadataError,
    model::{ParamValue, Run},
    store::Metadata,
};

/// All runs of a project, those in the trash included, by run id.
pub type ProjectRuns = Arc<Vec<Arc<Run>>>;

/// Bytes of the runs kept where nothing else was said.
const BYTES_MAX: usize = 64 << 20;
/// What a project takes without its runs.
const ENTRY_BYTES: usize = 512;

/// The runs of the projects asked for lately, up to a number of bytes; those not used for longest go first.
#[derive(Debug)]
pub(crate) struct RunCache {
    bytes_max: usize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    of_projects: HashMap<String, Slot>,
    /// Questions so far.
    uses: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held while it is brought up to date, so that many who ask at once wait for one reading.
    entry: Arc<tokio::sync::Mutex<Option<Entry>>>,
    last_use: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Number of the first change that it does not hold.
    seen: u64,
    runs: ProjectRuns,
    bytes: usize,
}

impl Default for RunCache {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl RunCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, slots: Mutex::default() }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, project_id: &str) -> Arc<tokio::sync::Mutex<Option<Entry>>> {
        let mut slots = self.slots();
        slots.uses += 1;
        let last_use = slots.uses;
        let slot = slots.of_projects.entry(project_id.to_owned()).or_default();
        slot.last_use = last_use;
        slot.entry.clone()
    }

    /// Notes how large a project is now, and forgets others, or this one if it alone is too large.
    fn settle(&self, project_id: &str, bytes: usize) {
        let mut slots = self.slots();
        if let Some(slot) = slots.of_projects.get_mut(project_id) {
            slot.bytes = bytes;
        }
        let mut total: usize = slots.of_projects.values().map(|slot| slot.bytes).sum();
        while total > self.bytes_max {
            let least = slots.of_projects.iter().min_by_key(|(_, slot)| slot.last_use);
            let Some((project_id, bytes)) = least.map(|(project_id, slot)| (project_id.clone(), slot.bytes)) else {
                return;
            };
            slots.of_projects.remove(&project_id);
            total -= bytes;
        }
    }

    /// Bytes of what is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.slots().of_projects.values().map(|slot| slot.bytes).sum()
    }
}

impl Metadata {
    /// All runs of a project, those in the trash included, by run id: as they are now, mostly from memory. Each is of one moment,
    /// and all that was committed before the call is in them.
    pub async fn cached_runs(&self, project_id: &str) -> Result<ProjectRuns, MetadataError> {
        let entry = self.run_cache.entry(project_id);
        let mut held = entry.lock().await;
        let (now, since) = self.changes.since(held.as_ref().map(|entry| entry.seen));
        match (&mut *held, since) {
            (Some(entry), Since::Some(changed)) if changed.is_empty() => entry.seen = now,
            // Of many it is less work to read all.
            (Some(entry), Since::Some(changed)) if changed.len() <= 64 + entry.runs.len() / 4 => {
                let ids: Vec<&str> = changed.iter().map(|run_id| &**run_id).collect();
                let fresh = self.some_runs_of_project(project_id, &ids).await?;
                let runs = Arc::make_mut(&mut entry.runs);
                runs.retain(|run| !changed.contains(run.run_id.as_str()));
                runs.extend(fresh.into_iter().map(Arc::new));
                runs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
                entry.bytes = bytes_of_all(runs);
                entry.seen = now;
            }
            (held, _) => {
                let mut runs: Vec<Arc<Run>> =
                    self.all_runs_of_project(project_id).await?.into_iter().map(Arc::new).collect();
                runs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
                let bytes = bytes_of_all(&runs);
                *held = Some(Entry { seen: now, runs: Arc::new(runs), bytes });
            }
        }
        let Some(Entry { runs, bytes, .. }) = &*held else { return Ok(Arc::default()) };
        let (runs, bytes) = (runs.clone(), *bytes);
        drop(held);
        self.run_cache.settle(project_id, bytes);
        Ok(runs)
    }

    /// Bytes of runs in memory, and how many there may be.
    pub fn cached_run_bytes(&self) -> (usize, usize) {
        (self.run_cache.bytes(), self.run_cache.bytes_max)
    }
}

fn bytes_of_all(runs: &[Arc<Run>]) -> usize {
    ENTRY_BYTES + runs.iter().map(|run| bytes_of(run)).sum::<usize>()
}

/// About what a run takes in memory.
fn bytes_of(run: &Run) -> usize {
    /// Of a text or a place in a map, what the allocator and the map need beside it.
    const OVERHEAD: usize = 16;
    let text = |text: &str| text.len() + OVERHEAD;
    let optional = |value: &Option<String>| value.as_deref().map_or(0, text);
    let value = |value: &ParamValue| match value {
        ParamValue::String(value) => text(value),
        ParamValue::Json(value) => 4 * value.to_string().len(),
        _ => 0,
    };
    let params =
        run.params.iter().map(|(key, param)| size_of::<(String, ParamValue)>() + text(key) + value(param) + OVERHEAD);
    let tags = run.tags.iter().map(|(key, value)| size_of::<(String, String)>() + text(key) + text(value) + OVERHEAD);
    let own = [&run.name, &run.user_name, &run.notes, &run.git_commit, &run.dataset_version, &run.parent_run_id];
    size_of::<Run>()
        + 2 * OVERHEAD
        + text(&run.run_id)
        + text(&run.project_id)
        + own.into_iter().map(optional).sum::<usize>()
        + run.environment.as_ref().map_or(0, |environment| 4 * environment.to_string().len())
        + run.forked_from.as_ref().map_or(0, |fork| text(&fork.run_id))
        + params.sum::<usize>()
        + tags.sum::<usize>()
}

#[cfg(test)]
mod tests;
