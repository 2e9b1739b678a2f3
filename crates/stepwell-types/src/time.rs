//! UTC time as text, for metadata and messages. Civil-date arithmetic after Howard Hinnant's "chrono-compatible
//! low-level date algorithms".

/// `2026-11-23T16:05:14.000001Z` from microseconds since the Unix epoch.
pub fn format_utc_us(timestamp_us: i64) -> String {
    let (seconds, micros) = (timestamp_us.div_euclid(1_000_000), timestamp_us.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads RFC 3339 (`Z` or a numeric offset, up to nine fraction digits, cut to microseconds); `None` if it is not that.
pub fn parse_utc_us(text: &str) -> Option<i64> {
    let text = text.trim();
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let at = |position: usize, wanted: &[u8]| text.as_bytes().get(position).is_some_and(|byte| wanted.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range || [hour, minute, second].iter().any(|part| *part < 0) {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let padded = format!("{:0<6}", &fraction[..digits]);
        micros = padded[..6].parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_seconds = match rest {
        "Z" | "z" => 0,
        _ if rest.len() == 6 && matches!(rest.as_bytes(), [b'+' | b'-', ..]) && rest.as_bytes()[3] == b':' => {
            let magnitude = rest.get(1..3)?.parse::<i64>().ok()? * 3_600 + rest.get(4..6)?.parse::<i64>().ok()? * 60;
            if rest.starts_with('-') { -magnitude } else { magnitude }
        }
        _ => return None,
    };
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset_seconds) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_text_round_trips() {
        assert_eq!(format_utc_us(0), "1970-01-01T00:00:00.000000Z");
        for us in [0, -1, 1_790_000_000_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999] {
            assert_eq!(parse_utc_us(&format_utc_us(us)), Some(us), "{us}");
        }
        assert_eq!(parse_utc_us("2026-11-23T16:05:14+01:00"), parse_utc_us("2026-11-23T15:05:14Z"));
        for bad in ["", "2026", "2026-13-01T00:00:00Z", "2026-11-23T16:05:14", "2026-11-23T16:05:14.Z"] {
            assert_eq!(parse_utc_us(bad), None, "{bad}");
        }
    }
}
