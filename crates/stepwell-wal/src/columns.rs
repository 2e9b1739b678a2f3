//! Codes of integer and value columns. Arithmetic wraps, so that every i64 has a code.

use crate::payload::Cursor;

const CONSTANT: u8 = 0;
const DELTA: u8 = 1;
const OFFSET: u8 = 2;
const DOUBLES: u8 = 0;
const FLOATS: u8 = 1;

/// Appends the narrowest of the three codes.
pub(crate) fn encode_integers(values: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = values.split_first() else {
        out.push(CONSTANT);
        out.extend_from_slice(&0i64.to_le_bytes());
        return;
    };
    let (mut low, mut high) = (first, first);
    let (mut low_delta, mut high_delta, mut previous) = (i64::MAX, i64::MIN, first);
    for &value in rest {
        low = low.min(value);
        high = high.max(value);
        let delta = value.wrapping_sub(previous);
        low_delta = low_delta.min(delta);
        high_delta = high_delta.max(delta);
        previous = value;
    }
    if low == high {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    let offset_width = width(high.wrapping_sub(low) as u64);
    let delta_width = width(high_delta.wrapping_sub(low_delta) as u64);
    if delta_width < offset_width {
        out.push(DELTA);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&low_delta.to_le_bytes());
        let deltas = values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        pack(deltas.map(|delta| delta.wrapping_sub(low_delta) as u64), delta_width, out);
    } else {
        out.push(OFFSET);
        out.extend_from_slice(&low.to_le_bytes());
        pack(values.iter().map(|value| value.wrapping_sub(low) as u64), offset_width, out);
    }
}

fn width(range: u64) -> u8 {
    match range {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn pack(values: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    out.push(width);
    match width {
        1 => out.extend(values.map(|value| value as u8)),
        2 => values.for_each(|value| out.extend_from_slice(&(value as u16).to_le_bytes())),
        4 => values.for_each(|value| out.extend_from_slice(&(value as u32).to_le_bytes())),
        _ => values.for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
    }
}

/// Reads `n` integers; `None` if the bytes are not such a column.
pub(crate) fn decode_integers(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<i64>> {
    match cursor.u8()? {
        CONSTANT => Some(vec![cursor.i64()?; n]),
        DELTA => {
            let mut value = cursor.i64()?;
            let bias = cursor.i64()?;
            let mut values = unpack(cursor, n.checked_sub(1)?)?;
            values.insert(0, value);
            for slot in &mut values[1..] {
                value = value.wrapping_add(slot.wrapping_add(bias));
                *slot = value;
            }
            Some(values)
        }
        OFFSET => {
            let bias = cursor.i64()?;
            Some(unpack(cursor, n)?.into_iter().map(|offset| offset.wrapping_add(bias)).collect())
        }
        _ => None,
    }
}

fn unpack(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<i64>> {
    let width = usize::from(cursor.u8()?);
    if !matches!(width, 1 | 2 | 4 | 8) {
        return None;
    }
    let bytes = cursor.take(n.checked_mul(width)?)?;
    let wide = |chunk: &[u8]| {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        i64::from_le_bytes(whole)
    };
    Some(bytes.chunks_exact(width).map(wide).collect())
}

/// Appends values as floats where that keeps every bit, else as doubles. NaN never goes through a float: its payload could
/// change.
pub(crate) fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    let is_float = |value: &f64| f64::from(*value as f32).to_bits() == value.to_bits() && !value.is_nan();
    if values.iter().all(is_float) {
        out.push(FLOATS);
        values.iter().for_each(|value| out.extend_from_slice(&(*value as f32).to_le_bytes()));
    } else {
        out.push(DOUBLES);
        values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
    }
}

/// Reads `n` values.
pub(crate) fn decode_values(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<f64>> {
    match cursor.u8()? {
        FLOATS => {
            let bytes = cursor.take(n.checked_mul(4)?)?;
            let (chunks, _) = bytes.as_chunks::<4>();
            Some(chunks.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk))).collect())
        }
        DOUBLES => {
            let bytes = cursor.take(n.checked_mul(8)?)?;
            let (chunks, _) = bytes.as_chunks::<8>();
            Some(chunks.iter().map(|chunk| f64::from_bits(u64::from_le_bytes(*chunk))).collect())
        }
        _ => None,
    }
}
