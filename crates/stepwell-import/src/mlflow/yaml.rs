//! As much YAML as the file store writes: one mapping of names to scalars, long ones folded.

use std::collections::BTreeMap;

/// Such a mapping.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flat {
    values: BTreeMap<String, Option<String>>,
    /// Mappings within it.
    nested: BTreeMap<String, Vec<(String, String)>>,
}

impl Flat {
    /// A text; empty if it is absent or null.
    pub(super) fn text(&self, name: &str) -> String {
        self.values.get(name).cloned().flatten().unwrap_or_default()
    }

    /// A mapping within it, by its name.
    pub(super) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.nested.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.as_ref()?.parse().ok()
    }
}

/// Reads the mapping; lines that are not of one are left out.
pub(super) fn read(text: &str) -> Flat {
    let mut flat = Flat::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, first)) = line.split_once(':').filter(|_| !line.starts_with([' ', '-', '#'])) else { continue };
        let mut scalar = first.trim().to_owned();
        if scalar.is_empty() {
            let mut pairs = Vec::new();
            while let Some((key, of_key)) = lines.peek().and_then(|next| next.strip_prefix("  ")?.split_once(": ")) {
                pairs.push((key.trim().to_owned(), value(of_key.trim()).unwrap_or_default()));
                lines.next();
            }
            flat.nested.insert(name.trim().to_owned(), pairs);
        }
        // An empty line within a scalar is a line break of it, the end of another line is a space.
        let mut breaks = 0;
        while let Some(next) = lines.peek().filter(|next| next.is_empty() || next.starts_with(' ')) {
            match next.trim() {
                "" => breaks += 1,
                part => {
                    let ended = scalar.ends_with('\\') && scalar.starts_with('"');
                    if ended {
                        scalar.pop();
                    }
                    scalar += &if breaks > 0 { "\n".repeat(breaks) } else { if ended { "" } else { " " }.to_owned() };
                    scalar += if ended { part.strip_prefix('\\').unwrap_or(part) } else { part };
                    breaks = 0;
                }
            }
            lines.next();
        }
        flat.values.insert(name.trim().to_owned(), value(&scalar));
    }
    flat
}

fn value(scalar: &str) -> Option<String> {
    let quoted = |quote: char| scalar.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = quoted('\'') {
        return Some(inner.replace("''", "'"));
    }
    if let Some(inner) = quoted('"') {
        // Its escapes are those of JSON, but for \x, \e and the like, which the file store has no use for.
        return Some(serde_json::from_str(&format!("\"{inner}\"")).unwrap_or_else(|_| inner.to_owned()));
    }
    (!matches!(scalar, "" | "null" | "~")).then(|| scalar.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_the_file_store_writes_them() {
        let text = "artifact_location: file:///tmp/mlruns/0\nend_time: null\nname: 'it''s: a name'\nodd: \"tab\\t \\\"q\\\" \\xFC\"\n\
                    run_name: a long name that\n  goes on\nstart_time: 1700000000000\ntags: []\nlines: 'one\n\n  two'\n";
        let flat = read(text);
        assert_eq!(flat.text("artifact_location"), "file:///tmp/mlruns/0");
        assert_eq!((flat.text("end_time"), flat.integer("end_time")), (String::new(), None));
        assert_eq!(flat.text("name"), "it's: a name");
        assert_eq!(flat.text("run_name"), "a long name that goes on");
        assert_eq!(flat.integer("start_time"), Some(1_700_000_000_000));
        assert_eq!(flat.text("lines"), "one\ntwo");
        assert_eq!(read("name: \"a\\tb\"").text("name"), "a\tb");
        assert_eq!(read("").text("name"), "");
        let nested = read("aliases:\n  champion: '4'\n  old: '1'\nname: m\n");
        assert_eq!(
            nested.pairs("aliases"),
            [("champion".to_owned(), "4".to_owned()), ("old".to_owned(), "1".to_owned())]
        );
        assert_eq!((nested.text("name"), nested.pairs("tags")), ("m".to_owned(), Vec::new()));
    }
}
