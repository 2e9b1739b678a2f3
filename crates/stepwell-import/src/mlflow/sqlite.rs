//! An SQLite file: MLflow's SQL store, as its server or a client without one wrote it. Tables and columns are those of
//! `mlflow/store/tracking/dbmodels/models.py` and `mlflow/store/model_registry/dbmodels/models.py`; only read.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row};
use serde_json::{Value, json};

use super::{
    ImportError,
    entities::{
        DELETED_STAGE, Experiment, File, LoggedModel, MODEL_STATUSES, ModelVersion, Pairs, Point, RegisteredModel, Run,
        Source,
    },
    folder::{files, open},
    place::{Artifacts, Places, local_path},
};

const URI: &str = "sqlite:///";
/// Where clients without a server keep files, beside the SQLite file.
const MLRUNS: &str = "mlruns";
/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// How long to wait for who writes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The path of a source that is an SQLite file, or its URI.
pub(super) fn file_of(source: &str) -> Option<PathBuf> {
    if let Some(path) = source.strip_prefix(URI) {
        return Some(PathBuf::from(path));
    }
    let path = local_path(source);
    let mut start = [0; MAGIC.len()];
    fs::File::open(&path).and_then(|mut file| file.read_exact(&mut start)).ok()?;
    (&start == MAGIC).then_some(path)
}

/// The file.
pub(super) struct Sqlite {
    database: Connection,
    places: Places,
}

impl Sqlite {
    /// Opens it; refuses what is no store of MLflow, and one whose files are out of reach.
    pub(super) fn open(path: &Path, artifacts: &Artifacts) -> Result<Self, ImportError> {
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        database.busy_timeout(PATIENCE)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mlruns = folder.join(MLRUNS);
        let places = Places::new(folder, mlruns, artifacts);
        let store = Self { database, places };
        if !store.has("runs")? || !store.has("latest_metrics")? {
            return Err(ImportError::NoSource { source_name: path.display().to_string() });
        }
        for (run_id, uri) in store.rows("SELECT run_uuid, artifact_uri FROM runs", (), pair)? {
            store.places.of(&format!("run {run_id}"), &uri)?;
        }
        Ok(store)
    }

    /// Where the files of a run are, if it has any.
    fn artifacts(&self, run: &Run) -> Result<Option<PathBuf>, ImportError> {
        let sql = "SELECT artifact_uri FROM runs WHERE run_uuid = ?1";
        let uri: Option<String> = self.database.query_row(sql, (&run.id,), |row| row.get(0)).optional()?.flatten();
        self.places.of(&format!("run {}", run.id), &uri.unwrap_or_default())
    }

    fn model_artifacts(&self, model: &LoggedModel) -> Result<Option<PathBuf>, ImportError> {
        self.places.of(&format!("logged model {}", model.id), &model.location)
    }

    /// Whether there is such a table: old stores lack those of later versions.
    fn has(&self, table: &str) -> Result<bool, ImportError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)";
        Ok(self.database.query_row(sql, (table,), |row| row.get(0))?)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ImportError> {
        let mut statement = self.database.prepare(sql)?;
        Ok(statement.query_map(params, read)?.collect::<Result<_, _>>()?)
    }

    /// The pairs of one owner.
    fn pairs(&self, sql: &str, owner: &str) -> Result<Pairs, ImportError> {
        self.rows(sql, (owner,), pair)
    }

    /// As MLflow's API writes them.
    fn datasets(&self, run_id: &str) -> Result<Vec<Value>, ImportError> {
        if !self.has("inputs")? || !self.has("input_tags")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile \
                   FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id \
                   WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ?1 ORDER BY 1";
        let found = self.rows(sql, (run_id,), |row| {
            let mut dataset = json!({});
            for (at, name) in ["name", "digest", "source_type", "source", "schema", "profile"].into_iter().enumerate() {
                if let Some(text) = row.get::<_, Option<String>>(at + 1)? {
                    dataset[name] = text.into();
                }
            }
            Ok((text(row, 0)?, dataset))
        })?;
        let tags =
            |input: &str| self.pairs("SELECT name, value FROM input_tags WHERE input_uuid = ?1 ORDER BY 1", input);
        let with_tags = |(input, dataset): (String, Value)| {
            let tags = tags(&input)?.into_iter().map(|(key, value)| json!({"key": key, "value": value}));
            Ok(json!({"dataset": dataset, "tags": tags.collect::<Value>()}))
        };
        found.into_iter().map(with_tags).collect()
    }

    fn versions(&self, model: &str) -> Result<Vec<ModelVersion>, ImportError> {
        let sql = "SELECT version, source, run_id, description, current_stage FROM model_versions \
                   WHERE name = ?1 AND current_stage IS NOT ?2 ORDER BY version";
        let mut found = self.rows(sql, (model, DELETED_STAGE), |row| {
            Ok(ModelVersion {
                number: row.get::<_, i64>(0)?.unsigned_abs(),
                source: text(row, 1)?,
                run_id: text(row, 2)?,
                description: text(row, 3)?,
                stage: text(row, 4)?,
                tags: Pairs::new(),
            })
        })?;
        let sql = "SELECT key, value FROM model_version_tags WHERE name = ?1 AND version = ?2 ORDER BY key";
        for version in &mut found {
            version.tags = self.rows(sql, (model, version.number.cast_signed()), pair)?;
        }
        Ok(found)
    }
}

