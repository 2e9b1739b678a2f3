//! TensorBoard event files: records, and the messages in them.

use std::io::Cursor;

use stepwell_import::tensorboard::read_event_file;

use crate::Target;

/// A file, or (where the first byte is odd) the message of one record whose lengths and checksums are good.
pub(super) const FILE: Target = Target {
    name: "event-file",
    run: |input| match input.split_first() {
        Some((first, message)) if first % 2 == 1 => file(&record(message)),
        Some((_, bytes)) => file(bytes),
        None => {}
    },
    seeds,
    words: &["scalars", "hparams", "loss"],
    memory_bytes: (3 << 20, 200),
    replayed: 4_000,
};

/// What is not read is said, and lies within the file.
fn file(bytes: &[u8]) {
    let mut scalars = 0;
    let each = |scalar: &stepwell_import::tensorboard::Scalar<'_>| {
        scalars += 1;
        assert!(stepwell_types::check_metric(scalar.metric).is_ok(), "{scalar:?}");
    };
    let damaged = read_event_file(Cursor::new(bytes), bytes.len() as u64, each).expect("memory is always read");
    let mut end = 0;
    for place in &damaged {
        assert!(place.offset >= end && place.bytes > 0, "{damaged:?}");
        end = place.offset + place.bytes;
    }
    assert!(end <= bytes.len() as u64, "{damaged:?}");
    assert!(!bytes.is_empty() || (scalars, damaged.len()) == (0, 0));
}

/// A record: length, its masked checksum, data, its masked checksum.
pub(super) fn record(data: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// A field of a message that holds bytes shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[(number << 3) | 2, content.len() as u8][..], content].concat()
}

/// An event of one value, with the wall time and step before it.
fn event(value: &[u8]) -> Vec<u8> {
    let mut event = [&[(1 << 3) | 1][..], &1_790_000_000.5f64.to_le_bytes(), &[2 << 3, 0xac, 0x02]].concat();
    event.extend(field(5, &field(1, value)));
    event
}

fn seeds() -> Vec<Vec<u8>> {
    let tag = |name: &str| field(1, name.as_bytes());
    let simple = [tag("loss"), vec![(2 << 3) | 5], 0.5f32.to_le_bytes().to_vec()].concat();
    let tensor = [&[1 << 3, 1][..], &field(5, &0.25f32.to_le_bytes())].concat();
    let plugin = field(9, &field(1, &[tag("scalars"), field(2, b"\x08\x01")].concat()));
    let tensor = [tag("acc"), field(8, &tensor), plugin].concat();
    let param = [tag("lr"), field(2, &[&[(2 << 3) | 1][..], &0.1f64.to_le_bytes()].concat())].concat();
    let session = field(9, &field(1, &[tag("hparams"), field(2, &field(3, &field(1, &param)))].concat()));
    let events = [event(&simple), event(&tensor), event(&[tag("_hparams_"), session].concat())];
    let whole: Vec<u8> =
        [b"0".to_vec()].into_iter().chain(events.iter().map(|event| record(event))).flatten().collect();
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    [whole, damaged].into_iter().chain(events.map(|event| [b"1".to_vec(), event].concat())).collect()
}
