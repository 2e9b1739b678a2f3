//! Parquet's `DELTA_BINARY_PACKED` encoding of 64-bit integers: differences, each 128 of them less their smallest, in as few bits
//! as each 32 of them need. (Apache Parquet format, "Encodings"; blocks as all writers make them.)

use crate::leb128;

const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;
const MINIBLOCKS: usize = BLOCK / MINIBLOCK;

/// Encodes a page.
pub(crate) fn encode(values: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 3 + 64);
    for number in [BLOCK as u64, MINIBLOCKS as u64, values.len() as u64] {
        leb128::put(number, &mut out);
    }
    leb128::put(zigzag(values.first().copied().unwrap_or(0)), &mut out);
    let mut deltas = [0; BLOCK];
    let mut from = 0;
    while from + 1 < values.len() {
        let count = BLOCK.min(values.len() - 1 - from);
        for (delta, pair) in deltas.iter_mut().zip(values[from..=from + count].windows(2)) {
            *delta = pair[1].wrapping_sub(pair[0]);
        }
        put_block(&deltas[..count], &mut out);
        from += count;
    }
    out
}

fn put_block(deltas: &[i64], out: &mut Vec<u8>) {
    let least = deltas.iter().copied().min().unwrap_or(0);
    leb128::put(zigzag(least), out);
    let widths_at = out.len();
    out.extend_from_slice(&[0; MINIBLOCKS]);
    for (number, miniblock) in deltas.chunks(MINIBLOCK).enumerate() {
        // The last one is filled up with what takes no bits.
        let mut above = [0; MINIBLOCK];
        for (above, delta) in above.iter_mut().zip(miniblock) {
            *above = delta.wrapping_sub(least) as u64;
        }
        let width = u64::BITS - above.iter().fold(0, |bits, value| bits | value).leading_zeros();
        out[widths_at + number] = width as u8;
        pack(&above, width, out);
    }
}

/// Puts the values side by side, the lowest bit first. 32 of them end at a byte, whatever their width.
fn pack(values: &[u64; MINIBLOCK], width: u32, out: &mut Vec<u8>) {
    // A word more, for what is left of the last one.
    let mut bytes = [0; (MINIBLOCK + 1) * 8];
    let (mut word, mut used, mut at) = (0u64, 0, 0);
    for value in values {
        word |= value << used;
        used += width;
        if used >= u64::BITS {
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            at += 8;
            used -= u64::BITS;
            // What of the value did not fit; a shift by all of its bits is not defined.
            word = if used == 0 { 0 } else { value >> (width - used) };
        }
    }
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    out.extend_from_slice(&bytes[..MINIBLOCK / 8 * width as usize]);
}

/// Small numbers of either sign become small ones without.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_the_parquet_format_says() {
        // The format's own second example: deltas -2, -2, -2, 1, 1, 1, 1, the smallest -2, the others 0 and 3 in two bits.
        let page = encode(&[7, 5, 3, 1, 2, 3, 4, 5]);
        assert_eq!(page[..10], [0x80, 0x01, 4, 8, 14, 3, 2, 0, 0, 0]);
        assert_eq!(page[10..], [0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&[1]), [0x80, 0x01, 4, 1, 2]);
    }
}
