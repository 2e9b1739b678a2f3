//! The way of everything from a source into Stepwell: what is there already stays, what is missing is sent, all is read back.

use std::{collections::BTreeMap, io::Read};

use stepwell_client::{Client, Points};

use super::{
    ImportError, ImportReport, Progress,
    api::Api,
    entities::{Experiment, File, LoggedModel, Run, Source},
    files,
    mlruns::Mlruns,
    place::Artifacts,
    sqlite::{self, Sqlite},
    sum::Sum,
    target::{Target, fitted, missing_points},
};

/// Points after which a batch is sent.
const BATCH_POINTS: usize = 50_000;

/// Imports all of a tracking server (`http://…`), an `mlruns` directory or an SQLite file into the server of `client`: experiments,
/// runs, params, tags, all points, files, registered models. What is there already is left; what was imported is read back and
/// compared. `artifacts` is where a directory or an SQLite file may have files.
/// `producer` names this import, and no other; `progress` is called after each run.
pub fn import(
    source: &str,
    artifacts: &Artifacts,
    client: &Client,
    producer: String,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let source: Box<dyn Source> = if source.starts_with("http://") || source.starts_with("https://") {
        Box::new(Api::new(source)?)
    } else if let Some(path) = sqlite::file_of(source) {
        Box::new(Sqlite::open(&path, artifacts)?)
    } else {
        Box::new(Mlruns::open(source, artifacts)?)
    };
    let mut import = Import {
        source: &*source,
        target: Target::new(client, producer)?,
        report: ImportReport::default(),
        projects: BTreeMap::new(),
        experiments: BTreeMap::new(),
        deleted: Vec::new(),
        logged_models: BTreeMap::new(),
    };
    let imported = import.all(progress);
    // Only now: a version cannot be of a run in the trash. Also where the import failed: a deleted experiment is not to stay active.
    let deleted = import.delete_experiments();
    imported.and(deleted)?;
    Ok(import.report)
}

pub(super) struct Import<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) target: Target,
    pub(super) report: ImportReport,
    /// Projects of runs, both by their ids.
    pub(super) projects: BTreeMap<String, String>,
    /// Projects of experiments, both by their ids.
    pub(super) experiments: BTreeMap<String, String>,
    /// Projects of experiments that were deleted, active for the time of the import.
    deleted: Vec<Experiment>,
    /// Logged models that are there, by their ids in the source.
    pub(super) logged_models: BTreeMap<String, LoggedModel>,
}

