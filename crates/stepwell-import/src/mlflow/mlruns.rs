//! An `mlruns` directory: MLflow's file store, as its clients wrote it where no server was set.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    ImportError,
    entities::{
        DELETED_STAGE, Experiment, File, LoggedModel, MODEL_STATUSES, ModelVersion, Pairs, Point, RegisteredModel, Run,
        Source,
    },
    folder::{directories, files, has_files, names, open},
    place::{Artifacts, Places, local_path},
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
    places: Places,
}

impl Mlruns {
    /// A path, or the `file:` URI of one; refuses one whose files are out of reach.
    pub(super) fn open(name: &str, artifacts: &Artifacts) -> Result<Self, ImportError> {
        let root = local_path(name);
        // Of the whole path: that of `.` has no parent.
        let whole = fs::canonicalize(&root).unwrap_or_else(|_| root.clone());
        let places = Places::new(whole.parent().unwrap_or(Path::new("")).to_owned(), whole.clone(), artifacts);
        let mlruns = Self { root, places };
        let is_one = mlruns.root.is_dir() && (mlruns.root.join(MODELS).is_dir() || !mlruns.folders()?.is_empty());
        if !is_one {
            return Err(ImportError::NoSource { source_name: name.to_owned() });
        }
        for experiment in mlruns.folders()? {
            for run in runs_in(&experiment)? {
                mlruns.artifacts(&run)?;
            }
        }
        Ok(mlruns)
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

    /// Where the files of the run in a folder are.
    fn artifacts(&self, folder: &Path) -> Result<PathBuf, ImportError> {
        self.place(folder, &format!("run {}", id_of(folder)), &meta(folder)?.text("artifact_uri"))
    }

    /// Where the files of a run or logged model are: in its folder if any are, since in a copy of the directory the URIs still name
    /// the place that it was copied from; else where its URI says, as the file store makes a run's folder for files in any case.
    fn place(&self, folder: &Path, owner: &str, uri: &str) -> Result<PathBuf, ImportError> {
        let own = folder.join("artifacts");
        let elsewhere = if has_files(&own)? { None } else { self.places.of(owner, uri)? };
        elsewhere.map_or_else(|| self.places.permitted(owner, own), Ok)
    }

    /// The folder of a logged model, in that of its experiment.
    fn model_folder(&self, id: &str) -> Result<Option<PathBuf>, ImportError> {
        let mut candidates = self.folders()?.into_iter().map(|folder| folder.join(MODELS).join(id));
        Ok(candidates.find(|folder| folder.join(META).is_file()))
    }

    fn model_artifacts(&self, model: &LoggedModel) -> Result<PathBuf, ImportError> {
        let folder = self.model_folder(&model.id)?.unwrap_or_default();
        self.place(&folder, &format!("logged model {}", model.id), &model.location)
    }
}

/// The folders of an experiment's runs.
fn runs_in(experiment: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut found = directories(experiment)?;
    found.retain(|folder| folder.join(META).is_file() && folder.join("params").is_dir());
    Ok(found)
}

/// What is in a folder has its name for an id.
fn id_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Source for Mlruns {
    fn experiments(&self) -> Result<Vec<Experiment>, ImportError> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            let meta = meta(&folder)?;
            let is_deleted = meta.text("lifecycle_stage") == "deleted" || folder.starts_with(self.root.join(TRASH));
            let id = id_of(&folder);
            found.push(Experiment { id, name: meta.text("name"), is_deleted, tags: texts(&folder.join("tags"))? });
        }
        Ok(found)
    }

    fn runs(&self, experiment: &Experiment) -> Result<Vec<Run>, ImportError> {
        let mut found = Vec::new();
        for folder in runs_in(&self.folder(&experiment.id)?)? {
            let meta = meta(&folder)?;
            let tags = texts(&folder.join("tags"))?;
            let status: usize = meta.text("status").parse().unwrap_or(1);
            found.push(Run {
                id: id_of(&folder),
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
        files(&self.artifacts(&self.run_folder(run)?)?)
    }

    fn open(&self, run: &Run, file: &File) -> Result<Box<dyn Read>, ImportError> {
        open(&self.artifacts(&self.run_folder(run)?)?, file)
    }

    fn absent(&self, run: &Run) -> Result<Option<PathBuf>, ImportError> {
        let folder = self.artifacts(&self.run_folder(run)?)?;
        Ok((!folder.is_dir()).then_some(folder))
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
                last_version: 0,
            });
        }
        Ok(found)
    }

    fn logged_model(&self, id: &str) -> Result<Option<LoggedModel>, ImportError> {
        let Some(folder) = self.model_folder(id)? else { return Ok(None) };
        let meta = meta(&folder)?;
        let status = meta.text("status").parse().ok().and_then(|number: usize| MODEL_STATUSES.get(number));
        let model = LoggedModel {
            id: meta.text("model_id"),
            experiment_id: folder.parent().and_then(Path::parent).map(id_of).unwrap_or_default(),
            name: meta.text("name"),
            kind: meta.text("model_type"),
            source_run_id: meta.text("source_run_id"),
            status: (*status.unwrap_or(&MODEL_STATUSES[0])).to_owned(),
            location: meta.text("artifact_location"),
            params: texts(&folder.join("params"))?,
            tags: texts(&folder.join("tags"))?,
        };
        Ok((model.id == id).then_some(model))
    }

    fn model_files(&self, model: &LoggedModel) -> Result<Vec<File>, ImportError> {
        files(&self.model_artifacts(model)?)
    }

    fn open_of_model(&self, model: &LoggedModel, file: &File) -> Result<Box<dyn Read>, ImportError> {
        open(&self.model_artifacts(model)?, file)
    }

    fn absent_of_model(&self, model: &LoggedModel) -> Result<Option<PathBuf>, ImportError> {
        let folder = self.model_artifacts(model)?;
        Ok((!folder.is_dir()).then_some(folder))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one run, as `FileStore.create_run` makes it: with a folder for files, used or not.
    fn mlruns(parent: &Path, artifact_uri: &str) -> String {
        let run = parent.join("mlruns/1/r");
        ["params", "metrics", "artifacts"].iter().for_each(|name| fs::create_dir_all(run.join(name)).unwrap());
        fs::write(parent.join("mlruns/1").join(META), "experiment_id: '1'\nname: e\n").unwrap();
        fs::write(run.join(META), format!("artifact_uri: {artifact_uri}\nrun_name: n\nstatus: 3\n")).unwrap();
        parent.join("mlruns").to_str().unwrap().to_owned()
    }

    /// A file in the folder of the run's files below `root`.
    fn write(root: &Path, text: &str) {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("a.txt"), text).unwrap();
    }

    /// The texts of the run's files, and the directory that is not there.
    fn files(store: &Mlruns) -> (Vec<String>, Option<PathBuf>) {
        let experiment = store.experiments().unwrap().remove(0);
        let run = store.runs(&experiment).unwrap().remove(0);
        let text = |file| std::io::read_to_string(store.open(&run, &file).unwrap()).unwrap();
        (store.files(&run).unwrap().into_iter().map(text).collect(), store.absent(&run).unwrap())
    }

    #[test]
    fn i4_files_are_read_where_the_artifact_uri_says() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = parent.path().join("my dir/r/artifacts");
        let uri = format!("file://{}/my%20dir/r/artifacts", parent.path().display());
        let source = mlruns(parent.path(), &uri);
        let store = Mlruns::open(&source, &Artifacts::default()).unwrap();
        assert_eq!(files(&store), (vec![], Some(elsewhere.clone())), "that there is none is said");
        write(&elsewhere, "elsewhere");
        let told = Artifacts { folder: Some(parent.path().join("my dir")), anywhere: false };
        for permitted in [told, Artifacts { folder: None, anywhere: true }] {
            let store = Mlruns::open(&source, &permitted).unwrap();
            assert_eq!(files(&store), (vec!["elsewhere".to_owned()], None));
        }
        let refused = Mlruns::open(&source, &Artifacts::default());
        assert!(matches!(refused, Err(ImportError::OutsideOfSource { .. })));
    }

    #[test]
    fn i4_files_of_a_server_are_read_from_its_artifacts_or_the_import_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let source = mlruns(parent.path(), "mlflow-artifacts:/1/r/artifacts");
        assert!(matches!(Mlruns::open(&source, &Artifacts::default()), Err(ImportError::NoArtifacts { .. })));
        write(&parent.path().join("told/1/r/artifacts"), "told");
        let told = Artifacts { folder: Some(parent.path().join("told")), ..Artifacts::default() };
        let store = Mlruns::open(&source, &told).unwrap();
        assert_eq!(files(&store).0, ["told"]);
        write(&parent.path().join("mlartifacts/1/r/artifacts"), "beside");
        assert_eq!(files(&Mlruns::open(&source, &Artifacts::default()).unwrap()).0, ["beside"]);
    }

    #[test]
    fn i4_files_that_are_not_on_this_machine_refuse_the_import() {
        let parent = tempfile::tempdir().unwrap();
        let source = mlruns(parent.path(), "s3://bucket/1/r/artifacts");
        assert!(matches!(Mlruns::open(&source, &Artifacts::default()), Err(ImportError::FilesElsewhere { .. })));
    }

    #[test]
    fn a_logged_model_is_found_in_its_experiment_by_its_id_alone() {
        let parent = tempfile::tempdir().unwrap();
        let source = mlruns(parent.path(), "''");
        let folder = parent.path().join("mlruns/1/models/m-1");
        write(&folder.join("artifacts"), "a");
        fs::write(folder.join(META), "model_id: m-1\nname: n\nmodel_type: null\nstatus: 3\n").unwrap();
        let store = Mlruns::open(&source, &Artifacts::default()).unwrap();
        let model = store.logged_model("m-1").unwrap().unwrap();
        assert_eq!((model.experiment_id.as_str(), model.status.as_str()), ("1", "LOGGED_MODEL_UPLOAD_FAILED"));
        assert_eq!(store.model_files(&model).unwrap(), [File { path: "a.txt".to_owned(), bytes: 1 }]);
        assert_eq!(store.absent_of_model(&model).unwrap(), None);
        for id in ["m-2", "..", ""] {
            assert_eq!(store.logged_model(id).unwrap(), None, "{id}");
        }
    }

    #[test]
    fn files_of_a_copy_are_its_own_whatever_place_it_was_copied_from() {
        let parent = tempfile::tempdir().unwrap();
        let old = parent.path().join("old/mlruns/1/r/artifacts");
        let source = mlruns(parent.path(), &format!("file://{}", old.display()));
        write(&old, "old");
        write(&parent.path().join("mlruns/1/r/artifacts/deep"), "own");
        assert_eq!(files(&Mlruns::open(&source, &Artifacts::default()).unwrap()), (vec!["own".to_owned()], None));
    }

    #[test]
    fn a_runs_own_folder_that_is_a_link_out_of_the_source_is_not_read() {
        let parent = tempfile::tempdir().unwrap();
        let source = mlruns(parent.path(), "''");
        let (own, secret) = (parent.path().join("mlruns/1/r/artifacts"), parent.path().join("secret"));
        write(&secret, "secret");
        fs::remove_dir(&own).unwrap();
        std::os::unix::fs::symlink(&secret, &own).unwrap();
        let refused = Mlruns::open(&source, &Artifacts::default());
        assert!(matches!(refused, Err(ImportError::OutsideOfSource { .. })));
    }
}
