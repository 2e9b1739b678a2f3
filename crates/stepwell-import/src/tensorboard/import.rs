//! Sending the runs of a log directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::Path,
    time::Duration,
};

use stepwell_client::{Client, ClientError, NewRunRequest, Points, Run, RunUpdate};
use stepwell_types::{ErrorKind, ProducerSequence, format_utc_us, limits};

use super::{
    ImportError, ImportReport, ImportedRun, Progress, Skipped, event,
    hparams::Session,
    record::{Item, RecordReader},
    scalars::RunState,
    walk::{RunFiles, find_runs},
};

/// Points after which a batch ends. Part of what makes a repeated import add nothing: a different number would cut files
/// differently than earlier imports did.
const BATCH_POINTS: usize = 50_000;
/// Tags that keep where imports ended begin so; the file's name follows.
const CUTS_TAG: &str = "stepwell.import.tensorboard.cuts/";
/// They begin so in runs of earlier versions, which do not tell which import made them.
const CUTS_TAG_BEFORE: &str = "stepwell.import.tensorboard/";
/// The tag that keeps which import made the run. It is part of the producers' names: a purge takes it along, but not what the
/// engine knows of producers, and a run that is made anew under the same id is to have its points anew.
const MADE_BY_TAG: &str = "stepwell.import.tensorboard.made_by";
/// The tag of a run that was just made, until it is known that no points are there under its id.
const NEW_TAG: &str = "stepwell.import.tensorboard.new";
/// How long a server that does not answer is waited for, per batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes read between two calls of the progress callback.
const PROGRESS_BYTES: u64 = 1 << 18;

/// Imports all runs below `logdir` into `project`, which is made if absent. Damaged records are skipped and reported.
/// `import_id` names this import, and no other; `progress` is called now and then, and at the end.
pub fn import(
    logdir: &Path,
    project: &str,
    import_id: &str,
    client: &Client,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let runs = find_runs(logdir)?;
    if runs.is_empty() {
        return Err(ImportError::NoEventFiles { path: logdir.to_owned() });
    }
    let bytes_total = runs.iter().flat_map(|run| &run.files).map(|(_, bytes)| bytes).sum();
    let mut report = ImportReport::default();
    let mut bytes_before = 0;
    for files in &runs {
        let mut done = |bytes| progress(Progress { bytes_done: bytes_before + bytes, bytes_total });
        let run = RunImport::start(project, import_id, files, client)?;
        let run = run.import(files, &mut report.skipped, &mut done)?;
        report.runs.push(run);
        bytes_before += files.files.iter().map(|(_, bytes)| bytes).sum::<u64>();
    }
    progress(Progress { bytes_done: bytes_total, bytes_total });
    Ok(report)
}

/// One run on its way.
struct RunImport<'a> {
    client: &'a Client,
    project: &'a str,
    /// The run as the server has it.
    run: Run,
    state: RunState,
    report: ImportedRun,
}

/// One file on its way.
struct FileImport {
    tag: String,
    producer: String,
    /// Offsets at which batches end because an import ended there.
    cuts: BTreeSet<u64>,
    points: Points,
    /// Offset after the last record that added to `points`.
    end: u64,
}

