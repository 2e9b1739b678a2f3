//! Why bytes are not a batch, in words a client can act on.

use stepwell_types::{ErrorKind, NameError};

/// What is wrong, as a stable word; the wire names are those of [`DecodeCode::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DecodeCode {
    /// Not an Arrow IPC stream, or a damaged one.
    MalformedArrow,
    /// Not JSON.
    MalformedJson,
    /// The compressed body does not decompress.
    MalformedEncoding,
    /// A `Content-Encoding` other than zstd and gzip.
    UnsupportedEncoding,
    /// A column or member that must be there is not.
    MissingField,
    /// A column or member nobody knows.
    UnknownField,
    /// A value or column of a type that does not fit.
    WrongType,
    /// A number that does not fit into the type of the column.
    OutOfRange,
    /// A null where a value must be.
    NullValue,
    /// An empty, over-long or ill-formed name.
    InvalidName,
    /// More received bytes than allowed.
    BodyTooLarge,
    /// More decoded bytes than allowed.
    DecodedTooLarge,
    /// More points than a batch may have.
    TooManyPoints,
    /// The bodies being received or decoded by the whole server exceed their budget.
    QueueFull,
    /// A decoder failed in a way it should not: a bug, caught.
    Internal,
}

impl DecodeCode {
    /// The stable code in `application/problem+json`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MalformedArrow => "malformed_arrow",
            Self::MalformedJson => "malformed_json",
            Self::MalformedEncoding => "malformed_encoding",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::MissingField => "missing_field",
            Self::UnknownField => "unknown_field",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::NullValue => "null_value",
            Self::InvalidName => "invalid_name",
            Self::BodyTooLarge => "body_too_large",
            Self::DecodedTooLarge => "decoded_too_large",
            Self::TooManyPoints => "too_many_points",
            Self::QueueFull => "queue_full",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status it is answered with.
    pub(crate) fn http_status(self) -> u16 {
        match self {
            Self::UnsupportedEncoding => 415,
            Self::BodyTooLarge | Self::DecodedTooLarge | Self::TooManyPoints => 413,
            Self::QueueFull => 429,
            Self::Internal => 500,
            _ => 400,
        }
    }
}

/// A refusal by a decoder: what, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DecodeError {
    pub(crate) code: DecodeCode,
    /// A sentence that says what is wrong and what to do.
    pub(crate) message: String,
    /// Counted from 1: the row over all record batches, or the line.
    pub(crate) row: Option<u64>,
    /// The column or JSON member.
    pub(crate) field: Option<String>,
    /// The limit that was passed, in the unit the message names.
    pub(crate) limit: Option<u64>,
}

impl DecodeError {
    /// An error with neither place nor limit.
    pub(crate) fn new(code: DecodeCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), row: None, field: None, limit: None }
    }

    /// A name that breaks the rules of names.
    pub(crate) fn name(error: &NameError) -> Self {
        let mut this = Self::new(DecodeCode::InvalidName, error.to_string()).field(error.field());
        this.limit = error.limit_bytes().map(|bytes| bytes as u64);
        this
    }

    /// Says which row, counted from 1.
    pub(crate) fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// Says which column or member.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says which limit was passed.
    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit as u64);
        self
    }

    /// What the caller should do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.code {
            DecodeCode::QueueFull => ErrorKind::Unavailable,
            DecodeCode::Internal => ErrorKind::Internal,
            _ => ErrorKind::InvalidCall,
        }
    }
}

/// A batch with more points than one may have.
pub(crate) fn too_many_points(actual: usize) -> DecodeError {
    let limit = stepwell_types::limits::BATCH_POINTS_MAX;
    DecodeError::new(
        DecodeCode::TooManyPoints,
        format!("the batch has at least {actual} points; the limit is {limit}: send it in parts"),
    )
    .limit(limit)
}
