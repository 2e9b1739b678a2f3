//! Fixed-size runs of rows.

/// Rows of a chunk.
pub(crate) const CHUNK_ROWS: usize = 16_384;
/// In `Chunk::previous`: the first row of its series.
pub(crate) const NO_ROW: u32 = u32::MAX;
/// Bytes of one row over all columns.
pub(crate) const ROW_BYTES: usize = 3 * size_of::<u32>() + 2 * size_of::<i64>() + size_of::<f64>();

/// Columns of up to [`CHUNK_ROWS`] rows, in LSN order.
#[derive(Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) series: Vec<u32>,
    /// Number, counted over all chunks, of the row before this one in the same series.
    pub(crate) previous: Vec<u32>,
    /// LSN less the memtable's first.
    pub(crate) lsn_offset: Vec<u32>,
    pub(crate) step: Vec<i64>,
    pub(crate) timestamp_us: Vec<i64>,
    pub(crate) value: Vec<f64>,
}

impl Chunk {
    /// Room for a whole chunk, so that filling it never moves it.
    pub(crate) fn with_room() -> Self {
        Self {
            series: Vec::with_capacity(CHUNK_ROWS),
            previous: Vec::with_capacity(CHUNK_ROWS),
            lsn_offset: Vec::with_capacity(CHUNK_ROWS),
            step: Vec::with_capacity(CHUNK_ROWS),
            timestamp_us: Vec::with_capacity(CHUNK_ROWS),
            value: Vec::with_capacity(CHUNK_ROWS),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }
}
