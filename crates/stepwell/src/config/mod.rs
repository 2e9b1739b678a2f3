//! What `serve` may be told: one table of knobs, from which flags, environment variables, file keys and the reference
//! `schemas/config.md` all come. Precedence: flag, then environment, then file, then default.

mod flags;
mod knobs;
mod layers;
mod memory;
mod settings;

pub(crate) use flags::ServeFlags;
pub(crate) use settings::Settings;

#[cfg(test)]
mod tests;
