use super::*;

/// About as many as a minute of a debug build has room for.
const WORLDS: u64 = 60;

#[test]
fn i1_to_i11_hold_in_worlds_of_many_seeds() {
    let mut total = Tally::default();
    for seed in 0..WORLDS {
        let plan = Plan::new(seed);
        let report = run_world(&plan);
        if let Some(failure) = report.failure {
            let tail = failure.trace.len().saturating_sub(40);
            panic!("{plan}\n{}\n{}", failure.trace[tail..].join("\n"), failure.what);
        }
        total.add(report.tally);
    }
    println!("{total}");
    // Worlds in which nothing happens would prove nothing.
    assert!(total.kills > 5 && total.losses_of_power > 5 && total.checks > 500 && total.states.len() > 100, "{total}");
    assert!(total.faults.len() > 12, "{total}");
}

#[test]
fn the_same_plan_gives_the_same_trace_and_another_seed_another() {
    let traces: Vec<u64> = (0..6).map(|seed| run_world(&Plan::new(seed)).trace_hash).collect();
    for (seed, trace) in (0..).zip(&traces) {
        assert_eq!(run_world(&Plan::new(seed)).trace_hash, *trace, "seed {seed}");
    }
    let distinct: std::collections::HashSet<u64> = traces.iter().copied().collect();
    assert_eq!(distinct.len(), traces.len());
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
