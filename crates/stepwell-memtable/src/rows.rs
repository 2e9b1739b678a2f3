//! The rows of all series of one shard, each series in blocks of its own that double in size.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows of the first block of a series: one cache line, so that a series with a single point costs no more.
const FIRST_BLOCK_ROWS: u32 = 2;
/// Largest block: what a series that ends wastes at most, and a read visits at a time.
const BLOCK_ROWS_MAX: u32 = 1_024;
/// Rows of a slab, the unit of allocation. A block lies within one slab.
pub(crate) const SLAB_ROWS: usize = 1 << 15;
/// The same in bytes.
pub(crate) const SLAB_BYTES: usize = SLAB_ROWS * size_of::<Row>();
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
    /// Whether steps never fell.
    pub(crate) is_in_order: bool,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self {
        first_block: NO_BLOCK,
        last_block: NO_BLOCK,
        next_row: 0,
        room: 0,
        rows: 0,
        max_step: i64::MIN,
        is_in_order: true,
    };
}

/// Memory for [`SLAB_ROWS`] rows, as long as blocks have taken of it.
pub(crate) type Slab = Vec<Row>;

/// Slabs that memtables no longer need, for those that come: memory fresh from the operating system has to be cleared, which at
/// full speed takes longer than writing the points into it. Clones share it.
#[derive(Clone, Default)]
pub struct SlabPool {
    free: Arc<Mutex<Vec<Slab>>>,
    slabs_max: usize,
}

impl SlabPool {
    /// Keeps at most `bytes` of memory that is not in use.
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::default(), slabs_max: bytes / SLAB_BYTES }
    }

    /// Bytes kept and not in use.
    pub fn free_bytes(&self) -> usize {
        self.lock().len() * SLAB_BYTES
    }

    fn take(&self) -> Slab {
        self.lock().pop().unwrap_or_else(|| Vec::with_capacity(SLAB_ROWS))
    }

    fn give_back(&self, slabs: Vec<Slab>) {
        let mut free = self.lock();
        let room = self.slabs_max.saturating_sub(free.len());
        free.extend(slabs.into_iter().take(room).map(|mut slab| {
            slab.clear();
            slab
        }));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slab>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Slabs of rows and the blocks they are cut into. Rows are only ever appended.
#[derive(Default)]
pub(crate) struct RowStore {
    slabs: Vec<Slab>,
    blocks: Vec<Block>,
    rows: usize,
    pool: SlabPool,
}

impl Drop for RowStore {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.slabs));
    }
}

impl RowStore {
    pub(crate) fn new(pool: SlabPool) -> Self {
        Self { slabs: Vec::new(), blocks: Vec::new(), rows: 0, pool }
    }

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
        chain.is_in_order &= row.step >= chain.max_step;
        chain.max_step = chain.max_step.max(row.step);
        self.rows += 1;
    }

    fn grow(&mut self, chain: &mut Chain) {
        let last = self.blocks.get(chain.last_block as usize);
        let rows_max = last.map_or(FIRST_BLOCK_ROWS, |last| (last.rows_max * 2).min(BLOCK_ROWS_MAX));
        if self.slabs.last().is_none_or(|slab| slab.len() + rows_max as usize > SLAB_ROWS) {
            self.slabs.push(self.pool.take());
        }
        let taken = self.slabs.last().map_or(0, Vec::len);
        let start = ((self.slabs.len() - 1) * SLAB_ROWS + taken) as u32;
        if let Some(slab) = self.slabs.last_mut() {
            // Block by block, so that memory is touched when it is needed and is still in the cache when it is.
            slab.resize(taken + rows_max as usize, Row::default());
        }
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
        self.slabs.len() * SLAB_BYTES + self.blocks.len() * size_of::<Block>()
    }
}
