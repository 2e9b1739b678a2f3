//! What a request says: members of its JSON object, or of its query string, read with MLflow's own refusals.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use percent_encoding::percent_decode_str;
use serde::Serializer;
use serde_json::{Map, Value};
use stepwell_types::json_tree_bytes;

use super::{Charge, failure::Failure};

const SEE_DOCS: &str = " See the API docs for more information about request parameters.";

/// The members of an object, which may be one within those of another. In a query string every value is text, and a name may occur
/// again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Args<'a> {
    members: Cow<'a, Map<String, Value>>,
    is_query: bool,
}

impl Args<'static> {
    /// Of a body: an object; nothing is an empty one, and old clients send it as text in JSON.
    pub(crate) fn of_body(body: &[u8], charge: Charge<'_>) -> Result<Self, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let malformed =
            |error: serde_json::Error| Failure::invalid(format!("The body of the request is not JSON: {error}."));
        charge(json_bytes(body))?;
        let value = match serde_json::from_slice(body).map_err(malformed)? {
            Value::String(text) => {
                charge(json_bytes(text.as_bytes()))?;
                serde_json::from_str(&text).map_err(malformed)?
            }
            value => value,
        };
        match value {
            Value::Object(members) => Ok(Self { members: Cow::Owned(members), is_query: false }),
            Value::Null => Ok(Self::default()),
            other => {
                Err(Failure::invalid(format!("The body of the request is {}; it must be an object.", shown(&other))))
            }
        }
    }

    /// Of a query string.
    pub(crate) fn of_query(query: &str) -> Result<Self, Failure> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            let decoded = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
            decoded.map_err(|_| Failure::invalid("The query string of the request is not UTF-8."))
        };
        let mut members = Map::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let values = members.entry(decode(name)?).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(Value::String(decode(value)?));
            }
        }
        Ok(Self { members: Cow::Owned(members), is_query: true })
    }
}

impl Args<'_> {
    /// The member as it is; null is absence. Of a query string the first of its name.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        let value = match self.members.get(name)? {
            Value::Array(values) if self.is_query => values.first()?,
            value => value,
        };
        (!value.is_null()).then_some(value)
    }

    /// A text, if there is one. Empty text counts as given.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(invalid_value(name, other)),
        }
    }

    /// A text that is not empty, if there is one.
    pub(crate) fn given(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(ToOwned::to_owned))
    }

    /// A text that must be there and not be empty.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(missing(name)),
        }
    }

    /// The run that is meant: `run_id`, or `run_uuid` of old clients.
    pub(crate) fn run_id(&self) -> Result<&str, Failure> {
        match self.text("run_id")? {
            Some(run_id) if !run_id.is_empty() => Ok(run_id),
            _ => match self.text("run_uuid")? {
                Some(run_id) if !run_id.is_empty() => Ok(run_id),
                _ => Err(missing("run_id")),
            },
        }
    }

    /// An integer, also as text, as protocol buffers in JSON have it.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| invalid_value(name, value))
    }

    /// A number, also as text: `NaN`, `Infinity` and `-Infinity` are.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => float_of_text(text),
            _ => None,
        };
        number.map(Some).ok_or_else(|| invalid_value(name, value))
    }

    /// Whether something holds.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(invalid_value(name, other)),
        }
    }

    /// All values of a list; none if it is absent.
    pub(crate) fn list(&self, name: &str) -> Result<&[Value], Failure> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(invalid_value(name, other)),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&str>, Failure> {
        let text = |value: &'_ Value| value.as_str().is_some();
        let values = self.list(name)?;
        match values.iter().find(|value| !text(value)) {
            Some(_) => Err(self.invalid_list(name)),
            None => Ok(values.iter().filter_map(Value::as_str).collect()),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Args<'_>>, Failure> {
        let values = self.list(name)?.iter();
        values
            .map(|value| match value {
                Value::Object(members) => Ok(Args { members: Cow::Borrowed(members), is_query: false }),
                _ => Err(self.invalid_list(name)),
            })
            .collect()
    }

    fn invalid_list(&self, name: &str) -> Failure {
        invalid_value(name, self.members.get(name).unwrap_or(&Value::Null))
    }

    /// An object, if there is one.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Args<'_>>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Args { members: Cow::Borrowed(members), is_query: false })),
            Some(other) => Err(invalid_value(name, other)),
        }
    }

    /// A list of `{key, value}`; a key must be there, a value may be absent.
    pub(crate) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let pair = |object: &Args<'_>| {
            let value = object.text("value")?.unwrap_or_default();
            Ok((object.text("key")?.unwrap_or_default().to_owned(), value.to_owned()))
        };
        self.objects(name)?.iter().map(pair).collect()
    }
}

/// The most that JSON takes once it is read, bytes: its tree, and a copy of each of its texts.
pub(crate) fn json_bytes(text: &[u8]) -> usize {
    json_tree_bytes(text).saturating_add(text.len())
}

/// A number in a text, as protocol buffers write it.
pub(crate) fn float_of_text(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads "inf" and "nan" too, which they do not have.
        text if text.bytes().any(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// A number as protocol buffers write it in JSON.
pub(crate) fn float_json(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::String("NaN".to_owned()),
        None if value > 0.0 => Value::String("Infinity".to_owned()),
        None => Value::String("-Infinity".to_owned()),
    }
}

/// The same for a field of a structure that is written as it is.
pub(crate) fn write_float<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match float_json(*value) {
        Value::String(word) => serializer.serialize_str(&word),
        _ => serializer.serialize_f64(*value),
    }
}

