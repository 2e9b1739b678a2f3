//! One object, read piece by piece.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use object_store::ObjectStoreExt;
use stepwell_env::ReadFile;

use crate::store::Objects;

/// Bytes asked for at once by who reads one piece after the other: this many at first, doubled up to the most.
const AHEAD_BYTES_MIN: u64 = 256 << 10;
pub(crate) const AHEAD_BYTES_MAX: u64 = 1 << 20;

/// An object being read. Unlike a file, it is not readable any more once it is removed.
pub struct Object {
    objects: Objects,
    key: String,
    bytes: u64,
    ahead: Mutex<Ahead>,
}

/// Bytes that came with those asked for last.
#[derive(Default)]
struct Ahead {
    from: u64,
    bytes: Vec<u8>,
    /// How many are asked for next.
    next_bytes: u64,
}

impl Ahead {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// Part of what is there, if all of it is.
    fn slice(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let begin = usize::try_from(from.checked_sub(self.from)?).ok()?;
        let end = usize::try_from(to.checked_sub(self.from)?).ok()?;
        self.bytes.get(begin..end).map(<[u8]>::to_vec)
    }
}

impl Object {
    pub(crate) fn new(objects: Objects, key: &str, bytes: u64) -> Self {
        Self { objects, key: key.to_owned(), bytes, ahead: Mutex::default() }
    }
}

impl ReadFile for Object {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(bytes as u64).min(self.bytes);
        if offset >= end {
            return Ok(Vec::new());
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = ahead.slice(offset, end) {
            return Ok(slice);
        }
        let follows = offset == ahead.end() && offset > 0;
        let wanted = if follows { ahead.next_bytes } else { AHEAD_BYTES_MIN };
        let to = offset.saturating_add(wanted).min(self.bytes).max(end);
        let at = self.objects.path_of(&self.key);
        let read = self.objects.wait(self.objects.store().get_range(&at, offset..to));
        let read = read.map_err(|error| self.objects.failed("read", &self.key, error))?;
        let next_bytes = (wanted * 2).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
        *ahead = Ahead { from: offset, bytes: read.into(), next_bytes };
        // Fewer than asked for are told as they are.
        Ok(ahead.slice(offset, end.min(ahead.end())).unwrap_or_default())
    }
}
