//! From a written comparison to a [`Clause`].

use std::collections::HashSet;

use super::{
    filter::{Clause, Comparison, Entity, Number, NumberOperator},
    identifier::Identifier,
    lexer::{Kind, Token},
    like::Pattern,
    literal::{ListError, list, number, shown_set, unquoted},
    parser::Written,
    surface::{AttributeKind, Surface},
};
use crate::mlflow::failure::Failure;

const TEXT_COMPARATORS: [&str; 4] = ["!=", "=", "LIKE", "ILIKE"];
const NULL_COMPARATORS: [&str; 6] = ["!=", "=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"];
const LIST_COMPARATORS: [&str; 6] = ["!=", "=", "LIKE", "ILIKE", "IN", "NOT IN"];
const NUMBER_COMPARATORS: [&str; 6] = [">", ">=", "!=", "=", "<", "<="];

/// What a comparison is of, for the words of its refusal.
#[derive(Clone, Copy)]
struct Subject {
    surface: Surface,
    entity: Entity,
}

impl Subject {
    /// MLflow's words, with the apostrophe that it leaves out for some.
    fn unknown_comparator(self, comparator: &str, known: &[&str]) -> Failure {
        let name = self.entity.name();
        let end = match (self.surface, self.entity) {
            (Surface::Experiments, Entity::Tag) | (Surface::RegisteredModels | Surface::ModelVersions, _) => {
                return Failure::invalid(format!("Invalid comparator for {name}: {comparator}"));
            }
            (_, Entity::Metric | Entity::Tag | Entity::Dataset) => "",
            (_, Entity::Param | Entity::Attribute) => "'",
        };
        let known = shown_set(known.iter().copied());
        Failure::invalid(format!("Invalid comparator '{comparator}' not one of '{known}{end}"))
    }
}

/// Reads one comparison.
pub(super) fn clause(surface: Surface, written: &Written<'_>) -> Result<Clause, Failure> {
    if written.left.kind != Kind::Identifier {
        let found = written.left.text;
        return Err(Failure::invalid(format!("Invalid comparison clause. Expected 'Identifier' found '{found}'")));
    }
    let identifier = Identifier::parse(surface, written.left.text, surface.attributes())?;
    let Some(right) = written.right else {
        return absence(surface, identifier, written);
    };
    let subject = Subject { surface, entity: identifier.entity };
    let comparison = match (identifier.entity, identifier.kind) {
        (Entity::Metric, _) => metric(subject, written, right)?,
        (Entity::Param | Entity::Tag | Entity::Attribute, AttributeKind::Text) if surface == Surface::LoggedModels => {
            lenient(subject, written, right)?
        }
        (Entity::Param | Entity::Tag, _) => {
            let name = identifier.entity.name();
            let what =
                || format!("Expected a quoted string value for {name} (e.g. 'my-value'). Got value {}", right.text);
            let text = text_value(right)?.ok_or_else(|| Failure::invalid(what()))?;
            let known: &[&str] =
                if surface.knows_null(identifier.entity) { &NULL_COMPARATORS } else { &TEXT_COMPARATORS };
            text_comparison(subject, &written.comparator, text, known)?
        }
        (Entity::Attribute, AttributeKind::Number) => numeric_attribute(subject, &identifier, written, right)?,
        (Entity::Attribute, AttributeKind::Id) => id_attribute(surface, &identifier, written, right)?,
        (Entity::Attribute, AttributeKind::Text) => attribute(subject, &identifier, written, right)?,
        (Entity::Dataset, _) => {
            let what = || format!("Expected a quoted string value for dataset attributes. Got value {}", right.text);
            text_or_list(subject, written, right, what)?
        }
    };
    Ok(Clause { entity: identifier.entity, key: identifier.key, comparison })
}

fn absence(surface: Surface, identifier: Identifier, written: &Written<'_>) -> Result<Clause, Failure> {
    let Identifier { entity, key, .. } = identifier;
    if !surface.knows_null(entity) {
        return Err(Failure::invalid(match surface {
            Surface::Runs => format!(
                "IS NULL / IS NOT NULL is only supported for tags and params, not for '{}' '{key}'",
                entity.name()
            ),
            Surface::Experiments => {
                format!("IS NULL / IS NOT NULL is only supported for tags, not for attribute '{key}'")
            }
            _ => return Err(Subject { surface, entity }.unknown_comparator(&written.comparator, &TEXT_COMPARATORS)),
        }));
    }
    Ok(Clause { entity, key, comparison: Comparison::Absent(written.comparator == "IS NULL") })
}

