//! The way of everything from a source into Stepwell: what is there already stays, what is missing is sent, all is read back.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use stepwell_client::{Client, Points};

use super::{
    ImportError, ImportReport, Progress,
    api::Api,
    entities::{Experiment, File, ModelVersion, Point, RegisteredModel, Run, Source},
    mlruns::Mlruns,
    sqlite::{self, Sqlite},
    target::{Target, missing_points},
};

/// Points after which a batch is sent.
const BATCH_POINTS: usize = 50_000;

/// Imports all of a tracking server (`http://…`), an `mlruns` directory or an SQLite file into the server of `client`: experiments,
/// runs, params, tags, all points, files, registered models. What is there already is left; what was imported is read back and
/// compared. `artifacts` is where the server of a directory or an SQLite file kept files, `mlartifacts` beside it if it is not given.
/// `producer` names this import, and no other; `progress` is called after each run.
pub fn import(
    source: &str,
    artifacts: Option<&Path>,
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
    };
    let experiments = source.experiments()?;
    let runs = experiments.iter().map(|experiment| source.runs(experiment)).collect::<Result<Vec<_>, _>>()?;
    let runs_total = runs.iter().map(Vec::len).sum::<usize>() as u64;
    let mut projects = Vec::new();
    for (experiment, runs) in experiments.iter().zip(&runs) {
        projects
            .push(import.experiment(experiment, runs, &mut |runs_done| progress(Progress { runs_done, runs_total }))?);
    }
    import.models()?;
    // Only now: a version cannot be of a run in the trash.
    for (experiment, project) in experiments.iter().zip(&projects) {
        if experiment.is_deleted {
            import.target.delete_experiment(project)?;
        }
    }
    Ok(import.report)
}

struct Import<'a> {
    source: &'a dyn Source,
    target: Target,
    report: ImportReport,
    /// Projects of runs, both by their ids.
    projects: BTreeMap<String, String>,
}

impl Import<'_> {
    fn experiment(
        &mut self,
        wanted: &Experiment,
        runs: &[Run],
        done: &mut dyn FnMut(u64),
    ) -> Result<Experiment, ImportError> {
        let (project, is_new) = self.target.experiment(wanted)?;
        self.report.experiments.add(1, is_new.into());
        for run in runs {
            self.run(&project, run)?;
            done(self.report.runs.all);
        }
        Ok(project)
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
            let history = self.source.history(wanted, metric)?;
            let there =
                if found.metrics.contains(metric) { self.target.api.history(found, metric)? } else { Vec::new() };
            let missing = missing_points(&history, &there);
            self.report.points.add(history.len(), missing.len());
            sums.push((metric.clone(), Sum::of_points(&history)));
            for point in missing {
                batch.push(&wanted.id, metric, point.step, point.timestamp_ms.saturating_mul(1_000), point.value());
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
        if let Some(directory) = self.source.absent(wanted)? {
            self.report.runs_without_directory += 1;
            self.report.first_without_directory.get_or_insert(directory);
        }
        let there = if files.is_empty() { Vec::new() } else { self.target.api.files(wanted)? };
        let mut sums = Vec::new();
        for file in files {
            let mut bytes = Summed::new(self.source.open(wanted, &file)?);
            let is_new = !there.contains(&file);
            if is_new {
                self.target.file(project, wanted, &file, &mut bytes)?;
            } else {
                drain(&mut bytes, &file)?;
            }
            self.report.files.add(1, is_new.into());
            self.report.file_bytes += bytes.sum.count;
            sums.push((file, bytes.sum));
        }
        Ok(sums)
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
                let lacking = missing_points(&self.source.history(wanted, metric)?, &there).len();
                if lacking > 0 {
                    wrong(format!("metric {metric:?}: {lacking} of {} points are not there", sum.count));
                }
            }
        }
        for (file, sum) in files {
            let mut bytes = Summed::new(self.target.api.open(&found, file)?);
            drain(&mut bytes, file)?;
            if bytes.sum != *sum {
                wrong(format!("file {:?}: {} bytes there, {} in the source", file.path, bytes.sum.count, sum.count));
            }
        }
        Ok(())
    }

    fn models(&mut self) -> Result<(), ImportError> {
        let models = self.source.models()?;
        let there = if models.is_empty() { Vec::new() } else { self.target.api.models()? };
        for model in &models {
            let found = there.iter().find(|found| found.name == model.name);
            self.target.model(model, found)?;
            self.report.models.add(1, found.is_none().into());
            let is_there = |version: &ModelVersion| {
                found.is_some_and(|found| found.versions.iter().any(|v| v.number == version.number))
            };
            let new: Vec<&ModelVersion> = model.versions.iter().filter(|version| !is_there(version)).collect();
            self.report.versions.add(model.versions.len(), new.len());
            for version in new {
                self.target.version(&model.name, version, &self.moved(version))?;
            }
            for (alias, version) in &model.aliases {
                if !found.is_some_and(|found| found.aliases.contains(&(alias.clone(), version.clone()))) {
                    self.target.alias(&model.name, alias, version)?;
                }
            }
        }
        self.verify_models(&models)
    }

    /// Where a version's files are now: those among its run's files came with it.
    fn moved(&self, version: &ModelVersion) -> String {
        let of_run = version.source.split_once(&format!("/{}/artifacts", version.run_id));
        match (of_run, self.projects.get(&version.run_id)) {
            (Some((_, path)), Some(project)) => {
                format!("mlflow-artifacts:/{project}/{}/artifacts{path}", version.run_id)
            }
            _ => version.source.clone(),
        }
    }

    fn verify_models(&mut self, models: &[RegisteredModel]) -> Result<(), ImportError> {
        let there = if models.is_empty() { Vec::new() } else { self.target.api.models()? };
        for model in models {
            let Some(found) = there.iter().find(|found| found.name == model.name) else {
                self.report.mismatches.push(format!("model {:?} is not there", model.name));
                continue;
            };
            let facts = |model: &RegisteredModel| {
                let version = |v: &ModelVersion| (v.number, v.run_id.clone(), v.stage.clone(), v.description.clone());
                (model.versions.iter().map(version).collect::<Vec<_>>(), model.aliases.clone())
            };
            if facts(model) != facts(found) {
                self.report.mismatches.push(format!("model {:?} has other versions or aliases", model.name));
            }
        }
        Ok(())
    }
}

/// How much there is, and a checksum of it in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    crc: u32,
}

impl Sum {
    fn of_points(points: &[Point]) -> Self {
        let crc = points.iter().fold(0, |crc, point| {
            let mut bytes = [0; 24];
            bytes[..8].copy_from_slice(&point.step.to_le_bytes());
            bytes[8..16].copy_from_slice(&point.timestamp_ms.to_le_bytes());
            bytes[16..].copy_from_slice(&point.bits.to_le_bytes());
            crc32c::crc32c_append(crc, &bytes)
        });
        Self { count: points.len() as u64, crc }
    }
}

/// Bytes that are summed as they pass.
struct Summed<R> {
    inner: R,
    sum: Sum,
}

impl<R> Summed<R> {
    fn new(inner: R) -> Self {
        Self { inner, sum: Sum::default() }
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.crc = crc32c::crc32c_append(self.sum.crc, &buffer[..read]);
        self.sum.count += read as u64;
        Ok(read)
    }
}

fn drain(bytes: &mut impl Read, file: &File) -> Result<(), ImportError> {
    io::copy(bytes, &mut io::sink()).map(|_| ()).map_err(|source| ImportError::read(file.path.as_ref(), source))
}
