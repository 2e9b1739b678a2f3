//! Names for runs that have none: two words and a number, told apart at a glance and easy to say.

use crate::app::App;

/// Seven letters at most, as the nouns have eight: with a number up to 999 no name has more than twenty characters.
const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "ample", "apt", "azure", "balmy", "bold", "brave", "brief", "bright", "brisk", "calm",
    "clear", "clever", "cool", "coral", "cosy", "crisp", "deep", "deft", "eager", "early", "easy", "even", "fair",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "hardy", "honest", "humble",
    "jade", "jolly", "keen", "kind", "late", "light", "lively", "lucid", "mellow", "merry", "mild", "neat", "nimble",
    "patient", "placid", "polite", "quick", "quiet", "rapid", "serene", "silver", "steady", "sunny", "tidy", "vivid",
    "warm",
];
const NOUNS: [&str; 64] = [
    "arch", "basin", "bay", "beck", "bridge", "brook", "burn", "canal", "cascade", "channel", "cistern", "cloud",
    "cove", "creek", "current", "dale", "delta", "dew", "dune", "eddy", "estuary", "fjord", "flood", "ford",
    "fountain", "geyser", "glacier", "harbour", "inlet", "island", "lagoon", "lake", "ledge", "marsh", "meadow",
    "mill", "mist", "oasis", "pier", "pond", "pool", "quay", "rain", "rapids", "reef", "ripple", "river", "shoal",
    "shore", "sluice", "spring", "stair", "step", "stream", "surf", "tarn", "terrace", "tide", "torrent", "valley",
    "vapour", "wave", "weir", "well",
];
const NUMBERS: u64 = 1_000;

impl App {
    /// A name for a run; others may have it too.
    pub fn new_run_name(&self) -> String {
        name(self.parts.env.random.next_u64())
    }
}

fn name(random: u64) -> String {
    let word = |words: &'static [&'static str], random: u64| words[(random % words.len() as u64) as usize];
    let (adjective, noun) = (word(&ADJECTIVES, random), word(&NOUNS, random >> 6));
    format!("{adjective}-{noun}-{}", (random >> 12) % NUMBERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_many() {
        let longest = |words: &[&str]| words.iter().map(|word| word.len()).max().unwrap();
        assert!(longest(&ADJECTIVES) + longest(&NOUNS) + "--999".len() <= 20);
        let names: std::collections::HashSet<String> = (0..1_000_000).step_by(997).map(name).collect();
        assert!(names.len() > 1_000);
        assert_eq!(name(1 + (2 << 6) + (3 << 12)), "agile-bay-3");
    }
}
