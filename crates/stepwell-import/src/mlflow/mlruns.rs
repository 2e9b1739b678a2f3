//! An `mlruns` directory: MLflow's file store, as its clients wrote it where no server was set.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    ImportError,
    entities::{DELETED_STAGE, Experiment, File, ModelVersion, Pairs, Point, RegisteredModel, Run, Source},
    folder::{directories, local_path, names},
    yaml::{self, Flat},
};

/// Of each experiment, run, model and version.
const META: &str = "meta.yaml";
/// Where deleted experiments go.
const TRASH: &str = ".trash";
const MODELS: &str = "models";
/// Statuses by their number.
const STATUSES: [&str; 6] = ["RUNNING", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

/// The directory.
pub(super) struct Mlruns {
    root: PathBuf,
}

impl Mlruns {
    /// A path, or the `file:` URI of one.
    pub(super) fn open(name: &str) -> Result<Self, ImportError> {
        let root = local_path(name).to_owned();
        let mlruns = Self { root };
        let is_one = mlruns.root.is_dir() && (mlruns.root.join(MODELS).is_dir() || !mlruns.folders()?.is_empty());
        if is_one { Ok(mlruns) } else { Err(ImportError::NoSource { source_name: name.to_owned() }) }
    }

    /// Folders of experiments, deleted ones last.
    fn folders(&self) -> Result<Vec<PathBuf>, ImportError> {
        let mut found = directories(&self.root)?;
        found.extend(directories(&self.root.join(TRASH))?);
        found.retain(|folder| folder.join(META).is_file() && folder.file_name() != Some(MODELS.as_ref()));
        Ok(found)
    }

    fn folder(&self, experiment: &str) -> Result<PathBuf, ImportError> {
        let folder = self.folders()?.into_iter().find(|folder| folder.ends_with(experiment));
        folder.ok_or_else(|| ImportError::odd(format!("there is no experiment {experiment}")))
    }

    /// The folder of a run; ids are unique.
    fn run_folder(&self, run: &Run) -> Result<PathBuf, ImportError> {
        let mut candidates = self.folders()?.into_iter().map(|folder| folder.join(&run.id));
        candidates.find(|folder| folder.is_dir()).ok_or_else(|| ImportError::odd(format!("there is no run {}", run.id)))
    }

    /// Where its files are: in its folder, or where its artifact URI says.
    fn artifacts(&self, run: &Run) -> Result<PathBuf, ImportError> {
        let folder = self.run_folder(run)?;
        let uri = meta(&folder)?.text("artifact_uri");
        let own = folder.join("artifacts");
        let named = local_path(&uri).to_owned();
        Ok(if !own.is_dir() && named.is_dir() { named } else { own })
    }
}

impl Source for Mlruns {
    fn experiments(&self) -> Result<Vec<Experiment>, ImportError> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            let meta = meta(&folder)?;
            let is_deleted = meta.text("lifecycle_stage") == "deleted" || folder.starts_with(self.root.join(TRASH));
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push(Experiment { id, name: meta.text("name"), is_deleted, tags: texts(&folder.join("tags"))? });
        }
        Ok(found)
    }

    fn runs(&self, experiment: &Experiment) -> Result<Vec<Run>, ImportError> {
        let mut found = Vec::new();
        for folder in directories(&self.folder(&experiment.id)?)? {
            if !folder.join(META).is_file() || !folder.join("params").is_dir() {
                continue;
            }
            let meta = meta(&folder)?;
            let tags = texts(&folder.join("tags"))?;
            let status: usize = meta.text("status").parse().unwrap_or(1);
            found.push(Run {
                id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                name: meta.text("run_name"),
                user: meta.text("user_id"),
                status: STATUSES.get(status).copied().unwrap_or("RUNNING").to_owned(),
                start_ms: meta.integer("start_time"),
                end_ms: meta.integer("end_time"),
                is_deleted: meta.text("lifecycle_stage") == "deleted",
                params: texts(&folder.join("params"))?,
                tags,
                metrics: names(&folder.join("metrics"))?.into_iter().map(|(name, _)| name).collect(),
                datasets: Vec::new(),
            });
        }
        found.sort_by_key(|run| run.start_ms);
        Ok(found)
    }

    fn history(&self, run: &Run, metric: &str) -> Result<Vec<Point>, ImportError> {
        let path = self.run_folder(run)?.join("metrics").join(metric);
        let text = fs::read_to_string(&path).map_err(|source| ImportError::read(&path, source))?;
        let lines = text.lines().filter(|line| !line.is_empty());
        let wrong = |line: &str| ImportError::odd(format!("{}: the line {line:?} is no point", path.display()));
        let mut points = lines.map(|line| point(line).ok_or_else(|| wrong(line))).collect::<Result<Vec<_>, _>>()?;
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    fn files(&self, run: &Run) -> Result<Vec<File>, ImportError> {
        let found = names(&self.artifacts(run)?)?;
        Ok(found.into_iter().map(|(path, bytes)| File { path, bytes }).collect())
    }

    fn open(&self, run: &Run, file: &File) -> Result<Box<dyn Read>, ImportError> {
        let path = self.artifacts(run)?.join(&file.path);
        Ok(Box::new(fs::File::open(&path).map_err(|source| ImportError::read(&path, source))?))
    }

    fn models(&self) -> Result<Vec<RegisteredModel>, ImportError> {
        let mut found = Vec::new();
        for folder in directories(&self.root.join(MODELS))? {
            if !folder.join(META).is_file() {
                continue;
            }
            let meta = meta(&folder)?;
            let mut versions = Vec::new();
            for version in directories(&folder)?.into_iter().filter(|version| version.join(META).is_file()) {
                versions.push(model_version(&version)?);
            }
            versions.retain(|version| version.stage != DELETED_STAGE);
            versions.sort_by_key(|version| version.number);
            found.push(RegisteredModel {
                name: meta.text("name"),
                description: meta.text("description"),
                tags: texts(&folder.join("tags"))?,
                aliases: meta.pairs("aliases"),
                versions,
            });
        }
        Ok(found)
    }
}

fn model_version(folder: &Path) -> Result<ModelVersion, ImportError> {
    let meta = meta(folder)?;
    Ok(ModelVersion {
        number: meta.integer("version").unwrap_or(0).unsigned_abs(),
        source: meta.text("source"),
        run_id: meta.text("run_id"),
        description: meta.text("description"),
        stage: meta.text("current_stage"),
        tags: texts(&folder.join("tags"))?,
    })
}

/// Milliseconds, value and step, and what later versions put after them.
fn point(line: &str) -> Option<Point> {
    let mut words = line.split(' ');
    let (timestamp, value) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let step = words.next().map_or(Some(0), |step| step.parse().ok())?;
    Some(Point::new(step, timestamp, value))
}

fn meta(folder: &Path) -> Result<Flat, ImportError> {
    let path = folder.join(META);
    let text = fs::read_to_string(&path).map_err(|source| ImportError::read(&path, source))?;
    Ok(yaml::read(&text))
}

/// Files as names and texts.
fn texts(root: &Path) -> Result<Pairs, ImportError> {
    let text = |(name, _): (String, u64)| {
        let path = root.join(&name);
        Ok((name, fs::read_to_string(&path).map_err(|source| ImportError::read(&path, source))?))
    };
    names(root)?.into_iter().map(text).collect()
}
