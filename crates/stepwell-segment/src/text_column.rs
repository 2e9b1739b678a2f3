//! A column of names, encoded from runs of equal names rather than from rows: a page costs its runs, not its rows.
//!
//! Parquet's dictionary encoding (Apache Parquet format, "Encodings": `PLAIN` dictionary page, `RLE_DICTIONARY` data pages in
//! the run-length and bit-packing hybrid).

use std::{collections::HashMap, sync::Arc};

use parquet::{
    basic::Encoding,
    data_type::ByteArray,
    errors::ParquetError,
    file::statistics::{Statistics, ValueStatistics},
    schema::types::ColumnDescPtr,
};

use crate::{
    chunk::{ChunkWriter, EncodedColumn},
    compress::Compressor,
    leb128,
};

/// Consecutive rows that have one name.
pub(crate) struct NameRun<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) rows: usize,
}

/// Encodes the runs of a row group into pages of at most `page_rows` rows.
pub(crate) fn encode(
    descr: ColumnDescPtr,
    runs: &[NameRun<'_>],
    page_rows: usize,
    zstd_level: i32,
) -> Result<EncodedColumn, ParquetError> {
    let dictionary = Dictionary::of(runs);
    let mut compressor = Compressor::new(zstd_level)?;
    let mut chunk = ChunkWriter::new(descr, Encoding::RLE_DICTIONARY, zstd_level)?;
    chunk.dictionary(dictionary.len, compressor.compress(&dictionary.plain)?)?;
    let mut bounds: Option<(&str, &str)> = None;
    let mut encoder = RunEncoder::new(dictionary.bit_width());
    let mut left = Runs { runs, numbers: &dictionary.numbers, taken: 0 };
    while let Some(page) = left.next_page(page_rows, &mut encoder) {
        let frame = compressor.compress(&encoder.finish())?;
        chunk.page(page.rows, frame, Some((page.min.into(), page.max.into())))?;
        bounds = Some(bounds.map_or((page.min, page.max), |(low, high)| (low.min(page.min), high.max(page.max))));
    }
    let of_all = bounds.map(|(low, high)| {
        let (low, high) = (ByteArray::from(low), ByteArray::from(high));
        Statistics::ByteArray(ValueStatistics::new(Some(low), Some(high), None, Some(0), false))
    });
    chunk.close(of_all)
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
        leb128::put((rows as u64) << 1, &mut self.out);
        let value_bytes = self.bit_width.div_ceil(8) as usize;
        self.out.extend_from_slice(&value.to_le_bytes()[..value_bytes]);
    }

    fn put_literals(&mut self) {
        if self.literals.is_empty() {
            return;
        }
        let groups = self.literals.len().div_ceil(GROUP);
        leb128::put(((groups as u64) << 1) | 1, &mut self.out);
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
