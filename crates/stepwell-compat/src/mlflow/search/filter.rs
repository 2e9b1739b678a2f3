//! Filters as they are evaluated.

use std::{cmp::Ordering, collections::HashSet};

use super::like::Pattern;

/// What a comparison is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entity {
    Metric,
    Param,
    Tag,
    Attribute,
    Dataset,
}

impl Entity {
    /// MLflow's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Param => "parameter",
            Self::Tag => "tag",
            Self::Attribute => "attribute",
            Self::Dataset => "dataset",
        }
    }
}

/// A filter: a record passes if all clauses do. The default lets everything pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) clauses: Vec<Clause>,
}

impl Filter {
    /// Metrics it looks at, each once.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        let metrics = self.clauses.iter().filter(|clause| clause.entity == Entity::Metric);
        let mut seen = HashSet::new();
        metrics.map(|clause| clause.key.as_str()).filter(move |&key| seen.insert(key))
    }

    /// Whether it asks for datasets.
    pub(crate) fn asks_for_datasets(&self) -> bool {
        self.clauses.iter().any(|clause| clause.entity == Entity::Dataset)
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    pub(crate) entity: Entity,
    /// An attribute's by the name it is known by.
    pub(crate) key: String,
    pub(crate) comparison: Comparison,
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Comparison {
    Number(NumberOperator, Number),
    Equals(String),
    Differs(String),
    Like(Pattern),
    /// Texts, and whether the value shall be among them.
    Among(HashSet<String>, bool),
    /// Integers, and whether the value shall be among them.
    AmongIntegers(HashSet<i64>, bool),
    /// Whether it shall be absent.
    Absent(bool),
}

impl Comparison {
    /// Whether a text passes.
    pub(super) fn accepts_text(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == wanted,
            Self::Differs(unwanted) => text != unwanted,
            Self::Like(pattern) => pattern.matches(text),
            Self::Among(texts, is_in) => texts.contains(text) == *is_in,
            Self::Number(..) | Self::AmongIntegers(..) => false,
            Self::Absent(wanted) => !wanted,
        }
    }

    /// Whether an integer passes.
    pub(super) fn accepts_integer(&self, integer: i64) -> bool {
        match self {
            Self::Number(operator, Number::Integer(other)) => operator.holds(Some(integer.cmp(other))),
            Self::Number(operator, Number::Float(other)) => operator.holds((integer as f64).partial_cmp(other)),
            Self::AmongIntegers(integers, is_in) => integers.contains(&integer) == *is_in,
            Self::Absent(wanted) => !wanted,
            _ => false,
        }
    }

    /// Whether a metric's value passes: NaN differs from everything and passes nothing else.
    pub(super) fn accepts_float(&self, value: f64) -> bool {
        match self {
            Self::Number(operator, Number::Integer(other)) => operator.holds(value.partial_cmp(&(*other as f64))),
            Self::Number(operator, Number::Float(other)) => operator.holds(value.partial_cmp(other)),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Integer(i64),
    Float(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberOperator {
    Less,
    AtMost,
    Equal,
    Unequal,
    AtLeast,
    Greater,
}

impl NumberOperator {
    pub(super) fn of_symbol(symbol: &str) -> Option<Self> {
        match symbol {
            "<" => Some(Self::Less),
            "<=" => Some(Self::AtMost),
            "=" => Some(Self::Equal),
            "!=" => Some(Self::Unequal),
            ">=" => Some(Self::AtLeast),
            ">" => Some(Self::Greater),
            _ => None,
        }
    }

    /// `None` is the order of NaN and anything.
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
        }
    }
}
