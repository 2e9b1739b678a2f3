use std::sync::atomic::{AtomicU64, Ordering};

use stepwell_env::in_parallel;

use super::*;

/// As many as half a minute of a debug build has room for.
const WORLDS: u64 = 24;

#[test]
fn i1_to_i11_hold_in_worlds_of_many_seeds() {
    let next = AtomicU64::new(0);
    let tallies = in_parallel("worlds", 2, |_| {
        let mut total = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= WORLDS {
                return total;
            }
            let plan = Plan::new(seed);
            let report = run_world(&plan);
            if let Some(failure) = report.failure {
                let tail = failure.trace.len().saturating_sub(40);
                panic!("{plan}\n{}\n{}", failure.trace[tail..].join("\n"), failure.what);
            }
            total.add(report.tally);
        }
    });
    let mut total = Tally::default();
    tallies.into_iter().for_each(|tally| total.add(tally));
    println!("{total}");
    // Worlds in which nothing happens would prove nothing.
    assert!(total.kills > 5 && total.losses_of_power > 5 && total.checks > 300 && total.states.len() > 50, "{total}");
    assert!(total.faults.len() > 12, "{total}");
}

#[test]
fn the_same_plan_gives_the_same_trace_and_another_seed_another() {
    let traces: Vec<u64> = (0..4).map(|seed| run_world(&Plan::new(seed)).trace_hash).collect();
    for (seed, trace) in (0..).zip(&traces) {
        assert_eq!(run_world(&Plan::new(seed)).trace_hash, *trace, "seed {seed}");
    }
    let distinct: std::collections::HashSet<u64> = traces.iter().copied().collect();
    assert_eq!(distinct.len(), traces.len());
}

/// Of two deletions that had failed a start brought one back, and the model held neither to have happened. And what a start brought back of
/// refused batches was called wrong where it could not be read before later.
#[test]
fn worlds_that_once_failed_for_a_fault_of_the_model_do_not() {
    let kinds = "power,create,append,sync,truncate,map,read,list,rename,remove,syncdir,full,slow,clock,delete,hide,rot";
    let plans = [
        format!("seed=1011 lives=2 batches=46 clients=4 kinds={kinds}"),
        "seed=90405 lives=5 batches=40 clients=3 kinds=sync,map,list,full,slow".to_owned(),
        "seed=95098 lives=2 batches=53 clients=1 kinds=create,sync,map".to_owned(),
    ];
    for plan in plans {
        assert_eq!(run_world(&plan.parse().unwrap()).failure, None, "{plan}");
    }
}

#[test]
fn a_plan_is_what_its_text_says() {
    for seed in 0..50 {
        let plan = Plan::new(seed);
        assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
    }
    assert!("seed=1 colour=red".parse::<Plan>().is_err() && "lives=1".parse::<Plan>().is_err());
}

#[test]
fn shrinking_ends_at_what_is_needed() {
    let needs = |plan: &Plan| plan.kinds.contains(&Kind::Kill) && plan.batches >= 10;
    let large = Plan { kinds: Kind::ALL.into(), batches: 100, ..Plan::new(1) };
    let small = shrink(large, 500, needs);
    assert_eq!((small.kinds.into_iter().collect::<Vec<_>>(), small.lives, small.clients), (vec![Kind::Kill], 0, 1));
    assert!(small.batches < 20);
}

/// A world in which something is wrong for sure: it is noticed, as the breach of the rule that it is, also in the smallest world
/// that still fails; and without it nothing is wrong.
fn is_noticed(sabotage: Kind, rule: &str) {
    let of = |seed| {
        let kinds = [sabotage, Kind::Power, Kind::Slow, Kind::Hide].into();
        Plan { kinds, lives: 4, batches: 60, clients: 3, ..Plan::new(seed) }
    };
    let fails = |plan: &Plan| run_world(plan).failure.is_some_and(|failure| failure.what.contains(rule));
    let found = (0..20).map(of).find(fails);
    let found = found.unwrap_or_else(|| panic!("{sabotage} was not noticed as a breach of {rule}"));
    let small = shrink(found.clone(), 20, fails);
    assert!(small.kinds.contains(&sabotage) && small.batches < found.batches, "{small}");
    let mut honest = found;
    honest.kinds.remove(&sabotage);
    assert_eq!(run_world(&honest).failure, None, "{honest}");
}

#[test]
fn i1_a_disk_that_lies_about_syncs_is_noticed() {
    is_noticed(Kind::Lie, "I1");
}

#[test]
fn i3_a_batch_that_is_applied_twice_is_noticed() {
    is_noticed(Kind::Twice, "I3");
}

#[test]
fn i5_a_bit_that_changed_is_noticed() {
    is_noticed(Kind::Alter, "I5");
}
