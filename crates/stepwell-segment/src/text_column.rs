//! A column of names, encoded from runs of equal names rather than from rows: a page costs its runs, not its rows.
//!
//! Parquet's dictionary encoding (Apache Parquet format, "Encodings": `PLAIN` dictionary page, `RLE_DICTIONARY` data pages in
//! the run-length and bit-packing hybrid).

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, PageType, Type, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats},
        statistics::{Statistics, ValueStatistics},
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

/// Consecutive rows that have one name.
pub(crate) struct NameRun<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) rows: usize,
}

/// One encoded column chunk: its bytes, and what the footer says of them.
pub(crate) struct EncodedColumn {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Encodes the runs of a row group into pages of at most `page_rows` rows.
pub(crate) fn encode(
    descr: ColumnDescPtr,
    runs: &[NameRun<'_>],
    page_rows: usize,
    zstd_level: i32,
) -> Result<EncodedColumn, ParquetError> {
    let dictionary = Dictionary::of(runs);
    let mut compressor = zstd::bulk::Compressor::new(zstd_level).map_err(external)?;
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut sink);
    let mut sizes = (0u64, 0u64);
    let mut write = |page: Page, raw: &[u8], compressor: &mut zstd::bulk::Compressor<'_>| {
        let packed = Bytes::from(compressor.compress(raw).map_err(external)?);
        let spec = pages.write_page(CompressedPage::new(with_bytes(page, packed), raw.len()))?;
        sizes.0 += spec.compressed_size as u64;
        sizes.1 += spec.uncompressed_size as u64;
        Ok::<_, ParquetError>(spec)
    };
    write(dictionary.page(), &dictionary.plain, &mut compressor)?;
    let mut column_index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
    let mut offset_index = OffsetIndexBuilder::new();
    let mut bounds: Option<(&str, &str)> = None;
    let (mut rows, mut page_count, mut data_offset) = (0usize, 0, None);
    let mut encoder = RunEncoder::new(dictionary.bit_width());
    let mut left = Runs { runs, numbers: &dictionary.numbers, taken: 0 };
    while let Some(page) = left.next_page(page_rows, &mut encoder) {
        let raw = encoder.finish();
        let spec = write(data_page(page.rows), &raw, &mut compressor)?;
        column_index.append(false, page.min.into(), page.max.into(), 0);
        offset_index.append_row_count(page.rows as i64);
        offset_index.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        data_offset.get_or_insert(spec.offset);
        page_count += 1;
        rows += page.rows;
        bounds = Some(bounds.map_or((page.min, page.max), |(low, high)| (low.min(page.min), high.max(page.max))));
    }
    pages.close()?;
    let bytes = Bytes::from(sink.into_inner()?);
    let bound = |name: &str| ByteArray::from(name);
    let statistics = ValueStatistics::new(
        bounds.map(|(low, _)| bound(low)),
        bounds.map(|(_, high)| bound(high)),
        None,
        Some(0),
        false,
    );
    let of_pages = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
    let metadata = ColumnChunkMetaData::builder(descr)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
        .set_page_encoding_stats(vec![
            of_pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
            of_pages(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, page_count),
        ])
        .set_total_compressed_size(sizes.0 as i64)
        .set_total_uncompressed_size(sizes.1 as i64)
        .set_num_values(rows as i64)
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(data_offset.unwrap_or(0) as i64)
        .set_statistics(Statistics::ByteArray(statistics))
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: Some(column_index.build()?),
        offset_index: Some(offset_index.build()),
    };
    Ok(EncodedColumn { bytes, close })
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Each distinct name once, and the number of each run's name.
struct Dictionary {
    plain: Vec<u8>,
    len: u32,
    numbers: Vec<u32>,
}

impl Dictionary {
    fn of(runs: &[NameRun<'_>]) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut dictionary = Self { plain: Vec::new(), len: 0, numbers: Vec::with_capacity(runs.len()) };
        let mut last: Option<(&Arc<str>, u32)> = None;
        for run in runs {
            let number = match last {
                Some((name, number)) if Arc::ptr_eq(name, run.name) => number,
                _ => *known.entry(&**run.name).or_insert_with(|| {
                    dictionary.plain.extend_from_slice(&(run.name.len() as u32).to_le_bytes());
                    dictionary.plain.extend_from_slice(run.name.as_bytes());
                    dictionary.len += 1;
                    dictionary.len - 1
                }),
            };
            last = Some((run.name, number));
            dictionary.numbers.push(number);
        }
        dictionary
    }

    /// At least one: some readers take a width of none for a missing page.
    fn bit_width(&self) -> u32 {
        (u32::BITS - self.len.saturating_sub(1).leading_zeros()).max(1)
    }

    fn page(&self) -> Page {
        Page::DictionaryPage { buf: Bytes::new(), num_values: self.len, encoding: Encoding::PLAIN, is_sorted: false }
    }
}

fn data_page(rows: usize) -> Page {
    Page::DataPage {
        buf: Bytes::new(),
        num_values: rows as u32,
        encoding: Encoding::RLE_DICTIONARY,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    }
}

fn with_bytes(mut page: Page, bytes: Bytes) -> Page {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = bytes,
    }
    page
}

