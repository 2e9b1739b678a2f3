//! From a text to a [`Filter`].

use super::{
    clause::clause,
    filter::Filter,
    lexer::{Kind, Token, tokens},
    surface::Surface,
};
use crate::mlflow::failure::Failure;

/// Longer filters are refused.
const BYTES_MAX: usize = 1 << 20;
/// Filters of more clauses are refused.
const CLAUSES_MAX: usize = 500;

/// A comparison as it is written: `comparator` in capital letters.
pub(super) struct Written<'a> {
    pub(super) left: Token<'a>,
    pub(super) comparator: String,
    pub(super) right: Option<Token<'a>>,
}

impl Filter {
    /// Reads a filter of such records; nothing at all lets everything pass.
    pub(crate) fn parse(surface: Surface, text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > BYTES_MAX {
            return Err(Failure::invalid(format!("The filter is longer than {BYTES_MAX} bytes.")));
        }
        let tokens = tokens(text);
        if tokens.is_empty() {
            return Err(Failure::invalid(format!("Invalid filter '{text}'. Could not be parsed.")));
        }
        if tokens.iter().rev().skip(1).any(|token| token.kind == Kind::Semicolon) {
            let shown = text.chars().take(1_000).collect::<String>();
            return Err(Failure::invalid(format!(
                "Search filter contained multiple expression '{shown}'. Provide AND-ed expression list."
            )));
        }
        let written = comparisons(surface, text, &tokens)?;
        if written.len() > CLAUSES_MAX {
            return Err(Failure::invalid(format!("The filter has more than {CLAUSES_MAX} comparisons.")));
        }
        let clauses = written.iter().map(|written| clause(surface, written)).collect::<Result<_, _>>()?;
        Ok(Self { clauses })
    }
}

/// All comparisons. What is between them is AND, or nothing; any other word is refused.
fn comparisons<'a>(surface: Surface, text: &str, tokens: &[Token<'a>]) -> Result<Vec<Written<'a>>, Failure> {
    let mut written = Vec::new();
    let mut invalid = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if first.kind == Kind::And {
            rest = after;
            continue;
        }
        match comparison(rest) {
            Some((comparison, words)) => {
                written.push(comparison);
                rest = &rest[words..];
            }
            None => {
                invalid.push(first.text);
                rest = after;
            }
        }
    }
    if invalid.is_empty() {
        return Ok(written);
    }
    let quote = if surface == Surface::Runs { "'" } else { "" };
    let shown: Vec<String> = invalid.iter().take(20).map(|text| format!("{quote}{text}{quote}")).collect();
    Err(Failure::invalid(match surface {
        Surface::LoggedModels => format!(
            "Invalid filter string: '{}'. Expected a list of comparisons separated by 'AND' (e.g. 'metrics.loss > 0.1 AND \
             params.lr = 0.01').",
            text.chars().take(1_000).collect::<String>()
        ),
        _ => format!("Invalid clause(s) in filter string: {}", shown.join(", ")),
    }))
}

/// The comparison that the words begin with, and of how many it is.
fn comparison<'a>(tokens: &[Token<'a>]) -> Option<(Written<'a>, usize)> {
    let kind = |at: usize| tokens.get(at).map(|token| token.kind);
    let left = *tokens.first()?;
    let of = |comparator: &str, words: usize, right: Option<usize>| {
        let right = right.and_then(|at| tokens.get(at).copied());
        Some((Written { left, comparator: comparator.to_ascii_uppercase(), right }, words))
    };
    if left.kind.is_operand()
        && kind(1) == Some(Kind::Comparator)
        && tokens.get(2).is_some_and(|token| token.kind.is_operand())
    {
        return of(tokens[1].text, 3, Some(2));
    }
    if left.kind != Kind::Identifier {
        return None;
    }
    match (kind(1)?, kind(2)?, kind(3)) {
        (Kind::In, Kind::Parenthesis, _) => of("IN", 3, Some(2)),
        (Kind::Not, Kind::In, Some(Kind::Parenthesis)) => of("NOT IN", 4, Some(3)),
        (Kind::Is, Kind::Null, _) => of("IS NULL", 3, None),
        (Kind::Is, Kind::Not, Some(Kind::Null)) => of("IS NOT NULL", 4, None),
        _ => None,
    }
}
