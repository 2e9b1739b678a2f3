//! LIKE and ILIKE.

/// A pattern: `%` stands for any text, `_` for any one character; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    chars: Vec<char>,
    minds_case: bool,
}

impl Pattern {
    /// Longer patterns are refused: what a comparison costs is the product of the lengths.
    pub(super) const CHARS_MAX: usize = 4_000;

    /// `None` if it is too long.
    pub(super) fn new(pattern: &str, minds_case: bool) -> Option<Self> {
        if pattern.chars().count() > Self::CHARS_MAX {
            return None;
        }
        let pattern = if minds_case { pattern.to_owned() } else { pattern.to_lowercase() };
        let mut chars: Vec<char> = pattern.chars().collect();
        chars.dedup_by(|a, b| *a == '%' && *b == '%');
        Some(Self { chars, minds_case })
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.minds_case {
            self.matches_chars(&mut text.chars())
        } else {
            self.matches_chars(&mut text.to_lowercase().chars())
        }
    }

    /// Of a `%` the shortest stretch is tried first; once a later `%` is reached, an earlier one need not be longer.
    fn matches_chars(&self, text: &mut std::str::Chars<'_>) -> bool {
        let mut at = 0;
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if self.chars.get(at) == Some(&'%') {
                at += 1;
                if at == self.chars.len() {
                    return true;
                }
                retry = Some((at, text.clone()));
                continue;
            }
            let here = text.next();
            match (self.chars.get(at), here) {
                (None, None) => return true,
                (Some('_'), Some(_)) => at += 1,
                (Some(wanted), Some(found)) if *wanted == found => at += 1,
                // The text has ended: a longer `%` would leave even less.
                (Some(_), None) => return false,
                _ => match &mut retry {
                    None => return false,
                    Some((after, rest)) => {
                        if rest.next().is_none() {
                            return false;
                        }
                        at = *after;
                        *text = rest.clone();
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('%', rest)), _) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            (Some((wanted, rest)), Some((found, others))) => (*wanted == '_' || wanted == found) && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_trying_everything_does(pattern in "[ab_%]{0,8}", text in "[abc]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Pattern::new(&pattern, true).unwrap().matches(&text), expected);
        }
    }

    #[test]
    fn case_counts_or_does_not() {
        let matches = |pattern: &str, minds_case, text: &str| Pattern::new(pattern, minds_case).unwrap().matches(text);
        assert!(matches("Ada%", true, "Adam") && !matches("ada%", true, "Adam"));
        assert!(matches("ada%", false, "ADAM") && matches("ÜB_", false, "übe"));
        assert!(matches("C+%", true, "C+W bar") && !matches("C.W", true, "C+W"));
        assert!(Pattern::new(&"a".repeat(Pattern::CHARS_MAX + 1), true).is_none());
    }

    #[test]
    fn i9_a_hostile_pattern_takes_no_longer_than_the_product_of_the_lengths() {
        let pattern = Pattern::new(&format!("{}b", "%a".repeat(1_900)), true).unwrap();
        assert!(!pattern.matches(&"a".repeat(8_000)));
    }
}
