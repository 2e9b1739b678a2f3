//! Names interned once, and the table of series.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use stepwell_types::{PointFilter, SeriesKey};

use crate::chunk::NO_ROW;

/// Each distinct name once, numbered in order of appearance.
#[derive(Default)]
struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
}

impl Names {
    fn intern(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
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
    numbers: Vec<Numbers>,
    /// Per series its latest row.
    pub(crate) last_row: Vec<u32>,
    /// Per run the series it has, so that a run is found without a look at the others.
    of_run: HashMap<u32, Vec<u32>>,
    /// Per run its largest step.
    last_step: HashMap<u32, i64>,
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
                self.numbers.push(numbers);
                self.last_row.push(NO_ROW);
                self.of_run.entry(numbers[2]).or_default().push(series);
                series
            }
        }
    }

    pub(crate) fn note_step(&mut self, series: u32, step: i64) {
        let run = self.numbers[series as usize][2];
        let last = self.last_step.entry(run).or_insert(step);
        *last = step.max(*last);
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, series: u32) -> &SeriesKey {
        &self.keys[series as usize]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let per_series = size_of::<SeriesKey>() + 2 * size_of::<Numbers>() + 4 * size_of::<u32>() + 16;
        self.projects.bytes + self.metrics.bytes + self.runs.bytes + self.keys.len() * per_series
    }

    /// Series whose names pass: by way of the runs where the filter names runs, else by a look at all.
    pub(crate) fn matching(&self, filter: &PointFilter) -> Vec<u32> {
        if let (Some(runs), Some(metrics), Some(projects)) = (&filter.run_ids, &filter.metrics, &filter.project_ids)
            && runs.len() * metrics.len() * projects.len() <= self.len()
        {
            return self.exact(projects.iter(), metrics.iter().collect(), runs.iter().collect());
        }
        let passes = |series: &u32| filter.accepts_series(self.key(*series));
        match &filter.run_ids {
            Some(runs) => {
                let numbers = runs.iter().filter_map(|run| self.runs.numbers.get(run));
                numbers.filter_map(|run| self.of_run.get(run)).flatten().copied().filter(passes).collect()
            }
            None => (0..self.len() as u32).filter(passes).collect(),
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
        let series = *self.of_run.get(run)?.first()?;
        (&*self.key(series).project_id == project_id).then(|| self.last_step.get(run).copied()).flatten()
    }
}
