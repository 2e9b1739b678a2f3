//! Figures by kind of file.

use std::{collections::BTreeMap, fmt, path::Path};

use crate::{
    damage::Damage,
    judge::{Outcome, Verdict},
};

/// What cases came to.
#[derive(Debug, Default)]
pub struct Report {
    kinds: BTreeMap<String, Counts>,
    /// The first that went wrong.
    pub failures: Vec<(Damage, Verdict)>,
}

#[derive(Debug, Default)]
struct Counts {
    cases: u64,
    of: BTreeMap<Outcome, u64>,
    found: u64,
}

/// Failures that are shown.
const FAILURES_MAX: usize = 20;

impl Report {
    /// Adds one case.
    pub fn add(&mut self, damage: &Damage, verdict: Verdict) {
        let counts = self.kinds.entry(kind(damage.path())).or_default();
        counts.cases += 1;
        *counts.of.entry(verdict.outcome).or_default() += 1;
        counts.found += u64::from(verdict.is_found);
        if verdict.outcome >= Outcome::Wrong && self.failures.len() < FAILURES_MAX {
            self.failures.push((damage.clone(), verdict));
        }
    }

    /// Cases of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.kinds.values().filter_map(|counts| counts.of.get(&outcome)).sum()
    }

    /// All cases.
    pub fn cases(&self) -> u64 {
        self.kinds.values().map(|counts| counts.cases).sum()
    }
}

/// The directory for segments, the name for the others.
fn kind(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match path.parent().map(name) {
        Some(dir) if ["segments", "summaries", "rollups", "wal"].contains(&dir.as_str()) => dir,
        _ => name(path),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| file | cases | right | refused | reported | cut as tail | wrong | panicked | found by check |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for (kind, counts) in &self.kinds {
            write!(f, "| {kind} | {} ", counts.cases)?;
            use Outcome::{CutAsTail, Panicked, Refused, Reported, Right, Wrong};
            for outcome in [Right, Refused, Reported, CutAsTail, Wrong, Panicked] {
                write!(f, "| {} ", counts.of.get(&outcome).copied().unwrap_or(0))?;
            }
            writeln!(f, "| {} |", counts.found)?;
        }
        for (damage, verdict) in &self.failures {
            writeln!(f, "{damage:?}: {:?} {}", verdict.outcome, verdict.detail)?;
        }
        Ok(())
    }
}
