//! The rule of snapshots under a checker that tries every interleaving: `cargo xtask concurrency`.

use loom::{
    sync::{Arc, Mutex},
    thread,
};
use stepwell_types::Lsn;

use super::Visible;

/// As `Generation`: LSNs, inserted under a lock of its own.
type Part = Arc<Mutex<Vec<u64>>>;

/// As `Storage`.
#[derive(Clone)]
struct Parts {
    segments: Vec<u64>,
    frozen: Vec<Part>,
    active: Part,
}

fn part() -> Part {
    Arc::new(Mutex::new(Vec::new()))
}

fn insert(visible: &Visible<Parts>, lsn: u64) {
    let active = visible.look(|parts| parts.active.clone());
    active.lock().unwrap().push(lsn);
    visible.show_below(Lsn(lsn + 1));
}

fn rotate(visible: &Visible<Parts>) {
    let next = part();
    visible.change(|parts| {
        let full = std::mem::replace(&mut parts.active, next);
        parts.frozen.push(full);
    });
}

/// As a flush: what is frozen is written, then takes the place of what it was made of.
fn flush(visible: &Visible<Parts>) {
    let Some(frozen) = visible.look(|parts| parts.frozen.first().cloned()) else { return };
    let segment = frozen.lock().unwrap().clone();
    visible.change(|parts| {
        parts.segments.extend(segment);
        parts.frozen.remove(0);
    });
}

/// Each point below the bound once.
fn check(visible: &Visible<Parts>) -> u64 {
    let (parts, below) = visible.snapshot();
    let mut seen = parts.segments.clone();
    for part in parts.frozen.iter().chain([&parts.active]) {
        seen.extend(part.lock().unwrap().iter().copied().filter(|lsn| *lsn < below.0));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..below.0).collect::<Vec<_>>(), "below {below}");
    below.0
}

#[test]
fn i2_i10_loom_a_snapshot_sees_each_point_once_whatever_changes_hands_meanwhile() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let parts = Parts { segments: Vec::new(), frozen: Vec::new(), active: part() };
        let visible = Arc::new(Visible::new(parts, Lsn(1)));
        let writing = visible.clone();
        let writer = thread::spawn(move || {
            insert(&writing, 1);
            rotate(&writing);
            insert(&writing, 2);
        });
        let flushing = visible.clone();
        let flusher = thread::spawn(move || flush(&flushing));
        let first = check(&visible);
        let second = check(&visible);
        assert!(first <= second, "what was seen stays seen");
        writer.join().unwrap();
        flusher.join().unwrap();
        assert_eq!(check(&visible), 3);
    });
}