fn metric(subject: Subject, written: &Written<'_>, right: Token<'_>) -> Result<Comparison, Failure> {
    let what = || Failure::invalid(format!("Expected numeric value type for metric. Found {}", right.text));
    let value = Some(right).filter(|token| token.kind == Kind::Number).and_then(|token| number(token.text));
    number_comparison(subject, &written.comparator, value.ok_or_else(what)?)
}

fn numeric_attribute(
    subject: Subject,
    identifier: &Identifier,
    written: &Written<'_>,
    right: Token<'_>,
) -> Result<Comparison, Failure> {
    let surface = subject.surface;
    let key = &identifier.written;
    let whole = |value: Number, shown: &str| match value {
        Number::Integer(_) => Ok(value),
        Number::Float(_) => Err(Failure::invalid(format!("Invalid value for numeric attribute '{key}': {shown}"))),
    };
    let value = match (right.kind, surface) {
        (Kind::Number, Surface::Experiments) => {
            number(right.text).map(|value| whole(value, &format!("'{}'", right.text))).transpose()?
        }
        (Kind::Number, Surface::ModelVersions) => {
            number(right.text).map(|value| whole(value, right.text)).transpose()?
        }
        (Kind::Number, _) => number(right.text),
        // Quoted numbers are numbers here alone.
        (_, Surface::ModelVersions) => {
            let text = text_value(right)?;
            let value = text.and_then(number).filter(|value| matches!(value, Number::Integer(_)));
            if let (Some(text), None) = (text, value) {
                return Err(Failure::invalid(format!("Invalid value for numeric attribute '{key}': '{text}'")));
            }
            value
        }
        _ => None,
    };
    let what = || format!("Expected numeric value type for numeric attribute: {key}. Found {}", right.text);
    number_comparison(subject, &written.comparator, value.ok_or_else(|| Failure::invalid(what()))?)
}

/// An integer, written as quoted text.
fn id_attribute(
    surface: Surface,
    identifier: &Identifier,
    written: &Written<'_>,
    right: Token<'_>,
) -> Result<Comparison, Failure> {
    let key = &identifier.written;
    let integer = |text: &str| {
        let what = || Failure::invalid(format!("Invalid {key}: '{text}'. It must be an integer."));
        text.trim().parse::<i64>().map_err(|_| what())
    };
    let texts = attribute_texts(surface, identifier, right)?;
    let integers = texts.iter().map(|text| integer(text)).collect::<Result<HashSet<i64>, _>>()?;
    match written.comparator.as_str() {
        "=" | "IN" => Ok(Comparison::AmongIntegers(integers, true)),
        "!=" | "NOT IN" => Ok(Comparison::AmongIntegers(integers, false)),
        other => Err(Failure::invalid(format!("Invalid comparator for {key}: {other}"))),
    }
}

fn attribute(
    subject: Subject,
    identifier: &Identifier,
    written: &Written<'_>,
    right: Token<'_>,
) -> Result<Comparison, Failure> {
    let surface = subject.surface;
    if surface == Surface::ModelVersions && right.kind == Kind::Number {
        return Err(Failure::invalid(
            "Only the '{'version_number', 'creation_timestamp', 'last_updated_timestamp'}' attributes support comparison \
             with numeric values."
                .to_owned(),
        ));
    }
    if right.kind == Kind::Parenthesis {
        supports_list(surface, identifier)?;
    }
    text_or_list(subject, written, right, || refused_attribute_value(surface, right))
}

/// Of logged models MLflow takes any word for a text, and lists for params and tags too.
fn lenient(subject: Subject, written: &Written<'_>, right: Token<'_>) -> Result<Comparison, Failure> {
    match right.kind {
        Kind::Parenthesis => {
            text_or_list(subject, written, right, || format!("Expected a list for IN. Got value {}", right.text))
        }
        _ => {
            let text = unquoted(right.text).unwrap_or(right.text);
            text_comparison(subject, &written.comparator, text, &LIST_COMPARATORS)
        }
    }
}

