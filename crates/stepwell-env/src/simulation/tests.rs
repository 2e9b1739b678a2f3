use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{Mutex, Signal, beside, channel, in_parallel, spawn};

const TURNS_MAX: u64 = 100_000;

/// Three threads that send, one that adds up what comes in an order that the seed chooses.
fn sum_in_order(_: &Simulation) -> u64 {
    let (send, receive) = channel::bounded::<u64>(2);
    for i in 0..3 {
        let send = send.clone();
        spawn("sender", move || (0..5).for_each(|j| send.send(i * 5 + j).unwrap())).unwrap();
    }
    drop(send);
    receive.into_messages().fold(0, |sum, message| sum * 3 + message)
}

#[test]
fn the_same_seed_gives_the_same_turns_and_another_seed_others() {
    let run = |seed| Simulation::run(seed, TURNS_MAX, sum_in_order);
    let distinct: std::collections::HashSet<u64> = (0..20).map(|seed| run(seed).0.unwrap()).collect();
    assert!(distinct.len() > 10, "{} orders of 20 seeds", distinct.len());
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn time_passes_only_when_nobody_can_run() {
    let (result, report) = Simulation::run(1, TURNS_MAX, |simulation| {
        let env = simulation.env(Arc::new(crate::SimDisk::new()));
        let (send, receive) = channel::bounded::<()>(1);
        let sender = spawn("sleeper", {
            let simulation = simulation.clone();
            move || {
                simulation.sleep(Duration::from_secs(3_600));
                let _ = send.send(());
            }
        });
        assert!(receive.recv_timeout(Duration::from_secs(60)).is_err());
        let at = env.clock.monotonic();
        assert!(at >= Duration::from_secs(60) && at < Duration::from_secs(61), "{at:?}");
        receive.recv().unwrap();
        sender.unwrap().join().unwrap();
        env.clock.monotonic()
    });
    assert!(result.unwrap() >= Duration::from_secs(3_600) && report.turns < 100);
}

#[test]
fn a_deadlock_is_found_and_says_who_waits_for_what() {
    let (result, _) = Simulation::run(1, TURNS_MAX, |_| {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (started, has_started) = channel::bounded(1);
        let other = spawn("other", {
            let (a, b) = (a.clone(), b.clone());
            move || {
                let _b = b.lock();
                started.send(()).unwrap();
                let _a = a.lock();
            }
        });
        let _a = a.lock();
        has_started.recv().unwrap();
        let _b = b.lock();
        drop(other);
    });
    let what = result.unwrap_err().what;
    assert!(what.starts_with("deadlock") && what.contains("other waits for a lock"), "{what}");
}

#[test]
fn a_killed_process_does_nothing_more_and_its_locks_are_free() {
    for seed in 0..30 {
        let done = Arc::new(AtomicU64::new(0));
        let counted = done.clone();
        let (result, _) = Simulation::run(seed, TURNS_MAX, move |simulation| {
            let lock = Arc::new(Mutex::new(()));
            let process = simulation.start_process("worker", {
                let lock = lock.clone();
                move || {
                    in_parallel("part", 3, |_| {
                        loop {
                            let _held = lock.lock();
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            let process = process.unwrap();
            process.kill_after(50);
            assert!(process.wait());
            drop(lock.lock());
        });
        result.unwrap();
        let before = counted.load(Ordering::Relaxed);
        assert!(before < 51, "{before}");
    }
}

/// Main sees that its helper has ended, and does not know that both were killed.
#[test]
fn what_a_killed_thread_finds_wrong_is_no_failure() {
    for seed in 0..30 {
        let (result, _) = Simulation::run(seed, TURNS_MAX, |simulation| {
            let inside = simulation.clone();
            let process = simulation.start_process("main", move || {
                let signal = Signal::new();
                let helper = spawn("helper", move || signal.wait_until(Duration::from_millis(1), || false));
                if helper.unwrap().join().is_err() {
                    inside.fail("the helper has ended".to_owned());
                }
            });
            let process = process.unwrap();
            process.kill_after(50);
            assert!(process.wait());
        });
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_panic_fails_the_simulation_with_its_message() {
    let (result, _) = Simulation::run(1, TURNS_MAX, |_| {
        let signal = Signal::new();
        drop(spawn("faulty", || assert_eq!(1 + 1, 3, "arithmetic")));
        signal.wait_until(Duration::from_secs(1), || false);
    });
    let what = result.unwrap_err().what;
    assert!(what.contains("faulty") && what.contains("arithmetic"), "{what}");
}

#[test]
fn work_without_end_is_a_failure() {
    let (result, report) = Simulation::run(1, 1_000, |_| {
        let signal = Signal::new();
        signal.wait_until(Duration::from_millis(1), || false);
    });
    assert!(result.unwrap_err().what.starts_with("no end after 1000 turns"));
    assert!(report.turns < 1_100);
}

#[test]
fn what_is_done_beside_is_done() {
    let (result, _) = Simulation::run(1, TURNS_MAX, |_| beside("side", || 1, || in_parallel("part", 4, |part| part)));
    assert_eq!(result.unwrap(), (1, vec![0, 1, 2, 3]));
}
