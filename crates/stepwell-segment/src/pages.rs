//! The pages of a file, decompressed by one context of zstd for all columns of a scan.
//!
//! The library's reader makes two contexts for each column of each row group, one of them to compress. That was a quarter of what
//! a chart of one series took. So the library is told that pages are not compressed, and they are decompressed here.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::RowGroups,
    basic::Compression,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        serialized_reader::SerializedPageReader,
    },
};
use stepwell_env::MappedFile;

use crate::{checksums::CheckedPages, compress::Decompressor};

/// Column chunks from this size on are let go of when a scan has passed them, bytes: all of a large table would be resident after
/// its first scan. The operating system still has what it has room for.
const RELEASED_BYTES_MIN: usize = 1 << 20;

/// The row groups of a file that a scan reads.
pub(crate) struct Pages {
    file: MappedFile,
    pages: Arc<CheckedPages>,
    metadata: Arc<ParquetMetaData>,
    row_groups: Vec<usize>,
    decompressor: Arc<Mutex<Decompressor>>,
}

impl Pages {
    /// `pages` are those of `file`.
    pub(crate) fn new(
        file: &MappedFile,
        pages: CheckedPages,
        metadata: &Arc<ParquetMetaData>,
        row_groups: Vec<usize>,
    ) -> Result<Self> {
        let decompressor = Arc::new(Mutex::new(Decompressor::new()?));
        Ok(Self { file: file.clone(), pages: Arc::new(pages), metadata: metadata.clone(), row_groups, decompressor })
    }
}

impl RowGroups for Pages {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(ColumnChunks {
            column,
            read: 0..0,
            file: self.file.clone(),
            pages: self.pages.clone(),
            metadata: self.metadata.clone(),
            row_groups: self.row_groups.clone().into_iter(),
            decompressor: self.decompressor.clone(),
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.row_groups.iter().map(|group| self.metadata.row_group(*group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// One column, row group by row group.
struct ColumnChunks {
    column: usize,
    /// Where the chunk handed out last is.
    read: Range<usize>,
    file: MappedFile,
    pages: Arc<CheckedPages>,
    metadata: Arc<ParquetMetaData>,
    row_groups: std::vec::IntoIter<usize>,
    decompressor: Arc<Mutex<Decompressor>>,
}

impl ColumnChunks {
    /// Lets go of what was read.
    fn release(&mut self) {
        let read = std::mem::take(&mut self.read);
        if read.len() >= RELEASED_BYTES_MIN {
            self.file.release_range(read);
        }
    }

    fn open(&self, row_group: usize) -> Result<Box<dyn PageReader>> {
        let group = self.metadata.row_group(row_group);
        let rows = usize::try_from(group.num_rows())?;
        let locations = self.metadata.offset_index().and_then(|index| index.get(row_group)?.get(self.column));
        let locations = locations.map(|index| index.page_locations().clone());
        let chunk = group.column(self.column);
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(SerializedPageReader::new(self.pages.clone(), chunk, rows, locations)?));
        }
        let chunk = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let compressed = SerializedPageReader::new(self.pages.clone(), &chunk, rows, locations)?;
        Ok(Box::new(Decompressed { compressed, decompressor: self.decompressor.clone() }))
    }
}

impl Drop for ColumnChunks {
    fn drop(&mut self) {
        self.release();
    }
}

impl Iterator for ColumnChunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.release();
        let row_group = self.row_groups.next()?;
        let (start, bytes) = self.metadata.row_group(row_group).column(self.column).byte_range();
        self.read = start as usize..(start + bytes) as usize;
        Some(self.open(row_group))
    }
}

impl PageIterator for ColumnChunks {}

/// The pages of a chunk that come out of those which are stored.
struct Decompressed {
    compressed: SerializedPageReader<CheckedPages>,
    decompressor: Arc<Mutex<Decompressor>>,
}

impl Decompressed {
    fn decompress(&self, page: Page) -> Result<Page> {
        // A context that a panic left behind is reset by the next frame.
        let raw = |frame: &Bytes| self.decompressor.lock().unwrap_or_else(PoisonError::into_inner).decompress(frame);
        match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
                let buf = raw(&buf)?;
                Ok(Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics })
            }
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                Ok(Page::DictionaryPage { buf: raw(&buf)?, num_values, encoding, is_sorted })
            }
            Page::DataPageV2 { .. } => Err(ParquetError::NYI("no segment has data pages of version 2".to_owned())),
        }
    }
}

impl Iterator for Decompressed {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Decompressed {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.compressed.get_next_page()?;
        page.map(|page| self.decompress(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.compressed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.compressed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.compressed.at_record_boundary()
    }
}
