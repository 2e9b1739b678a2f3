//! The hparams plugin: a run's parameters and how it ended, in the metadata of two tags.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::proto::{Malformed, Message, Value, text};

/// What the sessions of a run say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Session {
    pub(super) params: BTreeMap<String, Json>,
    /// `finished` or `failed`, once the session ended.
    pub(super) status: Option<&'static str>,
    /// Microseconds since the Unix epoch, UTC.
    pub(super) ended_at_us: Option<i64>,
}

impl Session {
    /// Reads the content of an hparams tag (`HParamsPluginData`). `wall_time_us` is the event's.
    pub(super) fn read(&mut self, content: &[u8], wall_time_us: i64) -> Result<(), Malformed> {
        let mut message = Message::new(content);
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (3, Value::Bytes(start)) => self.read_start(start)?,
                (4, Value::Bytes(end)) => self.read_end(end, wall_time_us)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `SessionStartInfo`.
    fn read_start(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        // A resumed run starts a second session: it runs again.
        (self.status, self.ended_at_us) = (None, None);
        let mut message = Message::new(bytes);
        while let Some((field, value)) = message.next()? {
            let (1, Value::Bytes(entry)) = (field, value) else { continue };
            let (mut name, mut param) = ("", None);
            let mut entry = Message::new(entry);
            while let Some((field, value)) = entry.next()? {
                match (field, value) {
                    (1, Value::Bytes(bytes)) => name = text(bytes)?,
                    (2, Value::Bytes(bytes)) => param = json_value(bytes)?,
                    _ => {}
                }
            }
            if let Some(param) = param {
                self.params.insert(name.to_owned(), param);
            }
        }
        Ok(())
    }

    /// `SessionEndInfo`.
    fn read_end(&mut self, bytes: &[u8], wall_time_us: i64) -> Result<(), Malformed> {
        let mut message = Message::new(bytes);
        while let Some((field, value)) = message.next()? {
            if let (1, Value::Varint(status)) = (field, value) {
                self.status = match status {
                    1 => Some("finished"),
                    2 => Some("failed"),
                    _ => None,
                };
            }
        }
        self.ended_at_us = self.status.map(|_| wall_time_us);
        Ok(())
    }
}

/// A `google.protobuf.Value` of the kinds that hparams have; `None` for null, lists and structures.
fn json_value(bytes: &[u8]) -> Result<Option<Json>, Malformed> {
    let mut result = None;
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        result = match (field, value) {
            (2, Value::Fixed64(bits)) => Some(number(f64::from_le_bytes(bits))),
            (3, Value::Bytes(bytes)) => Some(json!(text(bytes)?)),
            (4, Value::Varint(value)) => Some(json!(value != 0)),
            _ => result,
        };
    }
    Ok(result)
}

/// JSON has no NaN or infinity: they are text, as everywhere in the API.
fn number(value: f64) -> Json {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}
