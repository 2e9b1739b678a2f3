//! The file of metadata: on the real disk, for SQLite knows no other.

use std::path::PathBuf;

use anyhow::{Context, Result};
use stepwell_metadata::{Metadata, MetadataError, NewRun, ParamValue, check, repair};
use tokio::runtime::{Builder, Runtime};

use crate::{
    damage::Damage,
    judge::{Outcome, Verdict},
};

/// Of so many cases one is repaired too: a repair syncs a few times.
const REPAIRED_EVERY: usize = 8;

/// A small file of metadata, and what it says.
pub struct MetadataFile {
    runtime: Runtime,
    directory: tempfile::TempDir,
    whole: Vec<u8>,
    content: String,
}

impl MetadataFile {
    pub fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // In memory where there is such a place: nothing here is about the disk.
        let memory = std::path::Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let path = directory.path().join("metadata.sqlite");
        let content = runtime.block_on(async {
            let metadata = Metadata::open(&path).await?;
            for name in ["digits", "words"] {
                let project = metadata.create_project(name, 1).await?;
                for number in 0..4 {
                    let params = [("lr", ParamValue::Float(0.1)), ("layers", ParamValue::Int(18))];
                    let run = NewRun {
                        run_id: format!("{name}-{number}"),
                        project_id: project.project_id.clone(),
                        params: params.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                        tags: [("team".to_owned(), "vision".to_owned())].into(),
                        ..NewRun::default()
                    };
                    metadata.create_run(run, number).await?;
                }
            }
            metadata.trash_run("words-3", 9).await?;
            let content = content(&metadata).await;
            metadata.close().await;
            content
        })?;
        let whole = std::fs::read(&path)?;
        Ok(Self { runtime, directory, whole, content })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("metadata.sqlite")
    }

    /// A bit of every byte, and the file cut at every 64th.
    pub fn cases(&self) -> Vec<Damage> {
        let flip = |byte| Damage::Flip { path: self.path(), byte, bit: (byte * 5 % 8) as u8 };
        let cut = |bytes| Damage::Cut { path: self.path(), bytes };
        (0..self.whole.len()).map(flip).chain((0..self.whole.len()).step_by(64).map(cut)).collect()
    }

    /// As for the storage: asks everything, checks, and repairs some.
    pub fn judge(&self, number: usize, damage: &Damage) -> Verdict {
        let verdict = |outcome, detail: String| Verdict { outcome, detail, is_found: false, points_lost: 0 };
        let examined = self.runtime.block_on(self.examine(number, damage));
        examined.unwrap_or_else(|error| verdict(Outcome::Wrong, format!("{error:#}")))
    }

    async fn examine(&self, number: usize, damage: &Damage) -> Result<Verdict> {
        let path = self.path();
        let mut file = self.whole.clone();
        match damage {
            Damage::Flip { byte, bit, .. } => file[*byte] ^= 1 << bit,
            Damage::Cut { bytes, .. } => file.truncate(*bytes),
            Damage::Remove { .. } => {}
        }
        std::fs::write(&path, &file)?;
        let answer = async {
            let metadata = Metadata::open_read_only(&path).await?;
            let content = content(&metadata).await;
            metadata.close().await;
            content
        };
        let (outcome, detail) = match answer.await {
            Ok(content) if content == self.content => (Outcome::Right, String::new()),
            Ok(_) => (Outcome::Wrong, "it says something else".to_owned()),
            Err(MetadataError::DamagedFile { path: named, .. }) if named == path => (Outcome::Refused, String::new()),
            Err(error) => (Outcome::Wrong, format!("an error that does not say what is damaged and where: {error}")),
        };
        let is_found = !check(&path).await?.damages.is_empty();
        let mut verdict = Verdict { outcome, detail, is_found, points_lost: 0 };
        let is_empty = file.is_empty();
        if outcome < Outcome::Wrong && !is_found && !is_empty {
            verdict = Verdict { outcome: Outcome::Wrong, detail: "`check` finds nothing".to_owned(), ..verdict };
        }
        if outcome < Outcome::Wrong && number.is_multiple_of(REPAIRED_EVERY) {
            repair(&path, &self.directory.path().join("quarantine"), false).await.context("repair")?;
            let is_whole = std::fs::read(&path)? == self.whole;
            let is_mended = check(&path).await?.damages.is_empty();
            std::fs::remove_dir_all(self.directory.path().join("quarantine")).ok();
            if !is_mended || (matches!(damage, Damage::Flip { .. }) && !is_whole) {
                verdict =
                    Verdict { outcome: Outcome::Wrong, detail: "the repair did not mend it".to_owned(), ..verdict };
            }
        }
        Ok(verdict)
    }
}

/// All that is in it, as text.
async fn content(metadata: &Metadata) -> Result<String, MetadataError> {
    let projects = metadata.projects().await?;
    let mut all = format!("{projects:?}{:?}{:?}", metadata.trashed_runs().await?, metadata.trashed_projects().await?);
    for project in &projects {
        all += &format!("{:?}", metadata.project_by_name(&project.name).await?);
        let runs = metadata.runs_of_project(&project.project_id).await?;
        for run in &runs {
            all += &format!("{:?}", metadata.run(&run.run_id).await?);
        }
        all += &format!("{runs:?}");
    }
    Ok(all)
}
