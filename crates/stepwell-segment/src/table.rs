//! One file of a segment, open for reading.

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
};

use arrow::array::RecordBatch;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaDataReader},
};
use stepwell_env::{Disk, MappedFile};
use stepwell_types::FileMeta;

use crate::{
    checksums::{CheckedPages, PAGES_KEY, PagePlace, PageSums, pages, unreadable},
    error::{SegmentError, guarded},
    filter::RowFilter,
    footers::{Footer, FooterCache, Slot},
    format::{FORMAT_VERSION, FORMAT_VERSION_1, Kind, VERSION_KEY},
    health::{FileDamage, Health, Place},
    mapping::Mapping,
    prune::{GroupRows, matching_rows},
    scan::{Names, SegmentScan},
};

/// Bytes of a file that are resident at a time while it is checked.
const CHECKED_BYTES: usize = 16 << 20;

/// The first bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";

/// Mapped bytes, and what the footer says.
pub(crate) struct Table {
    meta: FileMeta,
    kind: Kind,
    mapping: Mapping,
    /// Whether a file without checksums of pages was found whole, on first use; a failure is kept too.
    checked: OnceLock<Result<(), Place>>,
    footer: Arc<Slot>,
    health: Arc<Health>,
}

impl Table {
    /// Maps the file, if it can be, and checks its length. Its content is checked when it is used, so that opening thousands is quick.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        kind: Kind,
        file_name: &str,
        meta: FileMeta,
        footers: &FooterCache,
    ) -> Self {
        let health = Arc::new(Health::good(&data_dir.join(kind.dir()).join(file_name), kind));
        let mapping = Mapping::new(disk, meta.bytes, &health);
        Self { meta, kind, mapping, checked: OnceLock::new(), footer: footers.slot(), health }
    }

    /// What is damaged, after a look at every byte; each place as small as the checksums tell. An error where it cannot be looked at.
    pub(crate) fn damages(&self) -> Result<Vec<FileDamage>, SegmentError> {
        let file = match self.mapping.get() {
            Ok(file) => file,
            Err(SegmentError::Damaged { offset, detail, .. }) => {
                return Ok(vec![self.file_damage(offset, 0, detail, 0..u64::MAX)]);
            }
            Err(error) => return Err(error),
        };
        let Err((offset, detail)) = self.check_crc(file) else { return Ok(Vec::new()) };
        let located = self.located_damages(file);
        Ok(if located.is_empty() { vec![self.file_damage(offset, 0, detail, 0..u64::MAX)] } else { located })
    }

    /// Of a file whose checksum is wrong the pieces whose checksums are wrong; none where it has none.
    fn located_damages(&self, file: &MappedFile) -> Vec<FileDamage> {
        let Some(tail) = self.meta.tail else { return Vec::new() };
        let parsed = self.check_tail(file).and_then(|tail_at| self.parse(file, Some(tail_at)));
        let (footer, sums) = match parsed {
            Ok(Footer { parquet, sums: Some(sums), .. }) => (parquet, sums),
            Ok(_) => return Vec::new(),
            // Without the tail nobody knows where pages are.
            Err((offset, detail)) => return vec![self.file_damage(offset, tail.bytes, detail, 0..u64::MAX)],
        };
        let mut found = Vec::new();
        if !file.get(0..MAGIC.len()).is_ok_and(|first| first == MAGIC) {
            let detail = "the magic number at the beginning is wrong; nothing reads it but other programs".to_owned();
            found.push(self.file_damage(0, MAGIC.len() as u64, detail, 0..0));
        }
        for page in pages(footer.metadata()).unwrap_or_default() {
            if let Err(damage) = sums.check(file, page.start) {
                let column = footer.schema().field(page.column).name();
                let (group, detail) = (page.row_group, damage.detail);
                let detail = format!("a page of column `{column}` in row group {group}: {detail}");
                found.push(self.file_damage(page.start, damage.bytes, detail, page.rows));
            }
        }
        self.release();
        found
    }

    fn file_damage(&self, offset: u64, bytes: u64, detail: String, rows: Range<u64>) -> FileDamage {
        FileDamage { path: self.path().to_owned(), offset, bytes, detail, rows }
    }

    fn check_crc(&self, file: &MappedFile) -> Result<(), Place> {
        let mut actual = 0;
        for piece in file.pieces(CHECKED_BYTES) {
            actual = crc32c::crc32c_append(actual, piece.map_err(|error| unreadable(&error, 0))?);
        }
        self.release();
        let expected = self.meta.crc32c;
        if actual != expected {
            return Err((0, format!("the CRC-32C of the file is {actual:08x}, the manifest says {expected:08x}")));
        }
        Ok(())
    }

    /// Checks what must be known to be right before anything is read; returns where the tail begins, if it is known.
    fn check_before_use(&self, file: &MappedFile) -> Result<Option<u64>, Place> {
        match self.meta.tail {
            Some(_) => self.check_tail(file).map(Some),
            None => self.checked.get_or_init(|| self.check_crc(file)).clone().map(|()| None),
        }
    }

    fn check_tail(&self, file: &MappedFile) -> Result<u64, Place> {
        let (bytes, expected) = self.meta.tail.map_or((0, 0), |tail| (tail.bytes, tail.crc32c));
        let end = file.bytes().len();
        let start = (end as u64).checked_sub(bytes).ok_or_else(|| (0, "it is shorter than its tail".to_owned()))?;
        let tail = file.get(start as usize..end).map_err(|error| unreadable(&error, start))?;
        let actual = crc32c::crc32c(tail);
        if actual != expected {
            let what = "the CRC-32C of the page index and footer";
            return Err((start, format!("{what} is {actual:08x}, the manifest says {expected:08x}")));
        }
        Ok(start)
    }

    /// Parses the footer, which has been checked. `pages_end` is where the tail begins.
    fn parse(&self, file: &MappedFile, pages_end: Option<u64>) -> Result<Footer, Place> {
        let unparsable = |error| (self.meta.bytes, format!("the footer does not parse: {error}"));
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = Arc::new(reader.parse_and_finish(file.bytes()).map_err(unparsable)?);
        let entry = |key| entry(metadata.file_metadata().key_value_metadata(), key);
        let version = entry(VERSION_KEY);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let options = match version.as_deref().and_then(|version| self.kind.schema_of(version)) {
            Some(schema) => options.with_schema(schema),
            None => options,
        };
        let sums = match pages_end {
            None => None,
            Some(end) => {
                let sums = PageSums::new(&entry(PAGES_KEY).unwrap_or_default(), &metadata, end);
                Some(Arc::new(sums.ok_or_else(|| (end, "the checksums of pages do not fit the pages".to_owned()))?))
            }
        };
        let parquet = ArrowReaderMetadata::try_new(metadata, options).map_err(unparsable)?;
        Ok(Footer { version, parquet, sums })
    }

    /// The damage of this file, from now on known.
    fn damaged(&self, (offset, detail): Place) -> SegmentError {
        self.health.note(offset, detail.clone());
        SegmentError::Damaged { path: self.path().to_owned(), offset, detail }
    }

    /// Whether a use of it, or its opening, has met damage.
    pub(crate) fn is_damaged(&self) -> bool {
        self.health.is_damaged()
    }

    /// Whether it could not be opened when it was last tried, and may be whole all the same.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.health.is_unreadable()
    }

    pub(crate) fn path(&self) -> &Path {
        self.health.path()
    }

    /// The error of a file that is not to be had.
    pub(crate) fn require(&self) -> Result<(), SegmentError> {
        self.mapping.get().map(drop)
    }

    /// Tries again to open what could not be opened.
    pub(crate) fn try_again(&self) {
        if self.is_unreadable() {
            drop(self.mapping.get());
        }
    }

    /// Lets go of the pages read so far.
    pub(crate) fn release(&self) {
        self.mapping.release();
    }

    /// The parsed footer and page index, after a check of them, and of all else that is not checked when it is read (I11).
    pub(crate) fn footer(&self) -> Result<Footer, SegmentError> {
        let file = self.mapping.get()?;
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let load = || self.check_before_use(file).and_then(|pages_end| self.parse(file, pages_end));
        let footer = guarded(self.path(), || load().map_err(|place| self.damaged(place)))?;
        if footer.version.as_deref().and_then(|version| self.kind.schema_of(version)).is_none() {
            let path = self.path().to_owned();
            return Err(SegmentError::UnknownVersion { path, actual: footer.version, newest: FORMAT_VERSION });
        }
        self.footer.put(footer.clone());
        Ok(footer)
    }

    /// The file, and the pages of it that `footer` describes, each to be checked when it is read.
    pub(crate) fn pages(&self, footer: &Footer) -> Result<(&MappedFile, CheckedPages), SegmentError> {
        let file = self.mapping.get()?;
        let (sums, health) = (footer.sums.clone(), self.health.clone());
        Ok((file, CheckedPages { file: file.clone(), sums, health, met: Arc::default() }))
    }

    /// Of all rows those of which no page of the columns from `first_column` on is damaged: by row group, and as rising ranges of rows
    /// of the file.
    pub(crate) fn undamaged_rows(
        &self,
        first_column: usize,
    ) -> Result<(Vec<GroupRows>, Vec<Range<u64>>), SegmentError> {
        let footer = self.footer()?;
        let (file, sums) = (self.mapping.get()?, footer.sums.as_ref());
        let is_damaged = |page: &PagePlace| {
            page.column >= first_column && sums.is_some_and(|sums| sums.check(file, page.start).is_err())
        };
        let pages = pages(footer.metadata()).unwrap_or_default();
        let damaged: Vec<Range<u64>> = pages.into_iter().filter(is_damaged).map(|page| page.rows).collect();
        let mut first = 0;
        let (mut groups, mut kept) = (Vec::new(), Vec::new());
        for (row_group, group) in footer.metadata().row_groups().iter().enumerate() {
            let group_rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let ranges = without(0..group_rows, first, &damaged);
            kept.extend(ranges.iter().map(|rows| first + rows.start as u64..first + rows.end as u64));
            if !ranges.is_empty() {
                groups.push(GroupRows { row_group, ranges, group_rows });
            }
            first += group_rows as u64;
        }
        Ok((groups, kept))
    }

    #[cfg(test)]
    pub(crate) fn has_footer(&self) -> bool {
        self.footer.is_kept()
    }

    /// Rows that are left after pruning by statistics: an upper bound of what a scan yields.
    pub(crate) fn rows_max(&self, filter: &RowFilter) -> Result<u64, SegmentError> {
        Ok(matching_rows(self.footer()?.metadata(), filter).iter().map(|group| group.rows() as u64).sum())
    }

    /// Positions of all columns of the present version.
    pub(crate) fn all_columns(&self) -> Vec<usize> {
        (0..self.kind.schema().fields().len()).collect()
    }

    /// Whether it lacks columns that a later version has.
    pub(crate) fn is_of_first_version(&self) -> Result<bool, SegmentError> {
        Ok(self.footer()?.version.as_deref() == Some(FORMAT_VERSION_1))
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
        guarded(self.path(), || {
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

/// The value of one key of the footer.
fn entry(entries: Option<&Vec<KeyValue>>, key: &str) -> Option<String> {
    entries.into_iter().flatten().find(|entry| entry.key == key)?.value.clone()
}

/// What is left of `rows`, counted from row `first` of the file, without the rows `removed` of the file.
fn without(rows: Range<usize>, first: u64, removed: &[Range<u64>]) -> Vec<Range<usize>> {
    let mut left = vec![rows];
    for gone in removed {
        let within = |row: u64| usize::try_from(row.saturating_sub(first)).unwrap_or(usize::MAX);
        let (from, to) = (within(gone.start), within(gone.end));
        left = left
            .into_iter()
            .flat_map(|rows| [rows.start..rows.end.min(from), rows.start.max(to)..rows.end])
            .filter(|rows| rows.start < rows.end)
            .collect();
    }
    left
}
