//! `Event` messages and the summary values in them.

use super::proto::{Malformed, Message, Value, text};

/// One event.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Event<'a> {
    /// Microseconds since the Unix epoch, UTC.
    pub(super) wall_time_us: i64,
    pub(super) step: i64,
    message: &'a [u8],
}

impl<'a> Event<'a> {
    /// Hands the values of its summary to `each`, one by one: a list of them can take forty times the bytes of the record.
    pub(super) fn for_each_value(&self, mut each: impl FnMut(SummaryValue<'a>)) -> Result<(), Malformed> {
        let mut message = Message::new(self.message);
        while let Some((field, value)) = message.next()? {
            if let (5, Value::Bytes(summary)) = (field, value) {
                read_summary(summary, &mut each)?;
            }
        }
        Ok(())
    }
}

/// One value of an event's summary.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SummaryValue<'a> {
    pub(super) tag: &'a str,
    pub(super) simple_value: Option<f32>,
    /// A `TensorProto`.
    pub(super) tensor: Option<&'a [u8]>,
    pub(super) metadata: Option<PluginData<'a>>,
}

/// Which plugin a tag belongs to, and what it keeps there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PluginData<'a> {
    pub(super) plugin: &'a str,
    pub(super) content: &'a [u8],
}

/// Reads an `Event`, all of whose values are looked at once.
pub(super) fn parse(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
    let mut event = Event { message: bytes, ..Event::default() };
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Fixed64(bits)) => event.wall_time_us = microseconds(f64::from_le_bytes(bits)),
            (2, Value::Varint(step)) => event.step = step.cast_signed(),
            _ => {}
        }
    }
    event.for_each_value(|_| {})?;
    Ok(event)
}

/// Seconds as whole microseconds. What no i64 holds becomes the nearest that does, NaN zero.
pub(super) fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

fn read_summary<'a>(bytes: &'a [u8], each: &mut impl FnMut(SummaryValue<'a>)) -> Result<(), Malformed> {
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        if let (1, Value::Bytes(value)) = (field, value) {
            each(parse_value(value)?);
        }
    }
    Ok(())
}

fn parse_value(bytes: &[u8]) -> Result<SummaryValue<'_>, Malformed> {
    let mut summary = SummaryValue::default();
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Bytes(tag)) => summary.tag = text(tag)?,
            (2, Value::Fixed32(bits)) => summary.simple_value = Some(f32::from_le_bytes(bits)),
            (8, Value::Bytes(tensor)) => summary.tensor = Some(tensor),
            (9, Value::Bytes(metadata)) => summary.metadata = Some(parse_metadata(metadata)?),
            _ => {}
        }
    }
    Ok(summary)
}

fn parse_metadata(bytes: &[u8]) -> Result<PluginData<'_>, Malformed> {
    let mut data = PluginData::default();
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        let (1, Value::Bytes(plugin_data)) = (field, value) else { continue };
        let mut message = Message::new(plugin_data);
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Bytes(name)) => data.plugin = text(name)?,
                (2, Value::Bytes(content)) => data.content = content,
                _ => {}
            }
        }
    }
    Ok(data)
}
