//! A JSON value as it stands, before anybody says what type it should have: so that a wrong type is our error, with its
//! row and field, and not a parser's.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use stepwell_types::parse_utc_us;

use super::{DecodeCode, DecodeError};

/// One member's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// A number with a fraction or an exponent, or beyond 64 bits.
    Float(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

impl Cell<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Uint(_) => "an integer",
            Self::Float(_) => "a number with a fraction or exponent",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    fn wrong(&self, field: &str, wanted: &str) -> DecodeError {
        let code = if *self == Self::Null { DecodeCode::NullValue } else { DecodeCode::WrongType };
        DecodeError::new(code, format!("{field} is {}: it must be {wanted}", self.what())).field(field)
    }

    /// A string.
    pub(crate) fn text(&self, field: &str) -> Result<&str, DecodeError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(self.wrong(field, "a string")),
        }
    }

    /// A signed 64-bit integer.
    pub(crate) fn step(&self, field: &str) -> Result<i64, DecodeError> {
        match self {
            Self::Int(step) => Ok(*step),
            Self::Uint(step) => Err(DecodeError::new(
                DecodeCode::OutOfRange,
                format!("{field} {step} does not fit into a signed 64-bit integer"),
            )
            .field(field)),
            _ => Err(self.wrong(field, "an integer")),
        }
    }

    /// Microseconds since 1970 as an integer, or RFC 3339 text.
    pub(crate) fn timestamp_us(&self, field: &str) -> Result<i64, DecodeError> {
        match self {
            Self::Text(text) => parse_utc_us(text).ok_or_else(|| {
                let shown: String = text.chars().take(64).collect();
                DecodeError::new(
                    DecodeCode::WrongType,
                    format!("{field} {shown:?} is not a time such as 2026-11-23T16:05:14.123456Z"),
                )
                .field(field)
            }),
            Self::Int(_) | Self::Uint(_) => self.step(field),
            _ => {
                Err(self
                    .wrong(field, "an integer of microseconds since 1970 UTC or a text such as 2026-11-23T16:05:14Z"))
            }
        }
    }

    /// A number, or one of the strings "NaN", "Infinity" and "-Infinity". Every JSON number, whole or not, means the
    /// nearest 64-bit float.
    pub(crate) fn value(&self, field: &str) -> Result<f64, DecodeError> {
        match self {
            Self::Float(value) => Ok(*value),
            Self::Int(value) => Ok(*value as f64),
            Self::Uint(value) => Ok(*value as f64),
            Self::Text(text) => match &**text {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(self.wrong(field, "a number, \"NaN\", \"Infinity\" or \"-Infinity\"")),
            },
            _ => Err(self.wrong(field, "a number, \"NaN\", \"Infinity\" or \"-Infinity\"")),
        }
    }
}

impl<'de> Deserialize<'de> for Cell<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Cell::Uint(value), Cell::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cell::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Object)
    }
}

/// The first `MAX` members of a JSON object, in order. One takes eleven times the bytes of its shortest text, so that who knows
/// how many there may be should say so.
#[derive(Debug)]
pub(crate) struct Members<'a, const MAX: usize>(pub(crate) Vec<(Cow<'a, str>, Cell<'a>)>);

impl<'de, const MAX: usize> Deserialize<'de> for Members<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for MembersVisitor<MAX> {
            type Value = Members<'de, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while members.len() < MAX {
                    let Some((Key(name), cell)) = map.next_entry()? else { return Ok(Members(members)) };
                    members.push((name, cell));
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor::<MAX>)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a JSON parser has to say, without its habit of naming lines of a text it saw one line of.
pub(crate) fn malformed_json(error: &serde_json::Error, row: u64) -> DecodeError {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    let near = if error.column() > 0 { format!(" near column {}", error.column()) } else { String::new() };
    DecodeError::new(DecodeCode::MalformedJson, format!("line {row} is not a JSON object as expected{near}: {what}"))
        .row(row)
}
