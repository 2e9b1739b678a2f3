//! Names interned once, and the table of series.

use std::{collections::BTreeSet, sync::Arc};

use ahash::RandomState;
use hashbrown::HashTable;
use stepwell_types::{PointFilter, SeriesKey};

use crate::rows::Chain;

/// Each distinct name once, numbered in order of appearance.
#[derive(Default)]
struct Names {
    names: Vec<Arc<str>>,
    numbers: HashTable<u32>,
    hasher: RandomState,
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
        let number = self.number(name).unwrap_or_else(|| self.add(name));
        self.last = Some((name.clone(), number));
        number
    }

    fn number(&self, name: &str) -> Option<u32> {
        let is_same = |number: &u32| *self.names[*number as usize] == *name;
        self.numbers.find(self.hasher.hash_one(name), is_same).copied()
    }

    fn add(&mut self, name: &Arc<str>) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        let (names, hasher) = (&self.names, &self.hasher);
        let hash = |number: &u32| hasher.hash_one(&*names[*number as usize]);
        self.numbers.insert_unique(hasher.hash_one(&**name), number, hash);
        // The text and its two counts, the handle, and the series that it leads to.
        self.bytes += name.len() + 16 + size_of::<Arc<str>>() + size_of::<Vec<u32>>();
        number
    }

    /// Per name its place among all in order, so that series are sorted without a look at a text.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.names.len() as u32).collect();
        order.sort_unstable_by_key(|number| &self.names[*number as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

/// (project, metric, run), by number.
type Numbers = [u32; 3];

/// A million series are common, so that each costs numbers here and never a text or a handle to one.
#[derive(Default)]
pub(crate) struct SeriesTable {
    projects: Names,
    metrics: Names,
    runs: Names,
    /// Per series its names.
    names: Vec<Numbers>,
    series: HashTable<u32>,
    hasher: RandomState,
    /// Per series where its rows are.
    pub(crate) chains: Vec<Chain>,
    /// Per run the series it has, so that a run is found without a look at the others.
    of_run: Vec<Vec<u32>>,
    /// Per metric the series it has: a leaderboard wants one metric of all runs.
    of_metric: Vec<Vec<u32>>,
}

impl SeriesTable {
    pub(crate) fn intern(&mut self, key: &SeriesKey) -> u32 {
        let numbers =
            [self.projects.intern(&key.project_id), self.metrics.intern(&key.metric), self.runs.intern(&key.run_id)];
        self.find(&numbers).unwrap_or_else(|| self.add(numbers))
    }

    fn find(&self, numbers: &Numbers) -> Option<u32> {
        let is_same = |series: &u32| self.names[*series as usize] == *numbers;
        self.series.find(self.hasher.hash_one(numbers), is_same).copied()
    }

    fn add(&mut self, numbers: Numbers) -> u32 {
        let series = self.names.len() as u32;
        self.names.push(numbers);
        let (names, hasher) = (&self.names, &self.hasher);
        self.series.insert_unique(hasher.hash_one(numbers), series, |series| hasher.hash_one(names[*series as usize]));
        self.chains.push(Chain::EMPTY);
        let [_, metric, run] = numbers;
        push_to(&mut self.of_metric, metric, series);
        push_to(&mut self.of_run, run, series);
        series
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn key(&self, series: u32) -> SeriesKey {
        let [project, metric, run] = self.names_of(series);
        SeriesKey { project_id: project.clone(), metric: metric.clone(), run_id: run.clone() }
    }

    fn names_of(&self, series: u32) -> [&Arc<str>; 3] {
        let [project, metric, run] = self.names[series as usize].map(|number| number as usize);
        [&self.projects.names[project], &self.metrics.names[metric], &self.runs.names[run]]
    }

    /// All series in the order of their keys.
    pub(crate) fn in_key_order(&self) -> Vec<u32> {
        let ranks = [&self.projects, &self.metrics, &self.runs].map(Names::ranks);
        let rank = |series: &u32| {
            let [project, metric, run] = self.names[*series as usize].map(|number| number as usize);
            (ranks[0][project], ranks[1][metric], ranks[2][run])
        };
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(rank);
        order
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // What a series has in each list that names it: lists grow by doubling, so that they have half of it as room.
        const LISTED: usize = 2 * size_of::<u32>() * 3 / 2;
        let of_series = self.names.capacity() * size_of::<Numbers>()
            + self.chains.capacity() * size_of::<Chain>()
            + self.series.capacity() * (size_of::<u32>() + 1)
            + self.len() * LISTED;
        self.projects.bytes + self.metrics.bytes + self.runs.bytes + of_series
    }

    /// Series whose names pass: by way of the runs or metrics where the filter names some, else by a look at all.
    pub(crate) fn matching(&self, filter: &PointFilter) -> Vec<u32> {
        if let (Some(runs), Some(metrics), Some(projects)) = (&filter.run_ids, &filter.metrics, &filter.project_ids)
            && runs.len() * metrics.len() * projects.len() <= self.len()
        {
            return self.exact(projects.iter(), metrics.iter().collect(), runs.iter().collect());
        }
        let passes = |series: &u32| filter.accepts_names(self.names_of(*series).map(|name| &**name));
        let of = |names: &Names, wanted: &BTreeSet<Arc<str>>, series_of: &[Vec<u32>]| {
            let numbers = wanted.iter().filter_map(|name| names.number(name));
            numbers.flat_map(|number| &series_of[number as usize]).copied().filter(passes).collect()
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
        for project in projects.filter_map(|name| self.projects.number(name)) {
            for metric in metrics.iter().filter_map(|name| self.metrics.number(name)) {
                let runs = runs.iter().filter_map(|name| self.runs.number(name));
                found.extend(runs.filter_map(|run| self.find(&[project, metric, run])));
            }
        }
        found
    }

    /// Where the rows of each series of a run are.
    pub(crate) fn of_run(&self, project_id: &str, run_id: &str) -> impl Iterator<Item = &Chain> {
        let of_run = self.runs.number(run_id).into_iter().flat_map(|run| &self.of_run[run as usize]);
        // A run is in one project; a foreign one of the same id has no points here.
        let series = of_run.filter(move |series| **self.names_of(**series)[0] == *project_id);
        series.map(|series| &self.chains[*series as usize])
    }
}

/// Appends to the list at `number`, which is known or the next.
fn push_to(lists: &mut Vec<Vec<u32>>, number: u32, series: u32) {
    let at = number as usize;
    if at >= lists.len() {
        lists.resize_with(at + 1, Vec::new);
    }
    lists[at].push(series);
}
