//! Damages every byte of a small data directory, one at a time, and judges what the engine then answers.
//!
//! `directory` makes the data directories, `damage` lists what can be done to them, `answers` reads all there is to read, `judge`
//! says what one damage came to, `mend` what a repair makes of it, `report` adds up. `metadata` does the same to the file of metadata, on the real disk.

mod answers;
mod damage;
mod directory;
mod judge;
mod mend;
mod metadata;
mod report;

pub use damage::{Damage, cases};
pub use directory::{Directory, after_a_crash, after_a_restart};
pub use judge::{Outcome, Verdict, judge};
pub use metadata::MetadataFile;
pub use report::Report;