/// An answer that is a list, and the token of the next page if there is one. As in protocol buffers, an empty list is left out.
pub(crate) fn list_json(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = Map::new();
    if !items.is_empty() {
        answer.insert(name.to_owned(), Value::Array(items));
    }
    if let Some(next) = next {
        answer.insert("next_page_token".to_owned(), Value::String(next));
    }
    Value::Object(answer)
}

/// MLflow's refusal of an absent parameter.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::invalid(format!("Missing value for required parameter '{name}'.{SEE_DOCS}"))
}

/// MLflow's refusal of a value of the wrong type.
pub(crate) fn invalid_value(name: &str, value: &Value) -> Failure {
    let kind = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    let shown = shown(value);
    Failure::invalid(format!(
        "Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'.{SEE_DOCS}"
    ))
}

/// A value as JSON, the long ones cut: they are not written beyond that.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 200;
    struct Shown {
        text: String,
        chars_left: usize,
    }
    impl Write for Shown {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.char_indices().nth(self.chars_left).map_or(text.len(), |(end, _)| end);
            self.text.push_str(&text[..end]);
            if end < text.len() {
                return Err(fmt::Error);
            }
            self.chars_left -= text.chars().count();
            Ok(())
        }
    }
    let mut shown = Shown { text: String::new(), chars_left: CHARS_MAX };
    if write!(shown, "{value}").is_err() {
        shown.text.push('…');
    }
    shown.text
}

fn whole(number: f64) -> Option<i64> {
    let integer = number as i64;
    (integer as f64 == number && number.abs() < 9.0e18).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_those_of_mlflow() {
        let args = Args::of_body(br#"{"name": 5, "step": "7", "at": 3.0, "tags": "x"}"#, &|_| Ok(())).unwrap();
        let hint = "Invalid value 5 for parameter 'name' supplied:  Hint: Value was of type 'int'. See the API docs for more \
                    information about request parameters.";
        assert_eq!(args.required("name").unwrap_err().message, hint);
        let absent = "Missing value for required parameter 'key'. See the API docs for more information about request parameters.";
        assert_eq!(args.required("key").unwrap_err().message, absent);
        assert_eq!((args.integer("step"), args.integer("at")), (Ok(Some(7)), Ok(Some(3))));
        assert!(args.list("tags").is_err());
    }

    #[test]
    fn a_query_string_has_texts_that_may_repeat() {
        let args = Args::of_query("run_ids=a&run_ids=b%2Fc&max_results=10&flag=True&x=a+b").unwrap();
        assert_eq!(args.texts("run_ids").unwrap(), ["a", "b/c"]);
        assert_eq!(args.integer("max_results").unwrap(), Some(10));
        assert_eq!((args.flag("flag").unwrap(), args.text("x").unwrap()), (Some(true), Some("a b")));
    }

    #[test]
    fn i5_numbers_survive_the_way_there_and_back() {
        for value in [0.1, -0.0, f64::MAX, 5e-324, f64::INFINITY, f64::NEG_INFINITY] {
            let body = format!(r#"{{"value": {}}}"#, float_json(value));
            let args = Args::of_body(body.as_bytes(), &|_| Ok(())).unwrap();
            assert_eq!(args.float("value").unwrap().map(f64::to_bits), Some(value.to_bits()), "{body}");
        }
        assert!(float_of_text("inf").is_none() && float_of_text("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn i9_json_is_charged_before_it_is_read_also_where_it_is_text() {
        let charged = |body: &str| {
            let charged = std::sync::Mutex::new(0);
            let refused = Args::of_body(body.as_bytes(), &|bytes| {
                *charged.lock().unwrap() += bytes;
                // It is not JSON either: who reads it says another thing.
                if bytes > 2_000 { Err(Failure::invalid("no room")) } else { Ok(()) }
            });
            (*charged.lock().unwrap(), refused.map_err(|failure| failure.message))
        };
        let (bytes, refused) = charged(r#"{"a":[{},{},{}"#);
        assert!(bytes > 4 * 700 && refused == Err("no room".to_owned()), "{bytes} {refused:?}");
        let escaped = r#""\u007b\"a\":[\u007b},\u007b},\u007b}]}""#;
        let (bytes, refused) = charged(escaped);
        assert!(bytes > 4 * 700 && refused == Err("no room".to_owned()), "{bytes} {refused:?}");
        assert_eq!(charged(r#"{"a":[{}]}"#).1.unwrap().objects("a").unwrap().len(), 1);
        // A text is there once more when it has been read, and again where it was JSON itself.
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(700));
        let both = |text: &str| json_tree_bytes(text.as_bytes()) + text.len();
        assert_eq!(charged(&long).0, both(&long));
        let quoted = Value::from(long.clone()).to_string();
        assert_eq!(charged(&quoted).0, both(&quoted) + both(&long));
    }

    #[test]
    fn long_values_are_shown_cut() {
        let long = |chars: usize| shown(&Value::from("ä".repeat(chars)));
        assert_eq!(long(198), format!("\"{}\"", "ä".repeat(198)));
        assert_eq!(long(199), format!("\"{}…", "ä".repeat(199)));
        assert_eq!(shown(&Value::from(vec![7; 1_000])).chars().count(), 201);
    }
}