impl<'a> RunImport<'a> {
    fn start(project: &'a str, import_id: &str, files: &RunFiles, client: &'a Client) -> Result<Self, ImportError> {
        let path = files.path.clone();
        let run_id = run_id(project, &path);
        let mut new = NewRunRequest::new(project);
        (new.run_id, new.name) = (Some(run_id.clone()), Some(path.clone()));
        new.tags =
            [(MADE_BY_TAG, import_id), (NEW_TAG, "true")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        new.started_at = files.files.first().and_then(|(file, len)| first_wall_time(file, *len)).map(format_utc_us);
        let run = match client.create_run(&new) {
            // An earlier import made it.
            Err(error) if error.kind() == ErrorKind::Conflict => client.run(&run_id),
            other => other,
        };
        let run = run.map_err(|source| ImportError::Send { run: path.clone(), source: Box::new(source) })?;
        let report = ImportedRun { run_id, path, ..ImportedRun::default() };
        let mut import = Self { client, project, run, state: RunState::default(), report };
        import.refuse_unknown_points(import_id)?;
        Ok(import)
    }

    /// Producers are named by tags of the run. Where its row or its tags were lost or deleted, its points are still there, and all of them
    /// would be new to any other producer.
    fn refuse_unknown_points(&mut self, import_id: &str) -> Result<(), ImportError> {
        let tags = &self.run.tags;
        let tells_producers = tags.keys().any(|tag| tag == MADE_BY_TAG || tag.starts_with(CUTS_TAG_BEFORE));
        if tells_producers && !tags.contains_key(NEW_TAG) {
            return Ok(());
        }
        if self.has_points()? {
            let (run, run_id) = (self.report.path.clone(), self.report.run_id.clone());
            return Err(ImportError::UnknownPoints { run, run_id });
        }
        let made_by = tags.get(MADE_BY_TAG).map_or(import_id, String::as_str).to_owned();
        let tags = BTreeMap::from([(MADE_BY_TAG.to_owned(), Some(made_by)), (NEW_TAG.to_owned(), None)]);
        self.update(&RunUpdate { tags, ..RunUpdate::default() })
    }

    fn has_points(&self) -> Result<bool, ImportError> {
        let run_id = self.report.run_id.replace('\'', "''");
        let query = format!("SELECT step FROM points WHERE run_id = '{run_id}' LIMIT 1");
        let rows = self.client.sql(&query, Some(self.project)).map_err(|source| self.failed(source))?;
        Ok(!rows.is_empty())
    }

    fn import(
        mut self,
        files: &RunFiles,
        skipped: &mut Vec<Skipped>,
        done: &mut dyn FnMut(u64),
    ) -> Result<ImportedRun, ImportError> {
        let mut bytes_before = 0;
        for (file, len) in &files.files {
            self.import_file(file, *len, skipped, &mut |bytes| done(bytes_before + bytes))?;
            bytes_before += len;
            self.report.files += 1;
        }
        let session = std::mem::take(&mut self.state.session);
        if let Some(update) = self.session_update(&session, skipped, files) {
            self.update(&update)?;
        }
        Ok(self.report)
    }

    fn import_file(
        &mut self,
        path: &Path,
        len: u64,
        skipped: &mut Vec<Skipped>,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let failed = |source| ImportError::Read { path: path.to_owned(), source };
        let input = File::open(path).map_err(failed)?;
        let mut reader = RecordReader::new(BufReader::with_capacity(1 << 16, input), len);
        let mut file = FileImport::new(self.project, &self.report.path, path, &self.run);
        let mut shown = 0;
        while let Some(item) = reader.next().map_err(failed)? {
            match item {
                Item::Record { data, offset, end } => {
                    if let Err(reason) = self.read_record(&mut file, &data, end) {
                        skipped.push(Skipped { file: path.to_owned(), offset, bytes: end - offset, reason });
                    }
                }
                Item::Damage { offset, bytes, reason } => {
                    skipped.push(Skipped { file: path.to_owned(), offset, bytes, reason: reason.to_owned() });
                }
            }
            if file.points.len() >= BATCH_POINTS || file.cuts.contains(&file.end) {
                self.send(&mut file)?;
            }
            if reader.offset() - shown >= PROGRESS_BYTES {
                shown = reader.offset();
                done(shown);
            }
        }
        self.keep_cut(&mut file)?;
        self.send(&mut file)?;
        done(len);
        Ok(())
    }

    fn read_record(&mut self, file: &mut FileImport, data: &[u8], end: u64) -> Result<(), String> {
        let (run_id, before) = (&self.report.run_id, file.points.len());
        let points = &mut file.points;
        let result = self.state.read(data, |scalar| {
            points.push(run_id, scalar.metric, scalar.step, scalar.timestamp_us, scalar.value);
        });
        if file.points.len() > before {
            file.end = end;
        }
        result
    }

    /// The file's last batch is short of what later appends may make it: keeps where it ends before it is sent.
    fn keep_cut(&mut self, file: &mut FileImport) -> Result<(), ImportError> {
        if file.points.is_empty() || !file.cuts.insert(file.end) {
            return Ok(());
        }
        let cuts: Vec<String> = file.cuts.iter().map(u64::to_string).collect();
        let tags = BTreeMap::from([(file.tag.clone(), Some(cuts.join(",")))]);
        self.update(&RunUpdate { tags, ..RunUpdate::default() })
    }

    fn send(&mut self, file: &mut FileImport) -> Result<(), ImportError> {
        if file.points.is_empty() {
            return Ok(());
        }
        let points = std::mem::take(&mut file.points);
        let stream = points.encode().map_err(|source| self.failed(source))?;
        let producer = ProducerSequence { producer: file.producer.as_str().into(), sequence: file.end };
        let mut waited = Duration::ZERO;
        let ack = self.client.ingest_until_acked(&stream, &producer, |_, pause| {
            waited += pause;
            let patient = waited <= PATIENCE;
            if patient {
                std::thread::sleep(pause);
            }
            patient
        });
        let ack = ack.map_err(|source| self.failed(source))?;
        self.report.points += points.len() as u64;
        self.report.new_points += if ack.duplicate { 0 } else { points.len() as u64 };
        Ok(())
    }

    fn update(&mut self, update: &RunUpdate) -> Result<(), ImportError> {
        self.run = self.client.update_run(&self.report.run_id, update).map_err(|source| self.failed(source))?;
        Ok(())
    }

    fn failed(&self, source: ClientError) -> ImportError {
        ImportError::Send { run: self.report.path.clone(), source: Box::new(source) }
    }

    /// What the server does not know yet of the run's session. Params never change: a different value is reported.
    fn session_update(&self, session: &Session, skipped: &mut Vec<Skipped>, files: &RunFiles) -> Option<RunUpdate> {
        let mut update = RunUpdate::default();
        for (name, value) in &session.params {
            match self.run.params.get(name) {
                None => {
                    update.params.insert(name.clone(), value.clone());
                }
                Some(kept) if kept == value || (kept.is_number() && kept.as_f64() == value.as_f64()) => {}
                Some(kept) => {
                    let reason = format!("hparam {name:?} is {value}, the run has {kept} already and keeps it");
                    let file = files.files.last().map(|(file, _)| file.clone()).unwrap_or_default();
                    skipped.push(Skipped { file, offset: 0, bytes: 0, reason });
                }
            }
        }
        if let Some(status) = session.status.filter(|status| *status != self.run.status) {
            update.status = Some(status.to_owned());
            update.ended_at = session.ended_at_us.map(format_utc_us);
        }
        (update != RunUpdate::default()).then_some(update)
    }
}

impl FileImport {
    fn new(project: &str, run_path: &str, file: &Path, run: &Run) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let made_by = run.tags.get(MADE_BY_TAG);
        let (own, before) = (format!("{CUTS_TAG}{name}"), format!("{CUTS_TAG_BEFORE}{name}"));
        let kept = [&own, &before].into_iter().filter_map(|tag| run.tags.get(tag));
        let cuts = kept.flat_map(|cuts| cuts.split(',')).filter_map(|cut| cut.parse().ok()).collect();
        // Runs of earlier versions have no such tag, and producers without it.
        let tag = if made_by.is_some() { own } else { before };
        let mut parts = vec![project, run_path, &name];
        parts.extend(made_by.map(String::as_str));
        let producer = format!("tb-{}", fingerprint(&parts));
        Self { tag, producer, cuts, points: Points::default(), end: 0 }
    }
}

/// The wall time of a file's first event, microseconds, if that is whole.
fn first_wall_time(path: &Path, len: u64) -> Option<i64> {
    let mut reader = RecordReader::new(BufReader::new(File::open(path).ok()?), len);
    match reader.next().ok()?? {
        Item::Record { data, .. } => event::parse(&data).ok().map(|event| event.wall_time_us),
        Item::Damage { .. } => None,
    }
}

/// The same for the same project and path, different for others, and readable.
fn run_id(project: &str, path: &str) -> String {
    let suffix = format!("-{}", &fingerprint(&[project, path])[..16]);
    let mut id = format!("tb-{project}-{path}").replace(char::is_control, "_");
    let mut length = id.len().min(limits::RUN_ID_BYTES_MAX - suffix.len());
    while !id.is_char_boundary(length) {
        length -= 1;
    }
    id.truncate(length);
    id + &suffix
}

/// 96 bits in hexadecimal: FNV-1a and CRC32C of the parts, each with its length before it.
fn fingerprint(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{fnv:016x}{:08x}", crc32c::crc32c(&bytes))
}
