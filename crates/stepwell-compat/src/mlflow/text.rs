//! The JSON of answers. Where it is long its bytes count as memory of those who read, before they are taken and until they are sent.

use std::{
    io::{self, Write},
    sync::Arc,
};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use stepwell_app::{AppError, Reader};

use super::failure::Failure;

/// Answers no longer than that are bounded by the number of connections, bytes.
const UNCOUNTED_BYTES_MAX: usize = 256 << 10;
/// Memory that an answer begins with, bytes.
const BYTES_MIN: usize = 128;
/// Past that it grows by a quarter at a time, bytes: what it grows into and does not fill counts as well.
const DOUBLED_BYTES_MAX: usize = 1 << 20;

/// An answer as it is sent.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// Counts the bytes until it is dropped, if they are many.
    pub(crate) counted_by: Option<Arc<Reader>>,
}

impl Text {
    /// The JSON of `answer`, of the request of `reader`.
    pub(crate) fn of(reader: &Reader, answer: &impl Serialize) -> Result<Self, Failure> {
        Self::about(0, reader, answer)
    }

    /// The same where it is known about how long it will be: it is not moved while it grows.
    pub(crate) fn about(bytes: usize, reader: &Reader, answer: &impl Serialize) -> Result<Self, Failure> {
        let mut writer = Writer { bytes: Vec::new(), reader, counted_by: None, held_bytes: 0, refused: None };
        let written = match writer.reserve(bytes) {
            Ok(()) => serde_json::to_writer(&mut writer, answer),
            Err(error) => Err(serde_json::Error::io(error)),
        };
        match (written, writer.refused) {
            (Ok(()), _) => Ok(Self { bytes: writer.bytes, counted_by: writer.counted_by }),
            (Err(_), Some(refused)) => Err(refused.into()),
            (Err(error), None) => Err(Failure::internal(error)),
        }
    }
}

/// A list that is written item by item, each from a tree of its own, and the token of the next page if there is one. As in protocol
/// buffers, an empty list is left out.
pub(crate) struct List<'a, T, F> {
    pub(crate) name: &'static str,
    pub(crate) items: &'a [T],
    pub(crate) shown: F,
    pub(crate) next: Option<String>,
}

impl<T, F: Fn(&T) -> Value> Serialize for List<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut answer = serializer.serialize_map(None)?;
        if !self.items.is_empty() {
            answer.serialize_entry(self.name, &Items(self))?;
        }
        if let Some(next) = &self.next {
            answer.serialize_entry("next_page_token", next)?;
        }
        answer.end()
    }
}

struct Items<'a, T, F>(&'a List<'a, T, F>);

impl<T, F: Fn(&T) -> Value> Serialize for Items<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.items.iter().map(&self.0.shown))
    }
}

struct Writer<'a> {
    bytes: Vec<u8>,
    reader: &'a Reader,
    counted_by: Option<Arc<Reader>>,
    held_bytes: usize,
    refused: Option<AppError>,
}

impl Writer<'_> {
    fn reserve(&mut self, capacity: usize) -> io::Result<()> {
        if capacity > UNCOUNTED_BYTES_MAX {
            let counted_by = self.counted_by.get_or_insert_with(|| self.reader.beside());
            if let Err(refused) = counted_by.hold(capacity - self.held_bytes) {
                self.refused = Some(refused.into());
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.held_bytes = capacity;
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + part.len();
        let capacity = self.bytes.capacity();
        if length > capacity {
            let more = if capacity < DOUBLED_BYTES_MAX { capacity } else { capacity / 4 };
            self.reserve(length.max(capacity + more).max(BYTES_MIN))?;
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_app::ReadMemory;

    use super::*;

    #[test]
    fn i9_long_answers_are_counted_before_they_are_written_until_they_are_dropped() {
        let memory = ReadMemory::new(1 << 20);
        let reader = memory.reader();
        let short = Text::of(&reader, &"x".repeat(1_000)).unwrap();
        assert!(short.counted_by.is_none() && memory.used() == 0 && short.bytes.len() == 1_002);
        let long = vec!["x".repeat(1_000); 600];
        let text = Text::of(&reader, &long).unwrap();
        assert_eq!(memory.used(), text.bytes.capacity());
        assert_eq!(text.bytes, serde_json::to_vec(&long).unwrap());
        let refused = Text::of(&reader, &long).unwrap_err();
        assert_eq!(memory.used(), text.bytes.capacity(), "what is refused is not held: {refused}");
        drop(text);
        assert_eq!(memory.used(), 0);
        assert!(Text::about(2 << 20, &reader, &"").is_err());
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn i9_a_list_is_shown_item_by_item() {
        let memory = ReadMemory::new(1 << 20);
        let seen = std::cell::Cell::new(0);
        let list = |items| List {
            name: "items",
            items,
            shown: |item: &u32| {
                seen.set(seen.get() + 1);
                json!({"name": "x".repeat(1_000), "number": item})
            },
            next: Some("7".to_owned()),
        };
        let items: Vec<u32> = (0..100_000).collect();
        assert!(Text::of(&memory.reader(), &list(&items)).is_err());
        assert!(seen.get() < 2_000, "{} were shown to one who has no room for them", seen.get());
        let read = |items| serde_json::from_slice::<Value>(&Text::of(&memory.reader(), &list(items)).unwrap().bytes);
        let told = read(&items[..2]).unwrap();
        assert_eq!((&told["items"][1]["number"], &told["next_page_token"]), (&json!(1), &json!("7")));
        assert_eq!(read(&[]).unwrap(), json!({"next_page_token": "7"}));
    }
}
