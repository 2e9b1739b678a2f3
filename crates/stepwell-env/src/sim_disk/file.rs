//! The bytes of one file: as programs see them, and as a loss of power leaves them.

use std::ops::Range;

use crate::{Random, SeededRandom};

/// Bytes that a disk writes as one.
const SECTOR_BYTES: usize = 512;

#[derive(Default, Clone)]
pub(super) struct File {
    /// What programs read.
    pub(super) cached: Vec<u8>,
    /// What a loss of power leaves.
    durable: Vec<u8>,
    /// Where `cached` has bytes that the next sync writes. A failed sync empties it: its bytes are never written.
    dirty: Range<usize>,
}

impl File {
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        self.cached.resize(self.cached.len().max(end), 0);
        self.cached[offset..end].copy_from_slice(data);
        let is_clean = self.dirty.is_empty();
        self.dirty = if is_clean { offset..end } else { self.dirty.start.min(offset)..self.dirty.end.max(end) };
    }

    pub(super) fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.durable.len().max(dirty.end), 0);
        self.durable[dirty.clone()].copy_from_slice(&self.cached[dirty]);
    }

    /// A sync that fails: what it did not write is called clean, and never written.
    pub(super) fn forget(&mut self) {
        self.dirty = 0..0;
    }

    /// The same after some of it was written.
    pub(super) fn sync_partly(&mut self, random: &SeededRandom) {
        self.durable = self.survivor(random);
        self.forget();
    }

    /// Cuts it; the new length is durable.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.cut(bytes);
        self.sync();
        self.durable.truncate(bytes);
    }

    /// Cuts what programs see.
    pub(super) fn cut(&mut self, bytes: usize) {
        let after = self.cached.len().min(bytes);
        self.cached.truncate(after);
        self.dirty = self.dirty.start.min(after)..self.dirty.end.min(after);
    }

    /// Inverts a bit of what programs see and of what is durable.
    pub(super) fn flip(&mut self, byte: usize, bit: u8) {
        if let (Some(cached), Some(durable)) = (self.cached.get_mut(byte), self.durable.get_mut(byte)) {
            *cached ^= 1 << (bit % 8);
            *durable = *cached;
        }
    }

    /// As a loss of power leaves it.
    pub(super) fn after_power_loss(&self, random: &SeededRandom) -> Self {
        let left = self.survivor(random);
        Self { cached: left.clone(), durable: left, dirty: 0..0 }
    }

    /// The durable bytes, and of those written since some whole sectors, up to some end.
    fn survivor(&self, random: &SeededRandom) -> Vec<u8> {
        let mut left = self.durable.clone();
        let dirty = self.dirty.clone();
        if dirty.is_empty() {
            return left;
        }
        let end = match random.next_u64() % 3 {
            0 => dirty.start,
            1 => dirty.end,
            _ => (dirty.start + random.next_u64() as usize % (dirty.len() + 1)) / SECTOR_BYTES * SECTOR_BYTES,
        };
        // From nearly all sectors to nearly none.
        let lost_of_8 = [1, 1, 4, 7][random.next_u64() as usize % 4];
        let mut start = dirty.start;
        while start < end {
            let sector_end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let piece = start..sector_end.min(end);
            // The length can become durable before the bytes do, and later sectors before earlier ones.
            left.resize(left.len().max(piece.end), 0);
            if random.next_u64() % 8 >= lost_of_8 {
                left[piece.clone()].copy_from_slice(&self.cached[piece]);
            }
            start = sector_end;
        }
        left
    }
}
