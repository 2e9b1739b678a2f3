//! What a seed makes of a world.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use stepwell_engine::{CompactionOptions, EngineConfig};

use crate::dice::Dice;

/// What can happen to a world besides ingest and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SIGKILL.
    Kill,
    /// The power goes.
    Power,
    /// EIO of one operation of the disk.
    Create,
    Append,
    Sync,
    Truncate,
    Map,
    Read,
    List,
    Rename,
    Remove,
    SyncDir,
    /// The disk is full for a while.
    Full,
    /// The disk is slow for a while.
    Slow,
    /// The wall clock jumps.
    Clock,
    /// Points are deleted.
    Delete,
    /// Runs are hidden and shown again.
    Hide,
    /// A bit of a file changes; tried on a copy of the disk.
    Rot,
    /// Syncs say that they have synced, and have not.
    Lie,
    /// A client sends again, as something new, what was acknowledged.
    Twice,
    /// A bit of a value changes before the engine has it.
    Alter,
}

impl Kind {
    /// What no engine can answer for: only plans that name them have them, to show that it is noticed.
    pub const SABOTAGE: [Self; 3] = [Self::Lie, Self::Twice, Self::Alter];

    /// All others.
    pub const ALL: [Self; 18] = [
        Self::Kill,
        Self::Power,
        Self::Create,
        Self::Append,
        Self::Sync,
        Self::Truncate,
        Self::Map,
        Self::Read,
        Self::List,
        Self::Rename,
        Self::Remove,
        Self::SyncDir,
        Self::Full,
        Self::Slow,
        Self::Clock,
        Self::Delete,
        Self::Hide,
        Self::Rot,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

/// A world before it runs. Its text form, `seed=1 lives=3 batches=40 clients=3 kinds=kill,power`, is what a failure prints and
/// what brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// Lives before the last, in which nothing bad happens any more.
    pub lives: u64,
    /// Batches that clients send in all, at most.
    pub batches: u64,
    pub clients: u64,
    pub kinds: BTreeSet<Kind>,
}

impl Plan {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, 1);
        // Some worlds have nearly everything, some nearly nothing, so that what happens in one does not hide another.
        let share = *dice.pick(&[1, 3, 5, 8]);
        let kinds = Kind::ALL.into_iter().filter(|_| dice.below(8) < share).collect();
        Self { seed, lives: 1 + dice.below(5), batches: 20 + dice.below(60), clients: 1 + dice.below(4), kinds }
    }

    /// Whether something of a kind happens.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The engine's settings, small enough that everything happens within seconds.
    pub(crate) fn config(&self) -> EngineConfig {
        let dice = Dice::new(self.seed, 2);
        let shards = 1 + dice.below(3) as usize;
        let mut config = EngineConfig::new("data");
        config.shards = shards;
        // A shard takes memory by the mebibyte, and a few bytes per series and block of points beside it.
        config.memtable_bytes = (shards << 20) + dice.below(8_000) as usize;
        config.flush_age = Duration::from_millis(*dice.pick(&[50, 300, 2_000, 60_000]));
        config.queue_bytes = *dice.pick(&[2_000, 20_000, 1 << 20]);
        config.wal_retain_bytes = *dice.pick(&[0, 0, 3_000, 1 << 22]);
        config.footer_bytes = *dice.pick(&[0, 10_000, 1 << 20]);
        config.frozen_max = 1 + dice.below(2) as usize;
        let fan_in = *dice.pick(&[0, 2, 2, 3, 10]);
        let segment_bytes_max = *dice.pick(&[4_000, 20_000, 1 << 30]);
        config.compaction = CompactionOptions { fan_in, segment_bytes_max, backlog_max: 2 + dice.below(6) as usize };
        config.segment.page_rows = *dice.pick(&[32, 200, 8_192]);
        config.segment.row_group_rows = *dice.pick(&[200, 1_000, 1 << 20]);
        config
    }

    /// Points of a batch, at most.
    pub(crate) fn batch_points_max(&self) -> u64 {
        *Dice::new(self.seed, 3).pick(&[3, 12, 30, 80])
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, lives, batches, clients, kinds } = self;
        let kinds: Vec<String> = kinds.iter().map(Kind::to_string).collect();
        write!(f, "seed={seed} lives={lives} batches={batches} clients={clients} kinds={}", kinds.join(","))
    }
}

impl FromStr for Plan {
    type Err = String;

    /// The plan of a seed, with what the text says otherwise.
    fn from_str(text: &str) -> Result<Self, String> {
        let pairs: Vec<(&str, &str)> = text
            .split_whitespace()
            .map(|word| word.split_once('=').ok_or_else(|| format!("{word:?} is not of the form name=value")))
            .collect::<Result<_, _>>()?;
        let number = |value: &str| value.parse::<u64>().map_err(|error| format!("{value:?} is not a number: {error}"));
        let seed = pairs.iter().find(|(name, _)| *name == "seed").ok_or("a plan has a seed")?.1;
        let mut plan = Self::new(number(seed)?);
        for (name, value) in pairs {
            match name {
                "seed" => {}
                "lives" => plan.lives = number(value)?,
                "batches" => plan.batches = number(value)?,
                "clients" => plan.clients = number(value)?,
                "kinds" => {
                    let kind = |name: &str| {
                        let mut all = Kind::ALL.into_iter().chain(Kind::SABOTAGE);
                        all.find(|kind| kind.to_string() == name)
                    };
                    let names = value.split(',').filter(|name| !name.is_empty());
                    let kinds = names.map(|name| kind(name).ok_or_else(|| format!("{name:?} is no kind")));
                    plan.kinds = kinds.collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("a plan has no {name:?}")),
            }
        }
        Ok(plan)
    }
}
