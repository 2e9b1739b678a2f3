//! Whether a backup can be restored, found without restoring it.

use std::collections::BTreeSet;

use stepwell_manifest::{DecodeError, FORMAT_VERSION, Manifest, ManifestError};
use stepwell_types::Lsn;
use stepwell_wal::first_lsn_of;

use super::{
    cut::files_of,
    error::BackupError,
    index::{ARTIFACTS, BackupFile, BackupIndex, MANIFEST, WAL_DIR},
    log_run::{LogContent, LogRun},
    store::BackupStore,
};

/// What a backup says of itself, found true.
pub(crate) struct Checked {
    pub(crate) manifest: Manifest,
    pub(crate) log: LogRun,
}

impl BackupStore {
    /// Reads every byte of a backup. The content of the metadata is the caller's to look at.
    pub fn verify(&self, index: &BackupIndex) -> Result<(), BackupError> {
        self.check(index)?;
        // The log and the manifest are read already.
        let mut others = index.files.iter().filter(|file| file.path != MANIFEST && file.parts().0 != WAL_DIR);
        others.try_for_each(|file| self.read(file).map(drop))
    }

    /// Reads manifest and log, and compares what they say with the index.
    pub(crate) fn check(&self, index: &BackupIndex) -> Result<Checked, BackupError> {
        let path = self.index_path(index.number);
        let wrong = |detail: String| BackupError::Damaged { path: path.clone(), offset: 0, detail };
        let Some(file) = index.file(MANIFEST) else {
            return Err(wrong(format!("backup {} has no manifest", index.number)));
        };
        let manifest = self.manifest(file)?;
        let named: BTreeSet<BackupFile> = manifest.segments.iter().flat_map(files_of).collect();
        let is_of_segment = |file: &&BackupFile| !["", WAL_DIR, ARTIFACTS].contains(&file.parts().0);
        let present: BTreeSet<BackupFile> = index.files.iter().filter(is_of_segment).cloned().collect();
        if let Some(file) = named.symmetric_difference(&present).next() {
            return Err(wrong(format!("manifest and index of backup {} differ in {}", index.number, file.path)));
        }
        let content = |file: &BackupFile| {
            let name = file.parts().1.to_owned();
            let first_lsn = first_lsn_of(&name).unwrap_or(Lsn(0));
            Ok(LogContent { path: self.path_of(file), name, first_lsn, content: self.read(file)? })
        };
        let contents = index.log().map(content).collect::<Result<Vec<_>, BackupError>>()?;
        let log = LogRun::line_up(contents, manifest.wal_floor)?;
        let (from, last) = (log.from.0, log.next.0 - 1);
        if (from, last) != (index.log_from, index.lsn) {
            let said = format!("LSN {} to {}", index.log_from, index.lsn);
            return Err(wrong(format!(
                "backup {} should have the log of {said} and has {from} to {last}",
                index.number
            )));
        }
        Ok(Checked { manifest, log })
    }

    fn manifest(&self, file: &BackupFile) -> Result<Manifest, BackupError> {
        let content = self.read(file)?;
        let path = self.path_of(file);
        stepwell_manifest::decode(content.bytes()).map_err(|error| {
            BackupError::Manifest(match error {
                DecodeError::Damaged { offset, detail } => ManifestError::Damaged { path, offset, detail },
                DecodeError::UnknownVersion(actual) => {
                    ManifestError::UnknownVersion { path, actual, newest: FORMAT_VERSION }
                }
            })
        })
    }
}
