//! Arrow IPC streams, walked message by message: each message is checked against the bytes that are there and the budget
//! that is left before anything of it is decoded.
//!
//! Dictionary columns are decoded as their plain indices and resolved here, so that a dictionary is looked at once however
//! many batches refer to it, and deltas cost what they bring.

mod check;
mod columns;
mod dictionary;
mod messages;
mod schema;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use arrow::{array::RecordBatch, buffer::Buffer, error::ArrowError};
use arrow_ipc::{Message, MessageHeader, MetadataVersion, reader::RecordBatchDecoder, root_as_message};
use stepwell_types::{Batch, limits};

pub(crate) use self::messages::Messages;
use self::{dictionary::Dictionary, schema::Layout};
use super::{Budget, DecodeCode, DecodeError, error::too_many_points, series_table::BatchBuilder};

/// Starts every message since format 0.15; older writers start with the metadata's length at once.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Largest flatbuffer of a message. It bounds the work of verifying and of schemas with absurdly many fields.
const METADATA_BYTES_MAX: usize = 1 << 20;

/// Decodes a whole stream to one batch. `now_us` stands in for absent and null timestamps.
pub(crate) fn decode(body: Vec<u8>, now_us: i64, budget: &mut Budget) -> Result<Batch, DecodeError> {
    guarded(|| decode_stream(body, now_us, budget))
}

/// The library's decoder checks most of what it reads, and gives up by a panic on some of the rest.
fn guarded<T>(decode: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    std::panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(DecodeError::new(DecodeCode::MalformedArrow, "the Arrow stream is damaged: its decoder gave up on it"))
    })
}

fn decode_stream(body: Vec<u8>, now_us: i64, budget: &mut Budget) -> Result<Batch, DecodeError> {
    let mut walk = Walk { body: Buffer::from_vec(body), position: 0 };
    let Some(first) = walk.next_message()? else {
        return Err(malformed("the body is empty: an Arrow stream starts with a schema"));
    };
    let mut decoder = Decoder::new(&message(&first.metadata)?)?;
    let mut builder = BatchBuilder::new();
    while let Some(raw) = walk.next_message()? {
        decoder.apply(&raw, now_us, &mut builder, budget)?;
    }
    builder.finish()
}

/// One message: its flatbuffer, and its body as a slice of the request's bytes.
struct RawMessage {
    metadata: Buffer,
    body: Buffer,
    offset: usize,
}

/// Where in the request's bytes the next message starts.
struct Walk {
    body: Buffer,
    position: usize,
}

impl Walk {
    /// The next message, or `None` at the end of the stream. Every length in it is within the bytes received.
    fn next_message(&mut self) -> Result<Option<RawMessage>, DecodeError> {
        let offset = self.position;
        if self.position == self.body.len() {
            return Ok(None);
        }
        let mut length = self.take_u32(offset)?;
        if length == CONTINUATION {
            length = self.take_u32(offset)?;
        }
        let metadata_bytes = u32::from_le_bytes(length) as usize;
        if metadata_bytes == 0 {
            return self.end(offset);
        }
        if metadata_bytes > METADATA_BYTES_MAX {
            return Err(malformed(format!(
                "the message at byte {offset} claims {metadata_bytes} bytes of metadata; the limit is {METADATA_BYTES_MAX}"
            ))
            .limit(METADATA_BYTES_MAX));
        }
        let metadata = self.take(metadata_bytes, offset)?;
        let body_bytes = message(&metadata)?.bodyLength();
        let body_bytes = usize::try_from(body_bytes)
            .map_err(|_| malformed(format!("the message at byte {offset} claims a body of {body_bytes} bytes")))?;
        let body = self.take(body_bytes, offset)?;
        Ok(Some(RawMessage { metadata, body, offset }))
    }

    fn end(&mut self, offset: usize) -> Result<Option<RawMessage>, DecodeError> {
        let rest = self.body.len() - self.position;
        if rest > 0 {
            return Err(malformed(format!(
                "{rest} bytes follow the end of the stream, marked at byte {offset}: send one stream per request"
            )));
        }
        Ok(None)
    }