/// Runs not yet written; of the first, `taken` rows are.
struct Runs<'a> {
    runs: &'a [NameRun<'a>],
    numbers: &'a [u32],
    taken: usize,
}

struct PageOfRuns<'a> {
    rows: usize,
    min: &'a str,
    max: &'a str,
}

impl<'a> Runs<'a> {
    /// Puts the next rows into `encoder`; `None` when none is left.
    fn next_page(&mut self, page_rows: usize, encoder: &mut RunEncoder) -> Option<PageOfRuns<'a>> {
        let first: &str = self.runs.first()?.name;
        let mut page = PageOfRuns { rows: 0, min: first, max: first };
        while page.rows < page_rows
            && let (Some(run), Some(number)) = (self.runs.first(), self.numbers.first())
        {
            let rows = (run.rows - self.taken).min(page_rows - page.rows);
            encoder.put(*number, rows);
            page.rows += rows;
            page.min = page.min.min(run.name);
            page.max = page.max.max(run.name);
            self.taken += rows;
            if self.taken == run.rows {
                (self.runs, self.numbers, self.taken) = (&self.runs[1..], &self.numbers[1..], 0);
            }
        }
        Some(page)
    }
}

/// Values of a bit-packed group.
const GROUP: usize = 8;

/// The run-length and bit-packing hybrid.
struct RunEncoder {
    bit_width: u32,
    out: Vec<u8>,
    /// Values too few in a row for a run.
    literals: Vec<u32>,
}

impl RunEncoder {
    fn new(bit_width: u32) -> Self {
        Self { bit_width, out: vec![bit_width as u8], literals: Vec::new() }
    }

    fn put(&mut self, value: u32, mut rows: usize) {
        // A group is full before a run can begin.
        let fill = self.literals.len().next_multiple_of(GROUP) - self.literals.len();
        let fill = fill.min(rows);
        self.literals.extend(std::iter::repeat_n(value, fill));
        rows -= fill;
        if rows < GROUP {
            self.literals.extend(std::iter::repeat_n(value, rows));
            return;
        }
        self.put_literals();
        self.put_length((rows as u64) << 1);
        let value_bytes = self.bit_width.div_ceil(8) as usize;
        self.out.extend_from_slice(&value.to_le_bytes()[..value_bytes]);
    }

    fn put_literals(&mut self) {
        if self.literals.is_empty() {
            return;
        }
        let groups = self.literals.len().div_ceil(GROUP);
        self.put_length(((groups as u64) << 1) | 1);
        self.literals.resize(groups * GROUP, 0);
        let (mut bits, mut count) = (0u64, 0);
        for value in self.literals.drain(..) {
            bits |= u64::from(value) << count;
            count += self.bit_width;
            while count >= 8 {
                self.out.push(bits as u8);
                bits >>= 8;
                count -= 8;
            }
        }
    }

    /// An unsigned LEB128 number.
    fn put_length(&mut self, mut length: u64) {
        while length >= 0x80 {
            self.out.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.out.push(length as u8);
    }

    /// The page's bytes; the next page starts anew.
    fn finish(&mut self) -> Vec<u8> {
        self.put_literals();
        std::mem::replace(&mut self.out, vec![self.bit_width as u8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_literals_are_as_the_parquet_format_says() {
        // The format's own example: 0 to 7 in three bits are 0x88 0xC6 0xFA.
        let mut encoder = RunEncoder::new(3);
        (0..8).for_each(|value| encoder.put(value, 1));
        assert_eq!(encoder.finish(), [3, 0b11, 0x88, 0xC6, 0xFA]);
        // Two literals fill a group with six of the run of 106; the other hundred are a run.
        encoder.put(1, 2);
        encoder.put(5, 106);
        assert_eq!(encoder.finish(), [3, 0b11, 0b0100_1001, 0b1101_1011, 0b1011_0110, 200, 1, 5]);
    }
}
