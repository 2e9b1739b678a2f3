//! The cache against the rows themselves, after every change and beside changes.

use std::collections::BTreeMap;

use super::*;
use crate::{NewRun, RunPatch, RunStatus};

const RUNS: u64 = 6;

async fn open(bytes_max: usize) -> (tempfile::TempDir, Metadata) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("metadata.sqlite")).await.unwrap();
    (dir, metadata.with_run_cache(bytes_max))
}

async fn check(metadata: &Metadata, project_id: &str, after: &str) {
    let mut expected = metadata.all_runs_of_project(project_id).await.unwrap();
    expected.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    let cached = metadata.cached_runs(project_id).await.unwrap();
    let cached: Vec<Run> = cached.iter().map(|run| run.as_ref().clone()).collect();
    assert_eq!(cached, expected, "project {project_id} after {after}");
}

/// A pseudorandom walk (SplitMix64) through everything that changes runs.
#[tokio::test]
async fn i2_the_cache_is_what_the_rows_are_after_any_change() {
    for (seed, bytes_max) in [(1, usize::MAX), (2, usize::MAX), (3, 6_000), (4, 0)] {
        let mut state: u64 = seed;
        let mut random = |below: u64| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % below
        };
        let (_dir, metadata) = open(bytes_max).await;
        let mut projects = Vec::new();
        for name in ["a", "b"] {
            projects.push(metadata.ensure_project(name, 1).await.unwrap());
        }
        for now_us in 2..200 {
            let project = &projects[random(2) as usize];
            let run_id = format!("run{}", random(RUNS));
            let text = random(3).to_string();
            // What is refused changes nothing, which is checked as well.
            let action = random(10);
            match action {
                0..=2 => {
                    let tags = BTreeMap::from([("t".to_owned(), text)]);
                    let new = NewRun { run_id, project_id: project.project_id.clone(), tags, ..NewRun::default() };
                    drop(metadata.create_run(new, now_us).await);
                }
                3..=5 => {
                    let tags = BTreeMap::from([("t".to_owned(), (action > 3).then_some(text.clone()))]);
                    let params = BTreeMap::from([(text, ParamValue::Int(now_us))]);
                    let status = Some(RunStatus::Finished);
                    drop(
                        metadata
                            .update_run(&run_id, RunPatch { status, params, tags, ..RunPatch::default() }, now_us)
                            .await,
                    );
                }
                6 => drop(metadata.trash_run(&run_id, now_us).await),
                7 => drop(metadata.restore_run(&run_id, now_us).await),
                8 => drop(metadata.purge_run(&run_id, "none", now_us).await),
                _ => {
                    let id = &project.project_id;
                    drop(metadata.trash_project(id, now_us).await);
                    check(&metadata, id, "into the trash").await;
                    let with_runs = random(2) == 0;
                    drop(metadata.restore_project(id, with_runs, now_us).await);
                }
            }
            let project = &projects[random(2) as usize].project_id;
            check(&metadata, project, &format!("change {now_us} of seed {seed}")).await;
            assert!(metadata.cached_run_bytes().0 <= bytes_max);
        }
        metadata.close().await;
    }
}

/// Each writer sees its own change at once, whatever the others do meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_who_has_written_reads_it_beside_others() {
    let (_dir, metadata) = open(usize::MAX).await;
    let project = metadata.ensure_project("p", 1).await.unwrap().project_id;
    let writer = |number: usize| {
        let (metadata, project) = (metadata.clone(), project.clone());
        async move {
            let run_id = format!("run{number}");
            let new = NewRun { run_id: run_id.clone(), project_id: project.clone(), ..NewRun::default() };
            metadata.create_run(new, 1).await.unwrap();
            for round in 0..30 {
                let tags = BTreeMap::from([("round".to_owned(), Some(round.to_string()))]);
                metadata.update_run(&run_id, RunPatch { tags, ..RunPatch::default() }, 2).await.unwrap();
                let runs = metadata.cached_runs(&project).await.unwrap();
                let run = runs.iter().find(|run| run.run_id == run_id).expect("the run is there");
                assert_eq!(run.tags["round"], round.to_string());
            }
        }
    };
    let writers: Vec<_> = (0..8).map(|number| tokio::spawn(writer(number))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    check(&metadata, &project, "all writers").await;
    metadata.close().await;
}

/// A client that goes away in the middle of a change: it may be made or not, but is never made unnoticed.
#[tokio::test]
async fn i2_a_change_whose_caller_went_away_is_noticed() {
    let (_dir, metadata) = open(usize::MAX).await;
    let project = metadata.ensure_project("p", 1).await.unwrap().project_id;
    let new = NewRun { run_id: "a".into(), project_id: project.clone(), ..NewRun::default() };
    metadata.create_run(new, 1).await.unwrap();
    for polls in 0..60 {
        let tags = BTreeMap::from([("polls".to_owned(), Some(polls.to_string()))]);
        let mut change = Box::pin(metadata.update_run("a", RunPatch { tags, ..RunPatch::default() }, 2));
        let mut left = polls;
        std::future::poll_fn(|context| {
            let is_ready = change.as_mut().poll(context).is_ready();
            if is_ready || left == 0 {
                return std::task::Poll::Ready(());
            }
            left -= 1;
            std::task::Poll::Pending
        })
        .await;
        drop(change);
        // Whatever is still under way is over once the one writer is free again.
        metadata.trash_run("nobody", 3).await.unwrap_err();
        check(&metadata, &project, &format!("a caller that went away after {polls} wakeups")).await;
    }
    metadata.close().await;
}

#[tokio::test]
async fn i9_what_was_not_asked_for_longest_goes_first() {
    let (_dir, metadata) = open(usize::MAX).await;
    let mut projects = Vec::new();
    for name in ["a", "b", "c"] {
        let project_id = metadata.ensure_project(name, 1).await.unwrap().project_id;
        for number in 0..4 {
            let tags = BTreeMap::from([("text".to_owned(), "x".repeat(1_000))]);
            let run_id = format!("{name}{number}");
            let new = NewRun { run_id, project_id: project_id.clone(), tags, ..NewRun::default() };
            metadata.create_run(new, 1).await.unwrap();
        }
        projects.push(project_id);
    }
    for project in &projects {
        metadata.cached_runs(project).await.unwrap();
    }
    let (all, _) = metadata.cached_run_bytes();
    assert!((12_000..24_000).contains(&all), "{all} bytes for twelve runs of a kilobyte");
    let metadata = metadata.with_run_cache(all - 1);
    for project in [0, 1, 0, 2] {
        metadata.cached_runs(&projects[project]).await.unwrap();
    }
    let kept = |project: usize| metadata.run_cache.slots().of_projects.contains_key(&projects[project]);
    assert_eq!([kept(0), kept(1), kept(2)], [true, false, true]);
    metadata.close().await;
}
