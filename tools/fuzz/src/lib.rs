//! Every decoder as a function of hostile bytes, for tests and for libFuzzer.
//!
//! A target takes any bytes and panics where a decoder breaks its word: it panics itself, takes more memory than it may, does not
//! give back what it has decoded once that is encoded anew, or disagrees with another way to read the same. `check` is what both
//! callers call: `tests/replay.rs` (seeds, inputs that once found something, and a few thousand mutations of them, the same
//! each time) and `libfuzzer/` (as long as one likes; `cargo xtask fuzz`).

mod mutation;
mod targets;

use std::collections::BTreeMap;

pub use mutation::{Mutator, mutations};
pub use stepwell_allocation::{CountingAllocator, peak_bytes, without_backtraces};
pub use targets::TARGETS;

/// A decoder, as a function of bytes that panics where it should not.
pub struct Target {
    /// Also the name of its folders.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs to begin with: what an honest writer makes, and what a liar would.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// What one input may take at a time, bytes, and how much more for each of its own.
    pub memory_bytes: (usize, usize),
    /// Mutations that the test command tries.
    pub replayed: usize,
}

impl Target {
    /// Most bytes that this input may take.
    pub fn limit_bytes(&self, input: &[u8]) -> usize {
        self.memory_bytes.0 + self.memory_bytes.1 * input.len()
    }
}

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// Gives a target one input. Panics where the decoder breaks its word.
pub fn check(target: &Target, input: &[u8]) {
    let (_, peak) = peak_bytes(|| (target.run)(input));
    let limit = target.limit_bytes(input);
    assert!(
        peak <= limit,
        "{}: {} bytes of input took {peak} bytes of memory, the limit is {limit}",
        target.name,
        input.len()
    );
}

/// Inputs that once found something, by target and file name.
pub fn regressions() -> std::io::Result<BTreeMap<(String, String), Vec<u8>>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut found = BTreeMap::new();
    for of_target in std::fs::read_dir(folder)? {
        let of_target = of_target?;
        if !of_target.file_type()?.is_dir() {
            continue;
        }
        for input in std::fs::read_dir(of_target.path())? {
            let input = input?;
            let names = [of_target.file_name(), input.file_name()].map(|name| name.to_string_lossy().into_owned());
            found.insert(names.into(), std::fs::read(input.path())?);
        }
    }
    Ok(found)
}
