//! Choosing the form of an answer by the header `Accept` (RFC 9110 §12.5.1).

use axum::http::{HeaderMap, header};

use crate::problem::Problem;

/// The form of `offered`, in order of preference, that the client likes best.
pub(crate) fn choose(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Problem> {
    let given: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = given.iter().flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
    if ranges.is_empty() {
        return Ok(offered[0]);
    }
    let mut best: Option<(&'static str, u16)> = None;
    for form in offered {
        // The most specific range that matches decides.
        let quality = ranges.iter().filter_map(|range| range.matches(form)).max_by_key(|(specific, _)| *specific);
        let Some((_, quality)) = quality else { continue };
        if quality > 0 && best.is_none_or(|(_, so_far)| quality > so_far) {
            best = Some((form, quality));
        }
    }
    best.map(|(form, _)| form).ok_or_else(|| Problem::not_acceptable(&offered.join(", ")))
}

/// One media range with its weight in thousandths.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality = weight.map_or(Some(1.0), |text| text.parse::<f32>().ok())?;
        Some(Self { main, sub, quality: (quality.clamp(0.0, 1.0) * 1000.0) as u16 })
    }

    fn matches(&self, form: &str) -> Option<(u8, u16)> {
        let (main, sub) = form.split(';').next()?.split_once('/')?;
        let same_main = self.main.eq_ignore_ascii_case(main);
        match (self.main, self.sub) {
            ("*", "*") => Some((0, self.quality)),
            (_, "*") if same_main => Some((1, self.quality)),
            (_, given) if same_main && given.eq_ignore_ascii_case(sub) => Some((2, self.quality)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 3] = ["application/json", "text/csv", "application/vnd.apache.parquet"];

    fn chosen(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        choose(&headers, &OFFERED).ok()
    }

    #[test]
    fn weights_and_wildcards_decide() {
        assert_eq!(choose(&HeaderMap::new(), &OFFERED).unwrap(), OFFERED[0]);
        assert_eq!(chosen("*/*"), Some(OFFERED[0]));
        assert_eq!(chosen("text/*"), Some(OFFERED[1]));
        assert_eq!(chosen("application/json;q=0.1, text/csv; q=0.9"), Some(OFFERED[1]));
        assert_eq!(chosen("*/*;q=0.1, application/vnd.apache.parquet"), Some(OFFERED[2]));
        assert_eq!(chosen("application/json;q=0, */*"), Some(OFFERED[1]));
        assert_eq!(chosen("image/png"), None);
    }
}
