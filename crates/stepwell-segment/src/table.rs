//! One file of a segment, open for reading.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::PageIndexPolicy,
};
use stepwell_env::{Disk, MappedFile};
use stepwell_types::FileMeta;

use crate::{
    error::{SegmentError, guarded},
    filter::RowFilter,
    footers::{FooterCache, Slot},
    format::{FORMAT_VERSION, Kind, VERSION_KEY},
    prune::matching_rows,
    scan::{Names, SegmentScan},
};

/// Bytes of a file that are resident at a time while it is checked.
const CHECKED_BYTES: usize = 16 << 20;

/// Mapped bytes, and what the footer says.
pub(crate) struct Table {
    path: PathBuf,
    meta: FileMeta,
    schema: SchemaRef,
    file: MappedFile,
    /// Whether the file was found whole, on first use; a failure is kept too.
    checked: OnceLock<Result<(), (u64, String)>>,
    footer: Arc<Slot>,
}

impl Table {
    /// Maps the file and checks its length. Its content is checked on first use, so that opening thousands is quick.
    pub(crate) fn open(
        disk: &dyn Disk,
        data_dir: &Path,
        kind: Kind,
        file_name: &str,
        meta: FileMeta,
        footers: &FooterCache,
    ) -> Result<Self, SegmentError> {
        let path = data_dir.join(kind.dir()).join(file_name);
        let file = disk.map(&path).map_err(|source| SegmentError::Io { what: "open", path: path.clone(), source })?;
        let bytes = file.bytes();
        if bytes.len() as u64 != meta.bytes {
            let detail = format!("it has {} bytes, the manifest says {}", bytes.len(), meta.bytes);
            return Err(SegmentError::Damaged { path, offset: meta.bytes.min(bytes.len() as u64), detail });
        }
        Ok(Self { path, meta, schema: kind.schema(), file, checked: OnceLock::new(), footer: footers.slot() })
    }

    /// Checks the checksum of the whole file, anew.
    pub(crate) fn verify(&self) -> Result<(), SegmentError> {
        self.check_crc().map_err(|(offset, detail)| self.damaged(offset, detail))
    }

    fn check_crc(&self) -> Result<(), (u64, String)> {
        let mut actual = 0;
        for piece in self.file.bytes().chunks(CHECKED_BYTES) {
            actual = crc32c::crc32c_append(actual, piece);
            self.release();
        }
        let expected = self.meta.crc32c;
        if actual != expected {
            return Err((0, format!("the CRC-32C of the file is {actual:08x}, the manifest says {expected:08x}")));
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, detail: String) -> SegmentError {
        SegmentError::Damaged { path: self.path.clone(), offset, detail }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &MappedFile {
        &self.file
    }

    /// Lets go of the pages read so far.
    pub(crate) fn release(&self) {
        self.file.release();
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The parsed footer and page index, after a check of the whole file (I11).
    pub(crate) fn footer(&self) -> Result<ArrowReaderMetadata, SegmentError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let load = || {
            self.checked.get_or_init(|| self.check_crc()).clone()?;
            let options = ArrowReaderOptions::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_skip_arrow_metadata(true)
                .with_schema(self.schema.clone());
            ArrowReaderMetadata::load(self.file.bytes(), options)
                .map_err(|error| (self.meta.bytes, format!("the footer does not parse: {error}")))
        };
        let footer = guarded(&self.path, || load().map_err(|(offset, detail)| self.damaged(offset, detail)))?;
        let entries = footer.metadata().file_metadata().key_value_metadata();
        let version =
            entries.into_iter().flatten().find(|entry| entry.key == VERSION_KEY).and_then(|e| e.value.clone());
        if version.as_deref() != Some(FORMAT_VERSION) {
            let path = self.path.clone();
            return Err(SegmentError::UnknownVersion { path, actual: version, newest: FORMAT_VERSION });
        }
        self.footer.put(footer.clone());
        Ok(footer)
    }

    #[cfg(test)]
    pub(crate) fn has_footer(&self) -> bool {
        self.footer.is_kept()
    }

    /// Rows that are left after pruning by statistics: an upper bound of what a scan yields.
    pub(crate) fn rows_max(&self, filter: &RowFilter) -> Result<u64, SegmentError> {
        Ok(matching_rows(self.footer()?.metadata(), filter).iter().map(|group| group.rows() as u64).sum())
    }

    /// Positions of all columns.
    pub(crate) fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.fields().len()).collect()
    }

    /// Reads columns of the rows that pass: `visit` gets the batches, names as numbers, and ranges of rows in each.
    pub(crate) fn read(
        &self,
        filter: RowFilter,
        columns: &[usize],
        mut visit: impl FnMut(&RecordBatch, Range<usize>),
    ) -> Result<(), SegmentError> {
        const BATCH_ROWS: usize = 8_192;
        let mut scan = SegmentScan::new(self, filter, columns, Names::Numbers, BATCH_ROWS)?;
        guarded(&self.path, || {
            while let Some(batch) = scan.next_unfiltered() {
                match batch? {
                    (batch, None) => visit(&batch, 0..batch.num_rows()),
                    (batch, Some(keep)) => keep.set_slices().for_each(|(from, to)| visit(&batch, from..to)),
                }
            }
            Ok(())
        })
    }
}
