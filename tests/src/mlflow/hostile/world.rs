//! What the generator has learned of the server: ids and names that exist, so that requests get past the first look.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dice::Dice;

/// Fields of answers that are worth asking for again.
const LEARNED: [&str; 7] =
    ["experiment_id", "run_id", "model_id", "trace_id", "assessment_id", "name", "next_page_token"];
/// Of each; older ones are forgotten.
const KNOWN_MAX: usize = 50;

/// Ids below it are guessed of experiments.
pub const GUESSED_EXPERIMENTS: usize = 30;

/// Values by the field in which they were seen.
#[derive(Debug, Default)]
pub(super) struct World {
    /// What is never learned.
    spared: Vec<String>,
    known: BTreeMap<&'static str, Vec<String>>,
}

impl World {
    /// Knows nothing, and will never know `spared`.
    pub(super) fn new(spared: &[&str]) -> Self {
        Self { spared: spared.iter().map(|text| (*text).to_owned()).collect(), known: BTreeMap::new() }
    }

    /// One that exists, or one that does not.
    pub(super) fn one(&self, field: &str, dice: &mut Dice) -> String {
        let known = self.known.get(field).map_or(&[][..], Vec::as_slice);
        match (known, dice.below(20)) {
            ([], _) | (_, 0) if field == "name" => format!("name {}", dice.below(40)),
            ([], _) | (_, 0) if field == "experiment_id" => dice.below(GUESSED_EXPERIMENTS).to_string(),
            ([], _) | (_, 0) => format!("{:016x}{:016x}", dice.next(), dice.next()),
            (known, _) => dice.of(known).clone(),
        }
    }

    /// Remembers what an answer names.
    pub(super) fn learn(&mut self, answer: &Value, dice: &mut Dice) {
        match answer {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                let text = value.as_str().filter(|text| text.len() < 600);
                match (LEARNED.iter().find(|learned| *learned == name), text) {
                    (Some(learned), Some(text)) => self.remember(learned, text, dice),
                    _ => self.learn(value, dice),
                }
            }),
            Value::Array(values) => values.iter().take(5).for_each(|value| self.learn(value, dice)),
            _ => {}
        }
    }

    fn remember(&mut self, field: &'static str, text: &str, dice: &mut Dice) {
        if self.spared.iter().any(|spared| spared == text) {
            return;
        }
        let known = self.known.entry(field).or_default();
        if known.iter().any(|one| one == text) {
            return;
        }
        if known.len() == KNOWN_MAX {
            known.swap_remove(dice.below(KNOWN_MAX));
        }
        known.push(text.to_owned());
    }
}
