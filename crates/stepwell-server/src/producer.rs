//! Who sends, and which of its batches this is: the headers of a request, or the metadata of a Flight stream.

use std::sync::Arc;

use axum::http::HeaderMap;
use stepwell_types::ProducerSequence;

use crate::{fields::missing, problem::Problem};

const PRODUCER: &str = "Stepwell-Producer";
const SEQUENCE: &str = "Stepwell-Sequence";

/// The producer and sequence of a request: both or neither.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<ProducerSequence>, Problem> {
    match (producer(headers)?, one(headers, SEQUENCE)?) {
        (None, None) => Ok(None),
        (Some(producer), Some(sequence)) => {
            let sequence = sequence.parse().map_err(|_| {
                let range = "an integer from 0 to 18446744073709551615";
                Problem::invalid(SEQUENCE, format!("the header {SEQUENCE} must be {range}"))
            })?;
            Ok(Some(ProducerSequence { producer, sequence }))
        }
        (None, Some(_)) => Err(missing(PRODUCER)),
        (Some(_), None) => Err(missing(SEQUENCE)),
    }
}

/// The producer of a stream, whose batches carry their sequences themselves.
pub(crate) fn of_stream(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    if headers.contains_key(SEQUENCE) {
        let detail = "each batch of a stream carries its sequence in app_metadata, not in the call's metadata";
        return Err(Problem::invalid(SEQUENCE, detail));
    }
    producer(headers)
}

/// The producer of a stream with the sequence of one of its batches: both or neither.
pub(crate) fn of_batch(
    producer: Option<&Arc<str>>,
    sequence: Option<u64>,
) -> Result<Option<ProducerSequence>, Problem> {
    match (producer, sequence) {
        (None, None) => Ok(None),
        (Some(producer), Some(sequence)) => Ok(Some(ProducerSequence { producer: producer.clone(), sequence })),
        (None, Some(_)) => Err(missing(PRODUCER)),
        (Some(_), None) => Err(missing("sequence")),
    }
}

fn producer(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let Some(producer) = one(headers, PRODUCER)? else { return Ok(None) };
    stepwell_types::check_producer(producer).map_err(|error| Problem::invalid(PRODUCER, error.to_string()))?;
    Ok(Some(producer.into()))
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(name, format!("the header {name} is given more than once")));
    }
    let text =
        first.map(|value| value.to_str().map_err(|_| Problem::invalid(name, format!("{name} is not ASCII text"))));
    text.transpose()
}
