//! Filters and orders as words.

/// A word of a filter, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Names joined by dots, each bare or in backticks or quotes; also one name in double quotes, which may be a value.
    Identifier,
    /// Names with other characters than a bare name may have.
    Operation,
    /// In single quotes.
    Text,
    Number,
    /// `=`, `>=`, `LIKE` and the like.
    Comparator,
    /// Balanced, with what it encloses.
    Parenthesis,
    And,
    In,
    Is,
    Not,
    Null,
    Semicolon,
    /// Anything else, a character or reserved word.
    Other,
}

impl Kind {
    /// Whether it can stand beside a comparator.
    pub(super) fn is_operand(self) -> bool {
        matches!(self, Self::Identifier | Self::Operation | Self::Text | Self::Number | Self::Parenthesis | Self::Null)
    }
}

/// After so many it is clear that a text is refused. What opens a pair and has no end costs a look at all that follows.
const OTHERS_MAX: usize = 20;

/// Words of a text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let mut others = 0;
    while let Some(first) = rest.chars().next().filter(|_| others < OTHERS_MAX) {
        let (kind, bytes) = token(rest, first);
        let (text, after) = rest.split_at(bytes);
        tokens.push(Token { kind, text });
        others += usize::from(kind == Kind::Other);
        rest = after.trim_start();
    }
    tokens
}

/// The word that `rest` begins with, which begins with `first`, and its length in bytes.
fn token(rest: &str, first: char) -> (Kind, usize) {
    match first {
        ';' => (Kind::Semicolon, 1),
        '\'' => quoted(rest, '\'').map_or((Kind::Other, 1), |bytes| (Kind::Text, bytes)),
        '(' => parenthesis(rest).map_or((Kind::Other, 1), |bytes| (Kind::Parenthesis, bytes)),
        '<' | '>' | '=' | '~' | '!' => {
            let is_symbol = |symbol: char| matches!(symbol, '<' | '>' | '=' | '~' | '!');
            (Kind::Comparator, rest.find(|symbol| !is_symbol(symbol)).unwrap_or(rest.len()))
        }
        _ => match number(rest) {
            Some(bytes) => (Kind::Number, bytes),
            None => path(rest).unwrap_or((Kind::Other, first.len_utf8())),
        },
    }
}

/// The length of a text in quotes; two quotes, or one after a backslash, do not end it, unless nothing else does.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut end = None;
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, here)) = chars.next() {
        if here == '\\' && chars.next_if(|&(_, next)| next == quote).is_some() {
            end = Some(at + 2);
        } else if here == quote {
            if chars.next_if(|&(_, next)| next == quote).is_none() {
                return Some(at + 1);
            }
            end = Some(at + 1);
        }
    }
    end
}

/// The length of a name in backticks; two are one of its characters.
fn backticked(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, here)) = chars.next() {
        if here == '`' && chars.next_if(|&(_, next)| next == '`').is_none() {
            return Some(at + 1);
        }
    }
    None
}

fn parenthesis(rest: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(here) = rest[at..].chars().next() {
        match here {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            '\'' | '"' => {
                at += quoted(&rest[at..], here)?;
                continue;
            }
            _ => {}
        }
        at += here.len_utf8();
    }
    None
}

fn is_word(here: char) -> bool {
    here.is_alphanumeric() || here == '_'
}

/// The length of a number that no letter follows.
fn number(rest: &str) -> Option<usize> {
    let digits = |at: usize| at + rest[at..].bytes().take_while(u8::is_ascii_digit).count();
    let start = usize::from(rest.starts_with('-'));
    let mut end = digits(start);
    let mut has_digits = end > start;
    if rest[end..].starts_with('.') {
        let fraction = digits(end + 1);
        has_digits |= fraction > end + 1;
        end = fraction;
    }
    if !has_digits {
        return None;
    }
    if let Some(sign) = rest[end..].strip_prefix(['e', 'E']) {
        let start = end + 1 + usize::from(sign.starts_with(['-', '+']));
        let exponent = digits(start);
        if exponent > start {
            end = exponent;
        }
    }
    let is_name = rest[end..].starts_with(|next: char| is_word(next) || matches!(next, '.' | '`'));
    (!is_name).then_some(end)
}

/// Names joined by dots, or a reserved word.
fn path(rest: &str) -> Option<(Kind, usize)> {
    let mut end = segment(rest, false)?;
    let is_bare = rest[..end].chars().all(is_word);
    if is_bare
        && !rest[end..].starts_with('.')
        && let Some(kind) = reserved(&rest[..end])
    {
        return Some((kind, end));
    }
    while let Some(after) = rest[end..].strip_prefix('.') {
        match segment(after, true) {
            Some(bytes) => end += 1 + bytes,
            None => return Some((Kind::Identifier, end + 1)),
        }
    }
    let is_operator = |next: char| matches!(next, '-' | '+' | '/' | '*' | '@' | '%' | '^' | '&' | '|' | ':');
    if !rest[end..].starts_with(is_operator) {
        return Some((Kind::Identifier, end));
    }
    let ends =
        |next: char| next.is_whitespace() || matches!(next, '<' | '>' | '=' | '~' | '!' | ';' | '\'' | '(' | ')');
    Some((Kind::Operation, end + rest[end..].find(ends).unwrap_or(rest.len() - end)))
}

/// The length of one name.
fn segment(rest: &str, may_be_single: bool) -> Option<usize> {
    match rest.chars().next()? {
        '`' => backticked(rest),
        '"' => quoted(rest, '"'),
        '\'' if may_be_single => quoted(rest, '\''),
        first if is_word(first) => {
            Some(rest.find(|next| !is_word(next) && !matches!(next, '$' | '#')).unwrap_or(rest.len()))
        }
        _ => None,
    }
}

fn reserved(word: &str) -> Option<Kind> {
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    let kinds = [("AND", Kind::And), ("IN", Kind::In), ("IS", Kind::Is), ("NOT", Kind::Not), ("NULL", Kind::Null)];
    let kind = kinds.iter().find(|(name, _)| is(name)).map(|&(_, kind)| kind);
    let is_comparator = ["LIKE", "ILIKE", "RLIKE", "REGEXP"].into_iter().any(is);
    let is_other = ["OR", "TRUE", "FALSE", "BETWEEN", "CASE", "FROM", "AS", "SELECT", "WHERE"].into_iter().any(is);
    kind.or_else(|| is_comparator.then_some(Kind::Comparator)).or_else(|| is_other.then_some(Kind::Other))
}
