//! The messages of a Flight stream.

use std::sync::OnceLock;

use stepwell_server::FlightStream;

use super::points::{LIMIT_BYTES, stream_messages};
use crate::Target;

/// Messages, each with the lengths of its three parts before it.
pub(super) const STREAM: Target = Target {
    name: "flight",
    run: stream,
    seeds: || stream_messages().iter().map(|messages| framed(messages)).collect(),
    words: &["{\"sequence\":1}", "run_id", "metric", "step", "value"],
    memory_bytes: (6 * LIMIT_BYTES, 64),
    replayed: 3_000,
};

/// `app_metadata` alone, behind a message that is good.
pub(super) const METADATA: Target = Target {
    name: "flight-metadata",
    run: metadata,
    seeds: || [&b"{\"sequence\":18446744073709551615}"[..], b"", b"{\"sequence\":null}"].map(<[u8]>::to_vec).into(),
    words: &["\"sequence\":", "-1", "1.0", "1e999", "[[[[[[[[", "null"],
    memory_bytes: (2 << 20, 200),
    replayed: 2_000,
};

/// Header, metadata, body.
pub(super) type Message = [Vec<u8>; 3];

fn framed(messages: &[Message]) -> Vec<u8> {
    let frame = |parts: &Message| {
        let lengths = parts.iter().flat_map(|part| (part.len() as u32).to_le_bytes()).collect::<Vec<u8>>();
        [lengths, parts.concat()].concat()
    };
    messages.iter().flat_map(frame).collect()
}

fn next_message<'a>(rest: &mut &'a [u8]) -> Option<[&'a [u8]; 3]> {
    let mut lengths = [0; 3];
    for length in &mut lengths {
        let (bytes, after) = rest.split_first_chunk::<4>()?;
        (*length, *rest) = (u32::from_le_bytes(*bytes) as usize, after);
    }
    let mut parts = [&[][..]; 3];
    for (part, length) in parts.iter_mut().zip(lengths) {
        (*part, *rest) = rest.split_at(length.min(rest.len()));
    }
    Some(parts)
}

/// I9: whatever comes, what a stream is said to hold is within its budget, and is given back.
fn stream(bytes: &[u8]) {
    let (mut stream, mut rest) = (FlightStream::new(LIMIT_BYTES), bytes);
    let mut is_refused = false;
    while let Some([header, metadata, body]) = next_message(&mut rest) {
        match stream.decode(header, metadata, body, 7) {
            Ok(Some((batch, _))) => assert_eq!(batch.series_index().len(), batch.len()),
            Ok(None) => {}
            Err(refusal) => {
                assert_ne!(refusal.code(), "internal", "{refusal}");
                is_refused = true;
            }
        }
        assert!(stream.held_bytes() <= LIMIT_BYTES, "{} bytes held", stream.held_bytes());
        if is_refused {
            // The server ends the stream here.
            return;
        }
    }
}

fn metadata(bytes: &[u8]) {
    static GOOD: OnceLock<Vec<Message>> = OnceLock::new();
    let good = GOOD.get_or_init(|| stream_messages().swap_remove(0));
    let [schema, batch] = &good[..] else { panic!("a schema and a batch") };
    let mut stream = FlightStream::new(LIMIT_BYTES);
    let begun = stream.decode(&schema[0], &[], &schema[2], 7);
    assert!(begun.expect("a good schema").is_none());
    match stream.decode(&batch[0], bytes, &batch[2], 7) {
        Ok(read) => {
            let (_, sequence) = read.expect("a batch of points");
            let expected = serde_json::from_slice::<serde_json::Value>(bytes).ok();
            let expected = expected.and_then(|value| value.get("sequence")?.as_u64());
            assert_eq!(sequence, expected);
        }
        Err(refusal) => assert_ne!(refusal.code(), "internal", "{refusal}"),
    }
}
