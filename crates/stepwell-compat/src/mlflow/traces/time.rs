//! Times as protocol buffers have them in JSON.

use serde_json::Value;
use stepwell_types::{format_utc_us, parse_utc_us};

use crate::mlflow::{
    args::{Args, invalid_value},
    failure::Failure,
};

/// Microseconds of milliseconds.
pub(super) fn us_of_ms(ms: i64) -> i64 {
    ms.saturating_mul(1_000)
}

/// The last microsecond of a millisecond.
pub(super) fn end_of_ms(ms: i64) -> i64 {
    us_of_ms(ms).saturating_add(999)
}

/// A time, microseconds since the Unix epoch: RFC 3339, or milliseconds.
pub(super) fn timestamp(args: &Args<'_>, name: &str) -> Result<Option<i64>, Failure> {
    match args.value(name) {
        None => Ok(None),
        Some(Value::String(text)) => {
            parse_utc_us(text).map(Some).ok_or_else(|| invalid_value(name, &Value::String(text.clone())))
        }
        Some(_) => Ok(args.integer(name)?.map(us_of_ms)),
    }
}

/// As it is sent.
pub(super) fn shown(us: i64) -> String {
    format_utc_us(us)
}

/// A duration, microseconds: seconds with a fraction and `s`.
pub(super) fn duration(args: &Args<'_>, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = args.text(name)? else { return Ok(None) };
    let invalid = || invalid_value(name, &Value::String(text.to_owned()));
    let number = text.strip_suffix('s').ok_or_else(invalid)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !is_number(digits) || !is_number(fraction) {
        return Err(invalid());
    }
    let seconds: i64 = digits.parse().map_err(|_| invalid())?;
    let us: i64 = format!("{fraction:0<6}")[..6].parse().map_err(|_| invalid())?;
    let total = seconds.saturating_mul(1_000_000).saturating_add(us);
    Ok(Some(if whole.starts_with('-') { -total } else { total }))
}

/// As it is sent.
pub(super) fn shown_duration(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    format!("{sign}{}.{:06}s", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for us in [0, 1, 999_999, 1_500_000, 86_400_000_000, -1_500_000] {
            let body = format!(r#"{{"d": "{}"}}"#, shown_duration(us));
            assert_eq!(duration(&Args::of_body(body.as_bytes(), &|_| Ok(())).unwrap(), "d"), Ok(Some(us)), "{body}");
        }
        let args =
            Args::of_body(br#"{"a": "2s", "b": "0.25s", "c": "1", "d": "s", "e": "1.2.3s", "f": ".5s"}"#, &|_| Ok(()))
                .unwrap();
        assert_eq!((duration(&args, "a"), duration(&args, "b")), (Ok(Some(2_000_000)), Ok(Some(250_000))));
        for name in ["c", "d", "e", "f"] {
            assert!(duration(&args, name).is_err(), "{name}");
        }
        let args =
            Args::of_body(br#"{"a": "2025-01-02T03:04:05.678Z", "b": 1500, "c": "yesterday"}"#, &|_| Ok(())).unwrap();
        let time = timestamp(&args, "a").unwrap().unwrap();
        let body = format!(r#"{{"a": "{}"}}"#, shown(time));
        assert_eq!(timestamp(&Args::of_body(body.as_bytes(), &|_| Ok(())).unwrap(), "a"), Ok(Some(time)));
        assert_eq!((time % 1_000_000, timestamp(&args, "b")), (678_000, Ok(Some(1_500_000))));
        assert!(timestamp(&args, "c").is_err());
    }
}
