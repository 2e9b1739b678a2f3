//! How fast memory can be copied at all, measured beside the figures.

use std::hint::black_box;

use stepwell_env::{Clock, SystemClock};

/// Larger than the caches of any processor we know.
const BUFFER_BYTES: usize = 256 << 20;
const COPIES: usize = 8;

/// Bytes per second that one thread copies from memory to memory: each is read once and written once. The best of a few copies.
pub fn probe_memory() -> f64 {
    // Not zero, so that every page of either is there before the first copy.
    let (from, mut to) = (vec![0x5a_u8; BUFFER_BYTES], vec![0xa5_u8; BUFFER_BYTES]);
    let clock = SystemClock::new();
    let mut best = f64::INFINITY;
    for _ in 0..COPIES {
        let begin = clock.monotonic();
        black_box(&mut to).copy_from_slice(black_box(&from));
        best = best.min((clock.monotonic() - begin).as_secs_f64());
    }
    BUFFER_BYTES as f64 / best
}
