//! Names near to one that is unknown.

/// Names offered.
const OFFERED_MAX: usize = 3;

/// The nearest of `known` by edit distance, best first; none that differs in more than half of its letters.
pub(crate) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let unknown = unknown.to_lowercase();
    let limit = unknown.chars().count().div_ceil(2);
    let mut ranked: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(&unknown, &name.to_lowercase()), name))
        .filter(|(d, _)| *d <= limit)
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(OFFERED_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_name() {
        assert_eq!(nearest("metrc", ["metric", "run_id", "value"]), ["metric"]);
        assert_eq!(nearest("zzz", ["metric"]), Vec::<String>::new());
    }
}
