//! JSON request bodies, member by member: an unknown member or a wrong type is an error that names it.

use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_types::{json_tree_bytes, parse_utc_us};

use crate::{
    decode::{Budget, DecodeError},
    problem::Problem,
};

/// The members of a request body that nobody has read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    known: &'static [&'static str],
    /// Counts what was read until this is dropped: whoever takes members has them while it works on.
    _held: Option<Budget>,
}

impl Fields {
    /// Reads an object all of whose members must be `known`.
    pub(crate) fn read(body: &[u8], known: &'static [&'static str]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("the body is not JSON: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
        })?;
        Self::of("the body", value, known)
    }

    /// Charges the budget with what reading `body` can take, before it is read.
    pub(crate) fn charge(body: &[u8], budget: &mut Budget) -> Result<(), DecodeError> {
        budget.decode(json_tree_bytes(body))
    }

    /// Keeps what was charged for reading them.
    pub(crate) fn held_by(self, budget: Budget) -> Self {
        Self { _held: Some(budget), ..self }
    }

    /// The same for a member that is an object itself.
    pub(crate) fn of(what: &str, value: Value, known: &'static [&'static str]) -> Result<Self, Problem> {
        let Value::Object(members) = value else {
            return Err(wrong_type(what, "it must be an object"));
        };
        if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let shown: String = unknown.chars().take(100).collect();
            let detail = format!("{shown:?} is unknown: {what} may have {}", known.join(", "));
            return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown_field", detail).field(shown));
        }
        Ok(Self { members, known, _held: None })
    }

    /// The value of a member as it stands; `None` if absent.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<Value> {
        debug_assert!(self.known.contains(&name));
        self.members.remove(name)
    }

    /// A member of type `T`; `None` if absent or null.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, Problem> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                serde_json::from_value(value).map(Some).map_err(|error| wrong_type(name, &error.to_string()))
            }
        }
    }

    /// A member that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| missing(name))
    }

    /// A time: microseconds since 1970 UTC, or RFC 3339 text.
    pub(crate) fn time_us(&mut self, name: &'static str) -> Result<Option<i64>, Problem> {
        let wrong = || {
            wrong_type(
                name,
                "it must be an integer of microseconds since 1970 UTC or text such as 2026-11-23T16:05:14Z",
            )
        };
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => parse_utc_us(&text).map(Some).ok_or_else(wrong),
            Some(Value::Number(number)) => number.as_i64().map(Some).ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }
}

/// A member or parameter that is not there.
pub(crate) fn missing(name: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "missing_field", format!("{name} is missing")).field(name)
}

fn wrong_type(name: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "wrong_type", format!("{name} has the wrong type: {why}")).field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_mistyped_members_are_named() {
        let read = |body: &str| Fields::read(body.as_bytes(), &["name", "at"]);
        assert!(read("{\"nam\":1}").unwrap_err().to_json().contains("\"field\":\"nam\""));
        assert!(read("[]").unwrap_err().to_json().contains("wrong_type"));
        assert!(read("{").unwrap_err().to_json().contains("malformed_json"));
        let mut fields = read("{\"name\":1,\"at\":\"1970-01-01T00:00:01Z\"}").unwrap();
        assert!(fields.required::<String>("name").unwrap_err().to_json().contains("\"field\":\"name\""));
        assert_eq!(fields.time_us("at").unwrap(), Some(1_000_000));
        assert!(fields.required::<String>("name").unwrap_err().to_json().contains("missing_field"));
    }
}