impl Import<'_> {
    fn all(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ImportError> {
        let experiments = self.source.experiments()?;
        let runs = experiments.iter().map(|experiment| self.source.runs(experiment)).collect::<Result<Vec<_>, _>>()?;
        let runs_total = runs.iter().map(Vec::len).sum::<usize>() as u64;
        for (experiment, runs) in experiments.iter().zip(&runs) {
            self.experiment(experiment, runs, &mut |runs_done| progress(Progress { runs_done, runs_total }))?;
        }
        self.models()
    }

    fn delete_experiments(&self) -> Result<(), ImportError> {
        self.deleted.iter().try_for_each(|project| self.target.delete_experiment(project))
    }

    fn experiment(&mut self, wanted: &Experiment, runs: &[Run], done: &mut dyn FnMut(u64)) -> Result<(), ImportError> {
        let (project, is_new) = self.target.experiment(wanted)?;
        if wanted.is_deleted {
            self.deleted.push(project.clone());
        }
        self.experiments.insert(wanted.id.clone(), project.id.clone());
        self.report.experiments.add(1, is_new.into());
        for run in runs {
            self.run(&project, run)?;
            done(self.report.runs.all);
        }
        Ok(())
    }

    fn run(&mut self, project: &Experiment, wanted: &Run) -> Result<(), ImportError> {
        let (found, is_new) = self.target.run(project, wanted)?;
        self.projects.insert(wanted.id.clone(), project.id.clone());
        self.report.runs.add(1, is_new.into());
        let (params, tags) = self.target.pairs(wanted, &found)?;
        self.report.params.add(wanted.params.len(), params);
        self.report.tags.add(wanted.tags.len(), tags);
        let histories = self.points(wanted, &found)?;
        let files = self.files(project, wanted)?;
        self.target.finish(wanted, &found)?;
        self.verify(wanted, &histories, &files)
    }

    /// Sends what is missing of each metric; gives what there is of each, as a check of what is read back.
    fn points(&mut self, wanted: &Run, found: &Run) -> Result<Vec<(String, Sum)>, ImportError> {
        let (mut batch, mut sums) = (Points::default(), Vec::new());
        for metric in &wanted.metrics {
            let (history, times_fitted) = fitted(self.source.history(wanted, metric)?);
            self.report.times_fitted += times_fitted;
            let there =
                if found.metrics.contains(metric) { self.target.api.history(found, metric)? } else { Vec::new() };
            let missing = missing_points(&history, &there);
            self.report.points.add(history.len(), missing.len());
            sums.push((metric.clone(), Sum::of_points(&history)));
            for point in missing {
                batch.push(&wanted.id, metric, point.step, point.timestamp_us(), point.value());
                if batch.len() == BATCH_POINTS {
                    self.target.points(&wanted.id, &std::mem::take(&mut batch))?;
                }
            }
        }
        if !batch.is_empty() {
            self.target.points(&wanted.id, &batch)?;
        }
        Ok(sums)
    }

    /// Sends the files that are not there in their size; gives each with its checksum.
    fn files(&mut self, project: &Experiment, wanted: &Run) -> Result<Vec<(File, Sum)>, ImportError> {
        let files = self.source.files(wanted)?;
        self.report.lacks(self.source.absent(wanted)?);
        let there = if files.is_empty() { Vec::new() } else { self.target.api.files(wanted)? };
        let (source, target) = (self.source, &self.target);
        let location = format!("mlflow-artifacts:/{}/{}/artifacts", project.id, wanted.id);
        let send = |file: &File, bytes: &mut dyn Read| target.file(&location, file, bytes);
        files::copy(&mut self.report, files, &there, |file| source.open(wanted, file), send)
    }

    /// Reads back what was imported of a run.
    fn verify(&mut self, wanted: &Run, histories: &[(String, Sum)], files: &[(File, Sum)]) -> Result<(), ImportError> {
        let Some(found) = self.target.api.run(&wanted.id)? else {
            self.report.mismatches.push(format!("run {} is not there", wanted.id));
            return Ok(());
        };
        let mut wrong = |what: String| self.report.mismatches.push(format!("run {}: {what}", wanted.id));
        let lacks = |pairs: &[(String, String)], found: &[(String, String)]| {
            pairs.iter().find(|pair| !found.contains(pair)).cloned()
        };
        if let Some((key, _)) = lacks(&wanted.params, &found.params) {
            wrong(format!("param {key:?} differs"));
        }
        if let Some((key, _)) = lacks(&wanted.tags, &found.tags) {
            wrong(format!("tag {key:?} differs"));
        }
        if (&wanted.status, wanted.end_ms, wanted.is_deleted) != (&found.status, found.end_ms, found.is_deleted) {
            wrong(format!("it is {} and was {}", found.status, wanted.status));
        }
        for (metric, sum) in histories {
            let there = self.target.api.history(&found, metric)?;
            if Sum::of_points(&there) != *sum {
                // It may have points of its own beside them.
                let (history, _) = fitted(self.source.history(wanted, metric)?);
                let lacking = missing_points(&history, &there).len();
                if lacking > 0 {
                    wrong(format!("metric {metric:?}: {lacking} of {} points are not there", sum.count));
                }
            }
        }
        let (target, owner) = (&self.target, format!("run {}", wanted.id));
        files::compare(&mut self.report, &owner, files, |file| target.api.open(&found, file))
    }
}
