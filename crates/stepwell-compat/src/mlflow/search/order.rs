//! Orders: MLflow's `order_by`.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    filter::Entity,
    identifier::Identifier,
    lexer::{Kind, tokens},
    literal::shown_set,
    record::{Attribute, Record},
    surface::Surface,
};
use crate::mlflow::failure::Failure;

/// More keys are refused.
const KEYS_MAX: usize = 100;
/// Longer keys are refused.
const BYTES_MAX: usize = 16 << 10;

/// By what records are sorted, most significant first. Absent values come last in both directions, NaN just before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) keys: Vec<SortKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortKey {
    pub(crate) entity: Entity,
    pub(crate) key: String,
    pub(crate) is_ascending: bool,
}

impl SortKey {
    fn attribute(key: &str, is_ascending: bool) -> Self {
        Self { entity: Entity::Attribute, key: key.to_owned(), is_ascending }
    }
}

impl Order {
    /// Reads the clauses of an order of such records, and adds what breaks ties there.
    pub(crate) fn parse(surface: Surface, clauses: &[impl AsRef<str>]) -> Result<Self, Failure> {
        if clauses.len() > KEYS_MAX {
            return Err(Failure::invalid(format!("`order_by` has more than {KEYS_MAX} fields.")));
        }
        let mut keys = Vec::<SortKey>::new();
        for clause in clauses {
            let key = parse_clause(surface, clause.as_ref())?;
            if keys.iter().any(|known| (known.entity, &known.key) == (key.entity, &key.key)) {
                let all: Vec<String> = clauses.iter().map(|clause| format!("'{}'", clause.as_ref())).collect();
                return Err(Failure::invalid(format!("`order_by` contains duplicate fields: [{}]", all.join(", "))));
            }
            keys.push(key);
        }
        for (key, is_ascending) in tie_breakers(surface, keys.is_empty()) {
            if !keys.iter().any(|known| known.entity == Entity::Attribute && known.key == *key) {
                keys.push(SortKey::attribute(key, *is_ascending));
            }
        }
        Ok(Self { keys })
    }

    /// Metrics it looks at.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(|key| key.entity == Entity::Metric).map(|key| key.key.as_str())
    }

    /// Sorts records; those that are alike in all keys stay as they were.
    pub(crate) fn sort<R: Record>(&self, records: &mut Vec<R>) {
        let width = self.keys.len();
        let mut ranks = Vec::with_capacity(records.len() * width);
        for record in records.iter() {
            ranks.extend(self.keys.iter().map(|key| Rank::of(record, key)));
        }
        let of = |place: usize| &ranks[place * width..(place + 1) * width];
        let mut places: Vec<usize> = (0..records.len()).collect();
        places.sort_by(|&a, &b| self.compare(of(a), of(b)));
        drop(ranks);
        let mut taken: Vec<Option<R>> = records.drain(..).map(Some).collect();
        records.extend(places.into_iter().filter_map(|place| taken[place].take()));
    }

    fn compare(&self, a: &[Rank<'_>], b: &[Rank<'_>]) -> Ordering {
        let by_key = self.keys.iter().zip(a.iter().zip(b)).map(|(key, (a, b))| a.compare(b, key.is_ascending));
        by_key.fold(Ordering::Equal, Ordering::then)
    }
}

/// What sorts behind the clauses, or alone.
fn tie_breakers(surface: Surface, is_alone: bool) -> &'static [(&'static str, bool)] {
    match surface {
        Surface::Runs => &[("start_time", false), ("run_id", true)],
        Surface::Experiments if is_alone => &[("creation_time", false), ("experiment_id", true)],
        Surface::Experiments => &[("experiment_id", false)],
        Surface::RegisteredModels => &[("name", true)],
        Surface::ModelVersions if is_alone => {
            &[("last_updated_timestamp", false), ("name", true), ("version_number", false)]
        }
        Surface::ModelVersions => &[("name", true), ("version_number", false)],
        Surface::Traces => &[("timestamp_ms", false), ("request_id", true)],
        Surface::LoggedModels => &[("creation_timestamp", false), ("model_id", true)],
    }
}

fn parse_clause(surface: Surface, clause: &str) -> Result<SortKey, Failure> {
    let shown = || clause.chars().take(1_000).collect::<String>();
    let malformed = || Failure::invalid(format!("Invalid order_by clause '{}'. Could not be parsed.", shown()));
    if clause.len() > BYTES_MAX || clause != clause.trim() {
        return Err(malformed());
    }
    let tokens = tokens(clause);
    if !tokens.iter().all(|token| token.kind == Kind::Identifier) {
        return Err(malformed());
    }
    let (name, is_ascending) = match tokens.as_slice() {
        [name] => (Cow::Borrowed(name.text), true),
        [name, direction] => {
            let is = |word: &str| direction.text.eq_ignore_ascii_case(word);
            if !is("asc") && !is("desc") {
                // For the tokenizer of MLflow this one name is a type, which nothing else can follow.
                let is_malformed = name.text.eq_ignore_ascii_case("timestamp");
                let what = || Failure::invalid(format!("Invalid ordering key in order_by clause '{}'.", shown()));
                return Err(if is_malformed { malformed() } else { what() });
            }
            // Before a direction MLflow takes quotes for those of a shell.
            (Cow::Owned(name.text.replace(['`', '"', '\''], "")), is("asc"))
        }
        _ => return Err(malformed()),
    };
    let attributes = surface.order_attributes();
    if surface == Surface::RegisteredModels && !attributes.iter().any(|(key, _, _)| *key == name) {
        let valid = shown_set(["name", "timestamp"].into_iter());
        return Err(Failure::invalid(format!("Invalid order by key '{name}' specified. Valid keys are '{valid}'")));
    }
    let identifier = Identifier::parse(surface, &name, attributes)?;
    match (surface, identifier.entity) {
        (Surface::Runs, Entity::Dataset) => Err(Failure::invalid("Invalid identifier type 'dataset'")),
        (Surface::Runs | Surface::LoggedModels | Surface::Traces, _) | (_, Entity::Attribute) => {
            Ok(SortKey { entity: identifier.entity, key: identifier.key, is_ascending })
        }
        (_, entity) => Err(Failure::invalid(format!("Invalid order_by entity: {}", entity.name()))),
    }
}

/// What a record is sorted by.
#[derive(Debug, Clone, PartialEq)]
enum Rank<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    /// Never NaN.
    Float(f64),
    Nan,
    Absent,
}

impl<'a> Rank<'a> {
    fn of(record: &'a impl Record, key: &SortKey) -> Self {
        let text = |text: Option<Cow<'a, str>>| text.map_or(Self::Absent, Self::Text);
        match key.entity {
            Entity::Metric => match record.metric(&key.key) {
                Some(value) if value.is_nan() => Self::Nan,
                Some(value) => Self::Float(value),
                None => Self::Absent,
            },
            Entity::Param => text(record.param(&key.key)),
            Entity::Tag => text(record.tag(&key.key)),
            Entity::Attribute => match record.attribute(&key.key) {
                Some(Attribute::Text(value)) => Self::Text(value),
                Some(Attribute::Integer(value)) => Self::Integer(value),
                None => Self::Absent,
            },
            Entity::Dataset => Self::Absent,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Text(_) | Self::Integer(_) | Self::Float(_) => 0,
            Self::Nan => 1,
            Self::Absent => 2,
        }
    }

    fn compare(&self, other: &Self, is_ascending: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            _ => return self.class().cmp(&other.class()),
        };
        if is_ascending { order } else { order.reverse() }
    }
}
