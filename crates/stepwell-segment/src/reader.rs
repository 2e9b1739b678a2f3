//! Opening a segment.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::PageIndexPolicy,
};
use stepwell_env::Disk;
use stepwell_types::{PointFilter, SegmentMeta, points_schema};

use crate::{
    error::SegmentError,
    format::{FORMAT_VERSION, VERSION_KEY},
    prune::matching_rows,
    scan::SegmentScan,
};

/// An open segment: mapped bytes, and what its footer says. Clones share both; the bytes outlive the file's removal.
#[derive(Clone)]
pub struct Segment {
    shared: Arc<Shared>,
}

struct Shared {
    meta: SegmentMeta,
    path: PathBuf,
    bytes: Bytes,
    /// Checked and parsed on first use; a failure is kept too.
    footer: OnceLock<Result<ArrowReaderMetadata, (u64, String)>>,
}

impl Segment {
    /// Maps the file and checks its length. Its content is checked on first use, so that opening thousands is quick.
    pub fn open(disk: &dyn Disk, dir: &Path, meta: &SegmentMeta) -> Result<Self, SegmentError> {
        let path = dir.join(&meta.file_name);
        let bytes = disk.map(&path).map_err(|source| SegmentError::Io { what: "open", path: path.clone(), source })?;
        if bytes.len() as u64 != meta.bytes {
            let detail = format!("it has {} bytes, the manifest says {}", bytes.len(), meta.bytes);
            return Err(SegmentError::Damaged { path, offset: meta.bytes.min(bytes.len() as u64), detail });
        }
        Ok(Self { shared: Arc::new(Shared { meta: meta.clone(), path, bytes, footer: OnceLock::new() }) })
    }

    /// What the manifest knows of it.
    pub fn meta(&self) -> &SegmentMeta {
        &self.shared.meta
    }

    /// Checks the checksum of the whole file, anew.
    pub fn verify(&self) -> Result<(), SegmentError> {
        self.check_crc().map_err(|(offset, detail)| self.damaged(offset, detail))
    }

    fn check_crc(&self) -> Result<(), (u64, String)> {
        let actual = crc32c::crc32c(&self.shared.bytes);
        let expected = self.shared.meta.crc32c;
        if actual != expected {
            return Err((0, format!("the CRC-32C of the file is {actual:08x}, the manifest says {expected:08x}")));
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, detail: String) -> SegmentError {
        SegmentError::Damaged { path: self.shared.path.clone(), offset, detail }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.shared.path
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.shared.bytes
    }

    /// The parsed footer and page index, after a check of the whole file (I11).
    pub(crate) fn footer(&self) -> Result<&ArrowReaderMetadata, SegmentError> {
        let load = || {
            self.check_crc()?;
            let options = ArrowReaderOptions::new()
                .with_page_index_policy(PageIndexPolicy::Required)
                .with_skip_arrow_metadata(true)
                .with_schema(points_schema());
            ArrowReaderMetadata::load(&self.shared.bytes, options)
                .map_err(|error| (self.shared.meta.bytes, format!("the footer does not parse: {error}")))
        };
        let footer = match self.shared.footer.get_or_init(load) {
            Ok(footer) => footer,
            Err((offset, detail)) => return Err(self.damaged(*offset, detail.clone())),
        };
        let entries = footer.metadata().file_metadata().key_value_metadata();
        let version =
            entries.into_iter().flatten().find(|entry| entry.key == VERSION_KEY).and_then(|e| e.value.clone());
        if version.as_deref() != Some(FORMAT_VERSION) {
            let path = self.shared.path.clone();
            return Err(SegmentError::UnknownVersion { path, actual: version, newest: FORMAT_VERSION });
        }
        Ok(footer)
    }

    /// Rows that are left after pruning by statistics: an upper bound of what a scan yields.
    pub fn scan_rows_estimate(&self, filter: &PointFilter) -> u64 {
        match self.footer() {
            Ok(footer) => matching_rows(footer.metadata(), filter).iter().map(|g| g.rows() as u64).sum(),
            Err(_) => self.meta().rows,
        }
    }

    /// Reads the rows that pass `filter`, in file order. `projection` picks columns of [`points_schema`] by index, in the
    /// order wanted; batches have at most `batch_rows` rows.
    pub fn scan(
        &self,
        filter: &PointFilter,
        projection: &[usize],
        batch_rows: usize,
    ) -> Result<SegmentScan, SegmentError> {
        SegmentScan::new(self, filter, projection, batch_rows)
    }
}
