//! A column of times. All metrics that a run logs at a step share one, so that a row group sorted by metric holds the same times
//! again and again, as many rows apart as a metric has. Where that is so, pages are plain and long enough to hold many of these
//! repetitions, and zstd is told to look that far back; elsewhere times are stored by their differences, as other integers are.

use std::{collections::HashMap, iter::successors};

use parquet::{basic::Encoding, errors::ParquetError};

use crate::{
    chunk::EncodedColumn,
    compress::Compressor,
    delta,
    integer_column::{self, Layout},
};

/// A reader decodes a page as a whole; so long are the longest ones.
const PAGE_ROWS_MAX: usize = 1 << 20;
/// Bytes that a time takes in a plain page where it is new to that page, as jittered clocks have shown.
const NEW_TIME_BYTES: f64 = 3.5;
/// Bytes per row that pages of twice the length must save.
const WORTH_BYTES: f64 = 0.1;
/// Plain pages must be expected to take no more than this share of what differences take: they are decoded for one series as for
/// all, and prune less.
const WORTH_SHARE: f64 = 0.75;
/// Pages of which one tells what differences take.
const PAGES_PER_PROBE: usize = 16;

/// Encodes a row group in the way that suits its times.
pub(crate) fn encode(layout: &Layout, times: &[i64]) -> Result<EncodedColumn, ParquetError> {
    let delta_bytes = delta_bytes(layout, times)? * times.len() as f64;
    let shape = plain_shape(times, layout.page_rows).filter(|shape| shape.bytes <= WORTH_SHARE * delta_bytes);
    if let Some(PlainShape { page_rows, .. }) = shape {
        let layout = Layout { page_rows, descr: layout.descr.clone(), ..*layout };
        let compressor = Compressor::far(layout.zstd_level, page_rows.min(times.len()) * size_of::<i64>())?;
        let encoded = integer_column::encode_as(&layout, Encoding::PLAIN, compressor, times, plain)?;
        if encoded.bytes.len() as f64 <= delta_bytes {
            return Ok(encoded);
        }
    }
    integer_column::encode(layout, times)
}

fn plain(times: &[i64]) -> Vec<u8> {
    times.iter().flat_map(|time| time.to_le_bytes()).collect()
}

/// Bytes per row that times take by their differences, from some of the pages.
fn delta_bytes(layout: &Layout, times: &[i64]) -> Result<f64, ParquetError> {
    let mut compressor = Compressor::new(layout.zstd_level)?;
    let (mut bytes, mut rows) = (0, 0);
    for page in times.chunks(layout.page_rows.max(1)).step_by(PAGES_PER_PROBE) {
        bytes += compressor.compress(&delta::encode(page))?.bytes.len();
        rows += page.len();
    }
    Ok(bytes as f64 / rows.max(1) as f64)
}

/// A way to store times plainly.
struct PlainShape {
    page_rows: usize,
    /// What the row group is expected to take.
    bytes: f64,
}

/// The shortest pages that are nearly as good as the best; `None` where too little is known of the times.
fn plain_shape(times: &[i64], page_rows: usize) -> Option<PlainShape> {
    let longest = times.len().min(PAGE_ROWS_MAX);
    let lengths: Vec<usize> =
        successors(Some(page_rows.max(1)), |rows| (*rows < longest).then_some(rows * 2)).collect();
    let new_shares = new_shares(times, &lengths)?;
    let best = new_shares.iter().copied().fold(1.0, f64::min);
    let nearly = best + WORTH_BYTES / NEW_TIME_BYTES;
    let (page_rows, share) = lengths.into_iter().zip(new_shares).find(|(_, share)| *share <= nearly)?;
    Some(PlainShape { page_rows, bytes: share * NEW_TIME_BYTES * times.len() as f64 })
}

/// For pages of each of `lengths` rows, the share of rows whose time is not in an earlier row of the page; `None` if the times give
/// no sample to tell it from.
fn new_shares(times: &[i64], lengths: &[usize]) -> Option<Vec<f64>> {
    let mut last_row: HashMap<i64, usize> = HashMap::new();
    let mut new = vec![0usize; lengths.len()];
    let mut sampled = 0usize;
    for (row, time) in times.iter().enumerate().filter(|(_, time)| is_sampled(**time)) {
        let before = last_row.insert(*time, row);
        for (new, length) in new.iter_mut().zip(lengths) {
            *new += usize::from(before.is_none_or(|before| before / length != row / length));
        }
        sampled += 1;
    }
    (sampled > 0).then(|| new.iter().map(|new| *new as f64 / sampled as f64).collect())
}

/// One time in sixteen, and that one wherever it stands.
fn is_sampled(time: i64) -> bool {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    (time as u64).wrapping_mul(GOLDEN) >> 60 == 0
}