fn refused_attribute_value(surface: Surface, right: Token<'_>) -> String {
    match surface {
        Surface::RegisteredModels | Surface::ModelVersions => format!(
            "Expected a quoted string value or a list of quoted string values for attributes. Got value {}",
            right.text
        ),
        _ => format!("Expected a quoted string value for attributes. Got value {}", right.text),
    }
}

fn supports_list(surface: Surface, identifier: &Identifier) -> Result<(), Failure> {
    let Some(keys) = surface.list_keys() else { return Ok(()) };
    if keys.contains(&identifier.key.as_str()) {
        return Ok(());
    }
    let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    Err(Failure::invalid(format!(
        "Only [{}] attributes support comparison with a list of quoted string values.",
        keys.join(", ")
    )))
}

/// The text, or the texts of a list.
fn attribute_texts(surface: Surface, identifier: &Identifier, right: Token<'_>) -> Result<Vec<String>, Failure> {
    if right.kind == Kind::Parenthesis {
        supports_list(surface, identifier)?;
        return list_value(right);
    }
    let text = text_value(right)?.ok_or_else(|| Failure::invalid(refused_attribute_value(surface, right)))?;
    Ok(vec![text.to_owned()])
}

fn text_or_list(
    subject: Subject,
    written: &Written<'_>,
    right: Token<'_>,
    what: impl Fn() -> String,
) -> Result<Comparison, Failure> {
    if right.kind != Kind::Parenthesis {
        let text = text_value(right)?.ok_or_else(|| Failure::invalid(what()))?;
        return text_comparison(subject, &written.comparator, text, &LIST_COMPARATORS);
    }
    let texts = list_value(right)?.into_iter().collect();
    match written.comparator.as_str() {
        "IN" => Ok(Comparison::Among(texts, true)),
        "NOT IN" => Ok(Comparison::Among(texts, false)),
        comparator if LIST_COMPARATORS.contains(&comparator) => Err(Failure::invalid(what())),
        comparator => Err(subject.unknown_comparator(comparator, &LIST_COMPARATORS)),
    }
}

/// A quoted text; `None` is something else altogether.
fn text_value(token: Token<'_>) -> Result<Option<&str>, Failure> {
    if !matches!(token.kind, Kind::Text | Kind::Identifier) {
        return Ok(None);
    }
    let what = || {
        Failure::invalid(format!(
            "Parameter value is either not quoted or unidentified quote types used for string value {}. Use either \
             single or double quotes.",
            token.text
        ))
    };
    unquoted(token.text).map(Some).ok_or_else(what)
}

fn list_value(token: Token<'_>) -> Result<Vec<String>, Failure> {
    list(token.text).map_err(|error| {
        let why = match error {
            ListError::IllFormed => "expected a non-empty list of string values, but got ill-formed list.".to_owned(),
            ListError::Empty => "expected a non-empty list of string values, but got empty list".to_owned(),
            ListError::NotText => format!(
                "expected string value, punctuation, or whitespace, but got different type in list: {}",
                token.text
            ),
        };
        Failure::invalid(format!("While parsing a list in the query, {why}"))
    })
}

fn text_comparison(subject: Subject, comparator: &str, text: &str, known: &[&str]) -> Result<Comparison, Failure> {
    let pattern = |minds_case: bool| {
        let what = || Failure::invalid(format!("A pattern has at most {} characters.", Pattern::CHARS_MAX));
        Pattern::new(text, minds_case).map(Comparison::Like).ok_or_else(what)
    };
    match comparator {
        "=" => Ok(Comparison::Equals(text.to_owned())),
        "!=" => Ok(Comparison::Differs(text.to_owned())),
        "LIKE" => pattern(true),
        "ILIKE" => pattern(false),
        other => Err(subject.unknown_comparator(other, known)),
    }
}

fn number_comparison(subject: Subject, comparator: &str, value: Number) -> Result<Comparison, Failure> {
    let operator = NumberOperator::of_symbol(comparator);
    let operator = operator.ok_or_else(|| subject.unknown_comparator(comparator, &NUMBER_COMPARATORS))?;
    Ok(Comparison::Number(operator, value))
}
