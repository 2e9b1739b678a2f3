//! A column chunk: pages that are encoded already, and what the footer says of them.

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, PageType, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriteSpec, PageWriter},
        writer::ColumnCloseResult,
    },
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats},
        statistics::Statistics,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use crate::compress::Frame;

/// One encoded column chunk: its bytes, and what the footer says of them.
pub(crate) struct EncodedColumn {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
    /// CRC-32C of each page with its header, the dictionary's first.
    pub(crate) page_crcs: Vec<u32>,
}

/// A column chunk being written. No column has nulls.
pub(crate) struct ChunkWriter {
    descr: ColumnDescPtr,
    zstd_level: ZstdLevel,
    /// Of the data pages.
    encoding: Encoding,
    sink: TrackedWrite<Vec<u8>>,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    rows: usize,
    pages: i32,
    has_dictionary: bool,
    first_page_offset: Option<u64>,
    /// Where each page begins, that of the dictionary too.
    page_starts: Vec<usize>,
}

impl ChunkWriter {
    pub(crate) fn new(descr: ColumnDescPtr, encoding: Encoding, zstd_level: i32) -> Result<Self, ParquetError> {
        Ok(Self {
            column_index: ColumnIndexBuilder::new(descr.physical_type()),
            descr,
            zstd_level: ZstdLevel::try_new(zstd_level)?,
            encoding,
            sink: TrackedWrite::new(Vec::new()),
            offset_index: OffsetIndexBuilder::new(),
            compressed_bytes: 0,
            uncompressed_bytes: 0,
            rows: 0,
            pages: 0,
            has_dictionary: false,
            first_page_offset: None,
            page_starts: Vec::new(),
        })
    }

    /// The dictionary's page, before all others.
    pub(crate) fn dictionary(&mut self, values: u32, frame: Frame) -> Result<(), ParquetError> {
        let raw_len = frame.raw_len;
        let buf = Bytes::from(frame.bytes);
        let page = Page::DictionaryPage { buf, num_values: values, encoding: Encoding::PLAIN, is_sorted: false };
        self.has_dictionary = true;
        self.write(page, raw_len).map(drop)
    }

    /// The next data page. `bounds` are its smallest and largest value, plainly encoded; pages have them all or none has.
    pub(crate) fn page(
        &mut self,
        rows: usize,
        frame: Frame,
        bounds: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), ParquetError> {
        let raw_len = frame.raw_len;
        let page = Page::DataPage {
            buf: Bytes::from(frame.bytes),
            num_values: rows as u32,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = self.write(page, raw_len)?;
        match bounds {
            Some((min, max)) => self.column_index.append(false, min, max, 0),
            None => self.column_index.to_invalid(),
        }
        self.offset_index.append_row_count(rows as i64);
        self.offset_index.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        self.first_page_offset.get_or_insert(spec.offset);
        self.pages += 1;
        self.rows += rows;
        Ok(())
    }

    fn write(&mut self, page: Page, raw_len: usize) -> Result<PageWriteSpec, ParquetError> {
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, raw_len))?;
        self.page_starts.push(spec.offset as usize);
        self.compressed_bytes += spec.compressed_size as u64;
        self.uncompressed_bytes += spec.uncompressed_size as u64;
        Ok(spec)
    }

    /// Ends the chunk; `statistics` are of all its values, if its pages have bounds.
    pub(crate) fn close(self, statistics: Option<Statistics>) -> Result<EncodedColumn, ParquetError> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let ends = self.page_starts.iter().skip(1).copied().chain([bytes.len()]);
        let page_crcs =
            self.page_starts.iter().zip(ends).map(|(start, end)| crc32c::crc32c(&bytes[*start..end])).collect();
        let mut encodings = vec![self.encoding, Encoding::RLE];
        let of_pages = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut of_kinds = vec![of_pages(PageType::DATA_PAGE, self.encoding, self.pages)];
        if self.has_dictionary {
            encodings.push(Encoding::PLAIN);
            of_kinds.insert(0, of_pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let mut metadata = ColumnChunkMetaData::builder(self.descr)
            .set_compression(Compression::ZSTD(self.zstd_level))
            .set_encodings(encodings)
            .set_page_encoding_stats(of_kinds)
            .set_total_compressed_size(self.compressed_bytes as i64)
            .set_total_uncompressed_size(self.uncompressed_bytes as i64)
            .set_num_values(self.rows as i64)
            .set_dictionary_page_offset(self.has_dictionary.then_some(0))
            .set_data_page_offset(self.first_page_offset.unwrap_or(0) as i64);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let column_index = self.column_index.valid().then(|| self.column_index.build()).transpose()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        Ok(EncodedColumn { bytes, close, page_crcs })
    }
}
