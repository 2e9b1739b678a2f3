//! Pages of results, and the tokens of those that follow.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

use crate::mlflow::{failure::Failure, python};

/// How much of a wrong token its refusal shows.
const SHOWN_BYTES_MAX: usize = 200;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many results were before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageToken {
    pub(crate) offset: usize,
}

impl PageToken {
    /// Reads a token; none, or an empty one, is the first page's.
    pub(crate) fn parse(token: Option<&str>) -> Result<Self, Failure> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(Self::default()) };
        let invalid = |why: String| Failure::invalid(format!("Invalid page token, {why}"));
        let decoded = BASE64.decode(token).map_err(|_| invalid("could not base64-decode".to_owned()))?;
        let value: Value = serde_json::from_slice(&decoded).map_err(|_| {
            let shown = &decoded[..decoded.len().min(SHOWN_BYTES_MAX)];
            invalid(format!("decoded value={}", python::bytes(shown)))
        })?;
        let offset = match value.get("offset") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let offset = offset.filter(|&offset| offset > 0).and_then(|offset| usize::try_from(offset).ok());
        let shown = || value.to_string().chars().take(SHOWN_BYTES_MAX).collect::<String>();
        offset.map(|offset| Self { offset }).ok_or_else(|| invalid(format!("parsed value={}", shown())))
    }

    /// As clients get it.
    pub(crate) fn text(self) -> String {
        BASE64.encode(json!({"offset": self.offset}).to_string())
    }
}

/// One page of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Of the page that follows, if one does.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// The page of a token out of all results.
    pub(crate) fn cut(all: Vec<T>, token: PageToken, max_results: usize) -> Self {
        let end = token.offset.saturating_add(max_results);
        let next = (end < all.len()).then(|| PageToken { offset: end }.text());
        let items = all.into_iter().skip(token.offset).take(max_results).collect();
        Self { items, next }
    }
}