impl Source for Sqlite {
    fn experiments(&self) -> Result<Vec<Experiment>, ImportError> {
        let sql = "SELECT experiment_id, name, lifecycle_stage FROM experiments ORDER BY experiment_id";
        let mut found = self.rows(sql, (), |row| {
            let id = row.get::<_, i64>(0)?.to_string();
            Ok(Experiment { id, name: text(row, 1)?, is_deleted: text(row, 2)? == "deleted", tags: Pairs::new() })
        })?;
        let sql = "SELECT key, value FROM experiment_tags WHERE experiment_id = CAST(?1 AS INTEGER) ORDER BY key";
        for experiment in &mut found {
            experiment.tags = self.pairs(sql, &experiment.id)?;
        }
        Ok(found)
    }

    fn runs(&self, experiment: &Experiment) -> Result<Vec<Run>, ImportError> {
        let sql = "SELECT run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage FROM runs \
                   WHERE experiment_id = CAST(?1 AS INTEGER) ORDER BY start_time, run_uuid";
        let mut found = self.rows(sql, (&experiment.id,), |row| {
            Ok(Run {
                id: text(row, 0)?,
                name: text(row, 1)?,
                user: text(row, 2)?,
                status: text(row, 3)?,
                start_ms: row.get(4)?,
                end_ms: row.get(5)?,
                is_deleted: text(row, 6)? == "deleted",
                params: Pairs::new(),
                tags: Pairs::new(),
                metrics: Vec::new(),
                datasets: Vec::new(),
            })
        })?;
        for run in &mut found {
            run.params = self.pairs("SELECT key, value FROM params WHERE run_uuid = ?1 ORDER BY key", &run.id)?;
            run.tags = self.pairs("SELECT key, value FROM tags WHERE run_uuid = ?1 ORDER BY key", &run.id)?;
            let sql = "SELECT key FROM latest_metrics WHERE run_uuid = ?1 ORDER BY key";
            run.metrics = self.rows(sql, (&run.id,), |row| text(row, 0))?;
            run.datasets = self.datasets(&run.id)?;
        }
        Ok(found)
    }

