//! Requests that fail by a fault of the server's: the first of each kind is said in the log, and then at most one a minute, with how
//! many there were. A client that repeats its request a hundred times a second must not fill the disk with one sentence.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const SAY_EVERY: Duration = Duration::from_secs(60);

/// Kinds, and what an operator does. What the engine, the metadata or the start say themselves is not among them.
const ADVICE: [(&str, &str); 3] = [
    ("internal", "a fault of the server: please report it, with this line"),
    ("data_damaged", "`stepwell check` says what is concerned, `stepwell repair` sets it aside; the rest is served"),
    ("query_failed", "a fault of the server if the query is not at fault: please report it, with this line"),
];

#[derive(Default)]
pub(super) struct Complaints {
    said: Mutex<BTreeMap<&'static str, Said>>,
}

struct Said {
    at: Instant,
    unsaid: u64,
}

impl Complaints {
    /// Says it, unless the same was said lately. Returns whether it did.
    pub(super) fn complain(&self, code: &'static str, detail: &str, now: Instant) -> bool {
        let Some((_, advice)) = ADVICE.iter().find(|(known, _)| *known == code) else { return false };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match said.get_mut(code) {
            Some(last) if now.duration_since(last.at) < SAY_EVERY => {
                last.unsaid += 1;
                return false;
            }
            Some(last) => last.unsaid,
            None => 0,
        };
        said.insert(code, Said { at: now, unsaid: 0 });
        tracing::error!(code, detail, since_last_line = unsaid, advice, "a request failed");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        let complaints = Complaints::default();
        let now = Instant::now();
        let complain = |now| complaints.complain("internal", "because", now);
        assert!(complain(now) && !complain(now) && !complain(now));
        assert!(complaints.complain("data_damaged", "another kind", now));
        assert!(!complaints.complain("disk_full", "the engine says this itself", now));
        assert_eq!(complaints.said.lock().unwrap()["internal"].unsaid, 2);
        assert!(complain(now + SAY_EVERY) && !complain(now + SAY_EVERY));
    }
}
