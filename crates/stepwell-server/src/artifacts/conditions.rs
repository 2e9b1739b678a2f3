//! Conditional requests and ranges (RFC 9110): no I/O.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

/// What a request asks of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// Bytes of it, not empty.
    Part(Range<u64>),
    /// The client has it.
    NotModified,
    /// It is not what the client takes it for.
    Failed,
    /// Bytes that it does not have.
    Unsatisfiable,
}

/// What is wanted of an artifact of that tag (with its quotes) and length.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, bytes: u64) -> Wanted {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_MATCH).is_some_and(|tags| !names(tags, etag)) {
        return Wanted::Failed;
    }
    if text(header::IF_NONE_MATCH).is_some_and(|tags| names(tags, etag)) {
        return Wanted::NotModified;
    }
    let is_same = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    match text(header::RANGE).filter(|_| is_same).and_then(|range| range.strip_prefix("bytes=")) {
        Some(range) => part(range.trim(), bytes),
        None => Wanted::Whole,
    }
}

/// Whether a list of tags names one.
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag)
}

/// One range. Several, and what cannot be read, are answered with the whole, as the RFC allows.
fn part(range: &str, bytes: u64) -> Wanted {
    let Some((first, last)) = range.split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Some(first), None) if last.is_empty() => first..bytes,
        (None, Some(suffix)) if first.is_empty() => bytes.saturating_sub(suffix)..bytes,
        _ => return Wanted::Whole,
    };
    if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(given: &[(HeaderName, &'static str)], bytes: u64) -> Wanted {
        let given = given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        wanted(&given.collect(), "\"t\"", bytes)
    }

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let range = |text| of(&[(header::RANGE, text)], 10);
        assert_eq!(range("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(range("bytes=2-"), Wanted::Part(2..10));
        assert_eq!(range("bytes=-3"), Wanted::Part(7..10));
        assert_eq!(range("bytes=-30"), Wanted::Part(0..10));
        assert_eq!(range("bytes=5-99999999999999999999999"), Wanted::Part(5..10));
        for unsatisfiable in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(range(unsatisfiable), Wanted::Unsatisfiable, "{unsatisfiable}");
        }
        for whole in ["bytes=3-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=+1-2"] {
            assert_eq!(range(whole), Wanted::Whole, "{whole}");
        }
        assert_eq!(of(&[(header::RANGE, "bytes=0-")], 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let range = (header::RANGE, "bytes=0-0");
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"x\", W/\"t\""), range.clone()], 10), Wanted::NotModified);
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"x\"")], 10), Wanted::Whole);
        assert_eq!(of(&[(header::IF_MATCH, "\"x\""), range.clone()], 10), Wanted::Failed);
        assert_eq!(of(&[(header::IF_MATCH, "*"), range.clone()], 10), Wanted::Part(0..1));
        assert_eq!(of(&[(header::IF_RANGE, "\"x\""), range.clone()], 10), Wanted::Whole);
        assert_eq!(of(&[(header::IF_RANGE, "\"t\""), range], 10), Wanted::Part(0..1));
    }
}