    fn history(&self, run: &Run, metric: &str) -> Result<Vec<Point>, ImportError> {
        let sql = "SELECT step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?1 AND key = ?2";
        let mut points = self.rows(sql, (&run.id, metric), |row| {
            // A NaN is stored as a 0 that says it.
            let value = if row.get(3)? { f64::NAN } else { row.get(2)? };
            Ok(Point::new(row.get(0)?, row.get(1)?, value))
        })?;
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    fn files(&self, run: &Run) -> Result<Vec<File>, ImportError> {
        files_of(self.artifacts(run)?)
    }

    fn open(&self, run: &Run, file: &File) -> Result<Box<dyn Read>, ImportError> {
        open_of(self.artifacts(run)?, file)
    }

    fn absent(&self, run: &Run) -> Result<Option<PathBuf>, ImportError> {
        Ok(self.artifacts(run)?.filter(|folder| !folder.is_dir()))
    }

    fn models(&self) -> Result<Vec<RegisteredModel>, ImportError> {
        if !self.has("registered_models")? {
            return Ok(Vec::new());
        }
        let (has_tags, has_aliases) = (self.has("registered_model_tags")?, self.has("registered_model_aliases")?);
        let of =
            |is_there: bool, sql: &str, model: &str| if is_there { self.pairs(sql, model) } else { Ok(Pairs::new()) };
        let sql = "SELECT name, description FROM registered_models ORDER BY name";
        let model = |(name, description): (String, String)| {
            Ok(RegisteredModel {
                tags: of(has_tags, "SELECT key, value FROM registered_model_tags WHERE name = ?1 ORDER BY key", &name)?,
                aliases: of(
                    has_aliases,
                    "SELECT alias, CAST(version AS TEXT) FROM registered_model_aliases WHERE name = ?1 ORDER BY alias",
                    &name,
                )?,
                versions: self.versions(&name)?,
                last_version: 0,
                name,
                description,
            })
        };
        self.rows(sql, (), pair)?.into_iter().map(model).collect()
    }

    fn logged_model(&self, id: &str) -> Result<Option<LoggedModel>, ImportError> {
        if !self.has("logged_models")? {
            return Ok(None);
        }
        // A deleted one too: its files are what the version has.
        let sql = "SELECT experiment_id, name, model_type, source_run_id, status, artifact_location FROM logged_models \
                   WHERE model_id = ?1";
        let found = self.database.query_row(sql, (id,), |row| {
            let status = MODEL_STATUSES.get(usize::from(row.get::<_, u16>(4)?)).unwrap_or(&MODEL_STATUSES[0]);
            Ok(LoggedModel {
                id: id.to_owned(),
                experiment_id: row.get::<_, i64>(0)?.to_string(),
                name: text(row, 1)?,
                kind: text(row, 2)?,
                source_run_id: text(row, 3)?,
                status: (*status).to_owned(),
                location: text(row, 5)?,
                params: Pairs::new(),
                tags: Pairs::new(),
            })
        });
        let Some(mut model) = found.optional()? else { return Ok(None) };
        let pairs = |sql: &str| self.pairs(sql, id);
        model.params = pairs("SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?1 ORDER BY 1")?;
        model.tags = pairs("SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?1 ORDER BY 1")?;
        Ok(Some(model))
    }

    fn model_files(&self, model: &LoggedModel) -> Result<Vec<File>, ImportError> {
        files_of(self.model_artifacts(model)?)
    }

    fn open_of_model(&self, model: &LoggedModel, file: &File) -> Result<Box<dyn Read>, ImportError> {
        open_of(self.model_artifacts(model)?, file)
    }

    fn absent_of_model(&self, model: &LoggedModel) -> Result<Option<PathBuf>, ImportError> {
        Ok(self.model_artifacts(model)?.filter(|folder| !folder.is_dir()))
    }
}

fn files_of(folder: Option<PathBuf>) -> Result<Vec<File>, ImportError> {
    folder.map_or_else(|| Ok(Vec::new()), |folder| files(&folder))
}

fn open_of(folder: Option<PathBuf>, file: &File) -> Result<Box<dyn Read>, ImportError> {
    let folder = folder.ok_or_else(|| ImportError::odd(format!("{} is a file of what has no files", file.path)))?;
    open(&folder, file)
}

/// A text; none is empty.
fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(String, String)> {
    Ok((text(row, 0)?, text(row, 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_the_uri_of_a_runs_files_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let (path, files) = (folder.path().join("mlflow.db"), folder.path().join("mlruns/my dir/r/artifacts"));
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("a.txt"), "a").unwrap();
        let made = Connection::open(&path).unwrap();
        made.execute_batch(
            "CREATE TABLE latest_metrics (run_uuid TEXT, key TEXT);
             CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT)",
        )
        .unwrap();
        let uri = format!("file://{}/mlruns/my%20dir/r/artifacts", folder.path().display());
        made.execute("INSERT INTO runs VALUES ('r', ?1), ('none', ?1 || '/none'), ('null', NULL), ('', '')", (uri,))
            .unwrap();
        let store = Sqlite::open(&path, &Artifacts::default()).unwrap();
        let run = |id: &str| Run {
            id: id.to_owned(),
            name: String::new(),
            user: String::new(),
            status: String::new(),
            start_ms: None,
            end_ms: None,
            is_deleted: false,
            params: Pairs::new(),
            tags: Pairs::new(),
            metrics: Vec::new(),
            datasets: Vec::new(),
        };
        assert_eq!(store.files(&run("r")).unwrap(), [File { path: "a.txt".to_owned(), bytes: 1 }]);
        assert_eq!(store.absent(&run("r")).unwrap(), None);
        assert_eq!(store.absent(&run("none")).unwrap(), Some(files.join("none")), "that there is none is said");
        // The folder of the SQLite file is not theirs.
        for id in ["null", ""] {
            assert_eq!((store.files(&run(id)).unwrap(), store.absent(&run(id)).unwrap()), (vec![], None), "{id:?}");
        }
    }
}
