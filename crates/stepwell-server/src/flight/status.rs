//! Problems as gRPC statuses, with the same code and sentence as over HTTP.

use serde::Serialize;
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::acknowledge::Label;
use crate::problem::{Problem, ProblemDetails};

/// The metadata that carries the machine-readable code.
const CODE: &str = "stepwell-code";
/// The metadata that carries the sequence of the batch that was refused.
const SEQUENCE: &str = "stepwell-sequence";
/// The metadata that carries how long to wait, seconds.
const RETRY_AFTER: &str = "retry-after";
/// Bytes of the sentence in the status: clients bound the size of all metadata. The details have it whole.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// The problem's members, and which batch it is about.
#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    problem: &'a ProblemDetails,
    #[serde(flatten)]
    label: Option<Label>,
}

/// A problem that is about no batch.
pub(super) fn of(problem: &Problem) -> Status {
    build(problem, None)
}

/// A problem with one batch.
pub(super) fn of_batch(problem: &Problem, label: Label) -> Status {
    build(problem, Some(label))
}

fn build(problem: &Problem, label: Option<Label>) -> Status {
    let (code, detail) = (problem.code(), problem.detail());
    let sentence = match label {
        None => format!("{detail} ({code})"),
        Some(Label { sequence: Some(sequence), .. }) => format!("sequence {sequence}: {detail} ({code})"),
        Some(Label { batch, .. }) => format!("batch {batch} of the stream: {detail} ({code})"),
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(code));
    if let Some(sequence) = label.and_then(|label| label.sequence) {
        metadata.insert(SEQUENCE, MetadataValue::from(sequence));
    }
    if let Some(seconds) = problem.retry_after_seconds() {
        metadata.insert(RETRY_AFTER, MetadataValue::from(seconds));
    }
    let details = serde_json::to_vec(&Details { problem: problem.details(), label }).unwrap_or_default();
    Status::with_details_and_metadata(grpc_code(problem.status()), shortened(&sentence), details.into(), metadata)
}

fn grpc_code(http_status: u16) -> Code {
    match http_status {
        404 => Code::NotFound,
        403 | 422 => Code::FailedPrecondition,
        408 => Code::DeadlineExceeded,
        409 => Code::AlreadyExists,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)]
}
