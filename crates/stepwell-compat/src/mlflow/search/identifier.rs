//! What a comparison or an order is about.

use super::{
    filter::Entity,
    literal::{shown_set, unquoted, without_backticks},
    surface::{AttributeKind, Surface},
};
use crate::mlflow::failure::Failure;

/// A name, resolved.
pub(super) struct Identifier {
    pub(super) entity: Entity,
    /// An attribute's is the one it is known by.
    pub(super) key: String,
    /// As it was written.
    pub(super) written: String,
    /// Of an attribute.
    pub(super) kind: AttributeKind,
}

impl Identifier {
    /// Reads `entity.key`, or the key of an attribute alone.
    pub(super) fn parse(
        surface: Surface,
        text: &str,
        attributes: &[(&str, &str, AttributeKind)],
    ) -> Result<Self, Failure> {
        let (entity, key) = match text.split_once('.') {
            None => (Entity::Attribute, text),
            Some((name, key)) => {
                let name = without_backticks(name);
                (surface.entity(name).ok_or_else(|| Failure::invalid(surface.refused_entity(name)))?, key)
            }
        };
        let written = without_backticks(unquoted(key).unwrap_or(key)).to_owned();
        let known = attributes.iter().find(|(name, _, _)| *name == written);
        match (entity, known) {
            (Entity::Attribute, None) => {
                let valid = shown_set(attributes.iter().map(|(name, _, _)| *name));
                Err(Failure::invalid(format!("Invalid attribute key '{written}' specified. Valid keys are '{valid}'")))
            }
            (Entity::Attribute, Some(&(_, key, kind))) => Ok(Self { entity, key: key.to_owned(), written, kind }),
            (Entity::Dataset, _) if !matches!(written.as_str(), "name" | "digest" | "context") => {
                let valid = "{'name', 'digest', 'context'}";
                Err(Failure::invalid(format!("Invalid dataset key '{written}' specified. Valid keys are '{valid}'")))
            }
            _ => Ok(Self { entity, key: written.clone(), written, kind: AttributeKind::Text }),
        }
    }
}
