//! Names interned once, and the table of series.

use std::{
    collections::{BTreeSet, hash_map::Entry},
    sync::Arc,
};

use stepwell_types::{PointFilter, SeriesKey};

use crate::rows::Chain;

/// Keyed at random like the standard one, and several times as fast on the short keys here.
type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// Each distinct name once, numbered in order of appearance.
#[derive(Default)]
struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
    /// The name asked for last: series of one batch share the text of their project and run.
    last: Option<(Arc<str>, u32)>,
}

impl Names {
    fn intern(&mut self, name: &Arc<str>) -> u32 {
        if let Some((last, number)) = &self.last
            && Arc::ptr_eq(last, name)
        {
            return *number;
        }
        let number = self.numbers.get(name).copied().unwrap_or_else(|| self.add(name));
        self.last = Some((name.clone(), number));
        number
    }

    fn add(&mut self, name: &Arc<str>) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        // The text, two handles to it, its number and the table's slack.
        self.bytes += name.len() + 16 + 4 * size_of::<Arc<str>>();
        number
    }
}

/// (project, metric, run), by number.
type Numbers = [u32; 3];

#[derive(Default)]
pub(crate) struct SeriesTable {
    projects: Names,
    metrics: Names,
    runs: Names,
    series: HashMap<Numbers, u32>,
    keys: Vec<SeriesKey>,
    /// Per series where its rows are.
    pub(crate) chains: Vec<Chain>,
    /// Per run the series it has, so that a run is found without a look at the others.
    of_run: HashMap<u32, Vec<u32>>,
    /// Per metric the series it has: a leaderboard wants one metric of all runs.
    of_metric: HashMap<u32, Vec<u32>>,
}

impl SeriesTable {
    pub(crate) fn intern(&mut self, key: &SeriesKey) -> u32 {
        let numbers =
            [self.projects.intern(&key.project_id), self.metrics.intern(&key.metric), self.runs.intern(&key.run_id)];
        match self.series.entry(numbers) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let series = self.keys.len() as u32;
                new.insert(series);
                // The key shares the interned text.
                let [project, metric, run] = numbers.map(|number| number as usize);
                self.keys.push(SeriesKey {
                    project_id: self.projects.names[project].clone(),
                    metric: self.metrics.names[metric].clone(),
                    run_id: self.runs.names[run].clone(),
                });
                self.chains.push(Chain::EMPTY);
                self.of_metric.entry(numbers[1]).or_default().push(series);
                self.of_run.entry(numbers[2]).or_default().push(series);
                series
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, series: u32) -> &SeriesKey {
        &self.keys[series as usize]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let per_series =
            size_of::<SeriesKey>() + 2 * size_of::<Numbers>() + size_of::<Chain>() + 4 * size_of::<u32>() + 16;
        self.projects.bytes + self.metrics.bytes + self.runs.bytes + self.keys.len() * per_series
    }

    /// Series whose names pass: by way of the runs or metrics where the filter names some, else by a look at all.
    pub(crate) fn matching(&self, filter: &PointFilter) -> Vec<u32> {
        if let (Some(runs), Some(metrics), Some(projects)) = (&filter.run_ids, &filter.metrics, &filter.project_ids)
            && runs.len() * metrics.len() * projects.len() <= self.len()
        {
            return self.exact(projects.iter(), metrics.iter().collect(), runs.iter().collect());
        }
        let passes = |series: &u32| filter.accepts_series(self.key(*series));
        let of = |names: &Names, wanted: &BTreeSet<Arc<str>>, series_of: &HashMap<u32, Vec<u32>>| {
            let numbers = wanted.iter().filter_map(|name| names.numbers.get(name));
            numbers.filter_map(|number| series_of.get(number)).flatten().copied().filter(passes).collect()
        };
        match (&filter.run_ids, &filter.metrics) {
            (Some(runs), _) => of(&self.runs, runs, &self.of_run),
            (None, Some(metrics)) => of(&self.metrics, metrics, &self.of_metric),
            (None, None) => (0..self.len() as u32).filter(passes).collect(),
        }
    }

    fn exact<'a>(
        &self,
        projects: impl Iterator<Item = &'a Arc<str>>,
        metrics: Vec<&Arc<str>>,
        runs: Vec<&Arc<str>>,
    ) -> Vec<u32> {
        let mut found = Vec::new();
        for project in projects.filter_map(|name| self.projects.numbers.get(name)) {
            for metric in metrics.iter().filter_map(|name| self.metrics.numbers.get(*name)) {
                let runs = runs.iter().filter_map(|name| self.runs.numbers.get(*name));
                found.extend(runs.filter_map(|run| self.series.get(&[*project, *metric, *run])));
            }
        }
        found
    }

    pub(crate) fn last_step(&self, project_id: &str, run_id: &str) -> Option<i64> {
        let run = self.runs.numbers.get(run_id)?;
        // A run is in one project; a foreign one of the same id has no points here.
        let series = self.of_run.get(run)?.iter().filter(|series| &*self.key(**series).project_id == project_id);
        series.map(|series| self.chains[*series as usize].max_step).max()
    }
}
