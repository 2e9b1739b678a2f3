//! Registered models and their versions.

mod model;
mod read;
mod versions;
mod write;

pub use model::{ModelVersion, NewModelVersion, RegisteredModel, Stage};