    fn take_u32(&mut self, offset: usize) -> Result<[u8; 4], DecodeError> {
        let bytes = self.take(4, offset)?;
        Ok([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn take(&mut self, bytes: usize, offset: usize) -> Result<Buffer, DecodeError> {
        let left = self.body.len() - self.position;
        if bytes > left {
            return Err(malformed(format!(
                "the stream is cut short: the message at byte {offset} needs {} more bytes",
                bytes - left
            )));
        }
        let taken = self.body.slice_with_length(self.position, bytes);
        self.position += bytes;
        Ok(taken)
    }
}

/// What is known after the schema.
struct Decoder {
    layout: Layout,
    dictionaries: HashMap<i64, Dictionary>,
}

impl Decoder {
    /// Of a stream that starts with `schema`.
    fn new(schema: &Message<'_>) -> Result<Self, DecodeError> {
        Ok(Self { layout: schema::read(schema)?, dictionaries: HashMap::new() })
    }

    /// Any message after the first; rows are appended to `builder`.
    fn apply(
        &mut self,
        raw: &RawMessage,
        now_us: i64,
        builder: &mut BatchBuilder,
        budget: &mut Budget,
    ) -> Result<(), DecodeError> {
        let message = message(&raw.metadata)?;
        match message.header_type() {
            MessageHeader::RecordBatch => self.record_batch(raw, &message, now_us, builder, budget),
            MessageHeader::DictionaryBatch => self.dictionary_batch(raw, &message, budget),
            MessageHeader::Schema => {
                Err(malformed(format!("a second schema at byte {}: send one stream per request", raw.offset)))
            }
            other => Err(malformed(format!(
                "the message at byte {} is a {}: a stream holds record and dictionary batches",
                raw.offset,
                other.variant_name().unwrap_or("message of unknown kind")
            ))),
        }
    }

    fn record_batch(
        &mut self,
        raw: &RawMessage,
        message: &Message<'_>,
        now_us: i64,
        builder: &mut BatchBuilder,
        budget: &mut Budget,
    ) -> Result<(), DecodeError> {
        let batch = message.header_as_record_batch().ok_or_else(|| no_header(raw))?;
        let rows = check::record_batch(&batch, raw, &self.layout.decoded_types, budget)?;
        let total = builder.value.len() + rows;
        if total > limits::BATCH_POINTS_MAX {
            return Err(too_many_points(total));
        }
        let decoded = decode_batch(raw, batch, message.version(), self.layout.decoded_schema.clone())?;
        columns::append(&decoded, &self.layout, &mut self.dictionaries, now_us, builder, budget)
    }

    fn dictionary_batch(
        &mut self,
        raw: &RawMessage,
        message: &Message<'_>,
        budget: &mut Budget,
    ) -> Result<(), DecodeError> {
        let header = message.header_as_dictionary_batch().ok_or_else(|| no_header(raw))?;
        let values = header.data().ok_or_else(|| no_header(raw))?;
        let Some(schema) = self.layout.dictionary_schemas.get(&header.id()) else {
            return Err(malformed(format!(
                "the dictionary {} at byte {} belongs to no column of the schema",
                header.id(),
                raw.offset
            )));
        };
        let types = [schema.field(0).data_type().clone()];
        check::record_batch(&values, raw, &types, budget)?;
        let decoded = decode_batch(raw, values, message.version(), schema.clone())?;
        let dictionary = self.dictionaries.entry(header.id()).or_default();
        if !header.isDelta() {
            *dictionary = Dictionary::default();
        }
        dictionary.append(decoded.column(0).clone(), budget)
    }
}

fn decode_batch(
    raw: &RawMessage,
    batch: arrow_ipc::RecordBatch<'_>,
    version: MetadataVersion,
    schema: Arc<arrow::datatypes::Schema>,
) -> Result<RecordBatch, DecodeError> {
    // Dictionaries are resolved by us, so the decoder needs none.
    let none = HashMap::new();
    let decoder = RecordBatchDecoder::try_new(&raw.body, batch, schema, &none, &version);
    decoder.and_then(RecordBatchDecoder::read_record_batch).map_err(|error| damaged(raw.offset, &error))
}

fn message(metadata: &Buffer) -> Result<Message<'_>, DecodeError> {
    root_as_message(metadata).map_err(|error| {
        malformed(format!(
            "the body is not an Arrow IPC stream, or a damaged one (an Arrow file is not a stream): {}",
            first_line(&error.to_string())
        ))
    })
}

fn no_header(raw: &RawMessage) -> DecodeError {
    malformed(format!("the message at byte {} has no content", raw.offset))
}

fn damaged(offset: usize, error: &ArrowError) -> DecodeError {
    malformed(format!("the batch at byte {offset} is damaged: {}", first_line(&error.to_string())))
}

/// The verifier's messages trail off into a trace of tables, one a line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn malformed(message: impl Into<String>) -> DecodeError {
    DecodeError::new(DecodeCode::MalformedArrow, message)
}

#[cfg(test)]
mod tests;
