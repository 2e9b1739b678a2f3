//! What must hold of a record batch's header before its body is decoded.

use arrow::datatypes::DataType;
use arrow_ipc::{BodyCompressionMethod, CompressionType, RecordBatch};
use stepwell_types::limits;

use super::{RawMessage, malformed};
use crate::decode::{Budget, DecodeCode, DecodeError, error::too_many_points};

/// A compressed buffer starts with the length it decompresses to, or -1 if it is not compressed after all.
const LENGTH_PREFIX_BYTES: usize = 8;

/// Checks counts, bounds and claimed lengths, charges the budget with what decoding will hold, and returns the rows.
pub(super) fn record_batch(
    batch: &RecordBatch<'_>,
    raw: &RawMessage,
    types: &[DataType],
    budget: &mut Budget,
) -> Result<usize, DecodeError> {
    let at = raw.offset;
    let rows = usize::try_from(batch.length())
        .map_err(|_| malformed(format!("the batch at byte {at} claims {} rows", batch.length())))?;
    if rows > limits::BATCH_POINTS_MAX {
        return Err(too_many_points(rows));
    }
    nodes(batch, types.len(), at)?;
    let compressed = compression(batch, at)?;
    let decoded_bytes = buffers(batch, raw, compressed)?;
    view_counts(batch, types, at)?;
    budget.decode(decoded_bytes)?;
    Ok(rows)
}

fn nodes(batch: &RecordBatch<'_>, columns: usize, at: usize) -> Result<(), DecodeError> {
    let nodes = batch.nodes().ok_or_else(|| malformed(format!("the batch at byte {at} has no columns")))?;
    if nodes.len() != columns {
        return Err(malformed(format!("the batch at byte {at} has {} columns, the schema {columns}", nodes.len())));
    }
    for node in &nodes {
        if node.length() != batch.length() || !(0..=node.length()).contains(&node.null_count()) {
            return Err(malformed(format!(
                "a column of the batch at byte {at} claims {} rows with {} nulls, the batch {} rows",
                node.length(),
                node.null_count(),
                batch.length()
            )));
        }
    }
    Ok(())
}

/// Whether the buffers are compressed, which only zstd may do.
fn compression(batch: &RecordBatch<'_>, at: usize) -> Result<bool, DecodeError> {
    let Some(compression) = batch.compression() else { return Ok(false) };
    if compression.method() != BodyCompressionMethod::BUFFER {
        return Err(malformed(format!("the batch at byte {at} is compressed by an unknown method")));
    }
    match compression.codec() {
        CompressionType::ZSTD => Ok(true),
        CompressionType::LZ4_FRAME => Err(DecodeError::new(
            DecodeCode::UnsupportedEncoding,
            "Arrow buffers compressed with LZ4 are not accepted: compress them with zstd, or send them uncompressed with \
             Content-Encoding: zstd",
        )),
        other => Err(malformed(format!("the batch at byte {at} is compressed with the unknown codec {}", other.0))),
    }
}

/// Bounds of every buffer; returns the bytes that decoding them allocates: what compressed ones claim. Plain ones are used
/// where they lie, so of them only what is beyond the body counts, which takes buffers that overlap.
fn buffers(batch: &RecordBatch<'_>, raw: &RawMessage, compressed: bool) -> Result<usize, DecodeError> {
    let at = raw.offset;
    let buffers = batch.buffers().ok_or_else(|| malformed(format!("the batch at byte {at} has no buffers")))?;
    let mut decoded_bytes = 0_usize;
    for buffer in &buffers {
        let start = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
        let Some(bytes) = range.and_then(|range| raw.body.get(range)) else {
            return Err(malformed(format!(
                "a buffer of the batch at byte {at} claims bytes {} + {} of a body of {}",
                buffer.offset(),
                buffer.length(),
                raw.body.len()
            )));
        };
        let claimed = if compressed { claimed_bytes(bytes, at)? } else { bytes.len() };
        // Saturated sums are over any budget.
        decoded_bytes = decoded_bytes.saturating_add(claimed);
    }
    Ok(if compressed { decoded_bytes } else { decoded_bytes.saturating_sub(raw.body.len()) })
}

fn claimed_bytes(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let Some(prefix) = bytes.first_chunk::<LENGTH_PREFIX_BYTES>() else {
        return Err(malformed(format!(
            "a compressed buffer of the batch at byte {at} is shorter than its length prefix"
        )));
    };
    match i64::from_le_bytes(*prefix) {
        -1 => Ok(bytes.len() - LENGTH_PREFIX_BYTES),
        claimed => usize::try_from(claimed).map_err(|_| {
            malformed(format!("a compressed buffer of the batch at byte {at} claims to hold {claimed} bytes"))
        }),
    }
}

/// Each column of views says how many buffers it has; the decoder takes these counts at their word.
fn view_counts(batch: &RecordBatch<'_>, types: &[DataType], at: usize) -> Result<(), DecodeError> {
    let views = types.iter().filter(|kind| matches!(kind, DataType::BinaryView)).count();
    let buffers = batch.buffers().map_or(0, |buffers| buffers.len());
    let counts = batch.variadicBufferCounts();
    let given = counts.map_or(0, |counts| counts.len());
    let fits = |count: i64| usize::try_from(count).is_ok_and(|count| count <= buffers);
    if given != views || !counts.into_iter().flatten().all(fits) {
        return Err(malformed(format!(
            "the batch at byte {at} has {views} columns of views and {given} buffer counts"
        )));
    }
    Ok(())
}
