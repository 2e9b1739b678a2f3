//! Whether a record passes.

use super::{
    filter::{Clause, Comparison, Entity, Filter},
    record::{Attribute, DatasetField, Record},
};

impl Filter {
    /// Whether all clauses pass.
    pub(crate) fn accepts(&self, record: &impl Record) -> bool {
        self.clauses.iter().all(|clause| clause.accepts(record))
    }
}

impl Clause {
    fn accepts(&self, record: &impl Record) -> bool {
        let comparison = &self.comparison;
        let accepts_text = |text: &str| comparison.accepts_text(text);
        match self.entity {
            Entity::Metric => record.any_metric(&self.key, &|value| comparison.accepts_float(value)),
            Entity::Param => self.accepts_optional(record.param(&self.key).as_deref()),
            Entity::Tag => self.accepts_optional(record.tag(&self.key).as_deref()),
            Entity::Attribute => match record.attribute(&self.key) {
                Some(Attribute::Text(text)) => accepts_text(&text),
                Some(Attribute::Integer(integer)) => comparison.accepts_integer(integer),
                None => false,
            },
            Entity::Dataset => {
                let field = match self.key.as_str() {
                    "name" => DatasetField::Name,
                    "digest" => DatasetField::Digest,
                    _ => DatasetField::Context,
                };
                record.any_dataset(field, &accepts_text)
            }
        }
    }

    /// What is absent passes only if that is asked for.
    fn accepts_optional(&self, text: Option<&str>) -> bool {
        match text {
            Some(text) => self.comparison.accepts_text(text),
            None => self.comparison == Comparison::Absent(true),
        }
    }
}
