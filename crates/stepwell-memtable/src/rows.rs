//! The rows of all series of one shard, each series in blocks of its own that double in size.

/// Rows of the first block of a series: one cache line, so that a series with a single point costs no more.
const FIRST_BLOCK_ROWS: u32 = 2;
/// Largest block: what a series that ends wastes at most, and a read visits at a time.
const BLOCK_ROWS_MAX: u32 = 1_024;
/// Rows of a slab, the unit of allocation. A block lies within one slab.
pub(crate) const SLAB_ROWS: usize = 1 << 15;
const NO_BLOCK: u32 = u32::MAX;

/// One point. 32 bytes, so that an insert touches one cache line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) step: i64,
    pub(crate) timestamp_us: i64,
    pub(crate) value: f64,
    pub(crate) lsn: u64,
}

/// Consecutive rows of one series. All blocks but the last of a series are full.
#[derive(Clone, Copy)]
struct Block {
    /// Number of its first row, counted over all slabs.
    start: u32,
    rows_max: u32,
    next: u32,
}

/// Where a series is. Rows are in LSN order.
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    first_block: u32,
    last_block: u32,
    /// Where the next point goes, if there is room.
    next_row: u32,
    /// Rows left in the last block.
    room: u32,
    rows: u32,
    /// Largest step so far.
    pub(crate) max_step: i64,
}

impl Chain {
    pub(crate) const EMPTY: Self =
        Self { first_block: NO_BLOCK, last_block: NO_BLOCK, next_row: 0, room: 0, rows: 0, max_step: i64::MIN };
}

/// Slabs of rows and the blocks they are cut into. Rows are only ever appended.
#[derive(Default)]
pub(crate) struct RowStore {
    slabs: Vec<Box<[Row]>>,
    blocks: Vec<Block>,
    /// Rows of the last slab that blocks have taken.
    taken: usize,
    rows: usize,
}

impl RowStore {
    /// Appends a row to a series.
    pub(crate) fn push(&mut self, chain: &mut Chain, row: Row) {
        if chain.room == 0 {
            self.grow(chain);
        }
        let at = chain.next_row as usize;
        self.slabs[at / SLAB_ROWS][at % SLAB_ROWS] = row;
        chain.next_row += 1;
        chain.room -= 1;
        chain.rows += 1;
        chain.max_step = chain.max_step.max(row.step);
        self.rows += 1;
    }

    fn grow(&mut self, chain: &mut Chain) {
        let last = self.blocks.get(chain.last_block as usize);
        let rows_max = last.map_or(FIRST_BLOCK_ROWS, |last| (last.rows_max * 2).min(BLOCK_ROWS_MAX));
        if self.slabs.is_empty() || self.taken + rows_max as usize > SLAB_ROWS {
            self.slabs.push(vec![Row::default(); SLAB_ROWS].into_boxed_slice());
            self.taken = 0;
        }
        let start = ((self.slabs.len() - 1) * SLAB_ROWS + self.taken) as u32;
        self.taken += rows_max as usize;
        let number = self.blocks.len() as u32;
        self.blocks.push(Block { start, rows_max, next: NO_BLOCK });
        match self.blocks.get_mut(chain.last_block as usize) {
            Some(last) => last.next = number,
            None => chain.first_block = number,
        }
        (chain.last_block, chain.next_row, chain.room) = (number, start, rows_max);
    }

    /// The rows of a series, block by block.
    pub(crate) fn blocks(&self, chain: &Chain) -> impl Iterator<Item = &[Row]> {
        let (mut next, mut left) = (chain.first_block, chain.rows as usize);
        std::iter::from_fn(move || {
            let block = self.blocks.get(next as usize)?;
            let rows = left.min(block.rows_max as usize);
            (next, left) = (block.next, left - rows);
            let at = block.start as usize % SLAB_ROWS;
            Some(&self.slabs[block.start as usize / SLAB_ROWS][at..at + rows])
        })
    }

    /// LSN of the first row of a series.
    pub(crate) fn first_lsn(&self, chain: &Chain) -> Option<u64> {
        self.blocks(chain).next()?.first().map(|row| row.lsn)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slabs.len() * SLAB_ROWS * size_of::<Row>() + self.blocks.len() * size_of::<Block>()
    }
}
