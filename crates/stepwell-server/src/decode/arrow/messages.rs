//! Streams whose messages come one by one, as Flight carries them: each record batch is a batch of its own, schema and
//! dictionaries last as long as the stream.

use std::collections::HashMap;

use arrow::buffer::Buffer;
use arrow_ipc::{Message, MessageHeader};
use stepwell_types::Batch;

use super::{Decoder, METADATA_BYTES_MAX, RawMessage, guarded, malformed, message};
use crate::decode::{
    Budget, DecodeCode, DecodeError,
    series_table::{BatchBuilder, Names},
};

/// What the dictionaries of one stream may hold together, bytes: they are kept for as long as it is open.
const DICTIONARIES_BYTES_MAX: usize = 32 << 20;

/// Bytes of names that a stream keeps from batch to batch; past it all are forgotten, and the next batch makes its own.
const NAMES_BYTES_MAX: usize = 256 << 10;

/// The decoder of one such stream.
#[derive(Default)]
pub(crate) struct Messages {
    /// Absent until the schema came.
    decoder: Option<Decoder>,
    /// By dictionary, what its values hold.
    held: HashMap<i64, Held>,
    /// Runs and metrics of the batch before: most batches of a stream have the same. Absent before the first, and after a
    /// failure.
    names: Option<(Names, Names)>,
}

struct Held {
    bytes: usize,
    budget: Budget,
}

impl Messages {
    /// Decodes one message: its flatbuffer, and its body. `None` if it holds no points. What `budget` has taken for a
    /// dictionary stays taken until the dictionary is replaced; what it takes here is given back on failure.
    pub(crate) fn decode(
        &mut self,
        metadata: &[u8],
        body: &[u8],
        now_us: i64,
        budget: &mut Budget,
    ) -> Result<Option<Batch>, DecodeError> {
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(malformed(format!(
                "the message has {} bytes of metadata; the limit is {METADATA_BYTES_MAX}",
                metadata.len()
            ))
            .limit(METADATA_BYTES_MAX));
        }
        budget.attempt(|budget| {
            // As received, neither part is aligned, and the decoder would copy column by column where nobody counts.
            budget.receive(metadata.len() + body.len())?;
            let raw = RawMessage {
                metadata: Buffer::from_slice_ref(metadata),
                body: Buffer::from_slice_ref(body),
                offset: 0,
            };
            guarded(|| self.apply(&raw, now_us, budget))
        })
    }

    fn apply(&mut self, raw: &RawMessage, now_us: i64, budget: &mut Budget) -> Result<Option<Batch>, DecodeError> {
        let message = message(&raw.metadata)?;
        let Some(decoder) = &mut self.decoder else {
            self.decoder = Some(Decoder::new(&message)?);
            return Ok(None);
        };
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                decoder.dictionary_batch(raw, &message, budget)?;
                self.hold(raw, &message, budget)?;
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let known =
                    self.names.take().filter(|(runs, metrics)| runs.bytes() + metrics.bytes() <= NAMES_BYTES_MAX);
                let mut builder = match known {
                    Some((runs, metrics)) => BatchBuilder::with_names(runs, metrics),
                    None => {
                        // What they know are numbers of names that are forgotten.
                        decoder.dictionaries.values_mut().for_each(|dictionary| dictionary.forget_names());
                        BatchBuilder::new()
                    }
                };
                decoder.record_batch(raw, &message, now_us, &mut builder, budget)?;
                let (batch, runs, metrics) = builder.finish_with_names()?;
                self.names = Some((runs, metrics));
                Ok(Some(batch))
            }
            // Says what is wrong with it.
            _ => decoder.apply(raw, now_us, &mut BatchBuilder::new(), budget).map(|()| None),
        }
    }

    /// Keeps the budget of a dictionary's values, and gives back that of those it replaces.
    fn hold(&mut self, raw: &RawMessage, message: &Message<'_>, budget: &mut Budget) -> Result<(), DecodeError> {
        let Some(header) = message.header_as_dictionary_batch() else { return Ok(()) };
        let (bytes, taken) = (raw.body.len() + budget.decoded_bytes(), budget.hand_over());
        match self.held.get_mut(&header.id()) {
            Some(held) if header.isDelta() => {
                held.bytes += bytes;
                held.budget.absorb(taken);
            }
            _ => drop(self.held.insert(header.id(), Held { bytes, budget: taken })),
        }
        if self.held.values().map(|held| held.bytes).sum::<usize>() > DICTIONARIES_BYTES_MAX {
            return Err(DecodeError::new(
                DecodeCode::DecodedTooLarge,
                format!(
                    "the dictionaries of the stream hold more than {DICTIONARIES_BYTES_MAX} bytes: use plain columns of text, \
                     or another stream"
                ),
            )
            .limit(DICTIONARIES_BYTES_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
