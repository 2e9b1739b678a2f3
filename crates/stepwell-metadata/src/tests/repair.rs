//! Repairs that are cut short.

use std::path::{Path, PathBuf};

use super::{
    rot::{in_memory, opened, written},
    salvage::{overwrite, pages_of},
    *,
};
use crate::{check, repair, replace::result_of};

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// As a kill leaves it: five of 65 runs are in the log alone, and a page beside them is overwritten.
async fn killed(dir: &Path) -> PathBuf {
    let (path, killed) = (dir.join("metadata.sqlite"), dir.join("killed.sqlite"));
    written(&path).await;
    let metadata = Metadata::open(&path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    for number in 60..65 {
        metadata.create_run(new_run(&format!("run-{number}"), &project.project_id), number).await.unwrap();
    }
    std::fs::copy(&path, &killed).unwrap();
    std::fs::copy(log_of(&path), log_of(&killed)).unwrap();
    metadata.close().await;
    let tags = pages_of(&path, "tags").await;
    overwrite(&killed, &[tags.iter().find(|page| page.is_leaf).unwrap().number]);
    killed
}

async fn runs(path: &Path) -> usize {
    let metadata = Metadata::open(path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    let runs = metadata.runs_of_project(&project.project_id).await.unwrap().len();
    let runs = runs + metadata.trashed_runs().await.unwrap().len();
    metadata.close().await;
    runs
}

/// The log went before the result was written: where the disk was full then, the next repair knew nothing of what was in it.
#[tokio::test]
async fn i1_a_repair_that_fails_to_write_its_result_leaves_the_log() {
    let dir = in_memory();
    let path = killed(dir.path()).await;
    let quarantine = dir.path().join("quarantine");
    let in_the_way = ["", ".repaired"].map(|suffix| PathBuf::from(format!("{}{suffix}.tmp", path.display())));
    for directory in &in_the_way {
        std::fs::create_dir(directory).unwrap();
    }
    let failed = repair(&path, &quarantine, false).await;
    assert!(matches!(failed, Err(MetadataError::Io { .. })), "{failed:?}");
    for directory in &in_the_way {
        std::fs::remove_dir(directory).unwrap();
    }
    repair(&path, &quarantine, false).await.unwrap();
    assert_eq!(runs(&path).await, 65);
}

/// A file of which nothing can be said was taken for absent, and made anew over the one that was there.
#[tokio::test]
async fn i1_metadata_that_cannot_be_looked_at_are_not_made_anew() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    for circle in [path.clone(), log_of(&path), result_of(&path)] {
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let refused = Metadata::open(&path).await.map(drop);
        assert!(matches!(refused, Err(MetadataError::Io { what: "look for", .. })), "{refused:?}");
        let refused = repair(&path, &dir.path().join("quarantine"), false).await.map(drop);
        assert!(refused.is_err(), "{}", circle.display());
        assert!(circle.is_symlink());
        std::fs::remove_file(&circle).unwrap();
    }
    Metadata::open(&path).await.unwrap().close().await;
}

#[tokio::test]
async fn i7_a_repair_that_is_cut_short_behind_its_result_is_ended_by_the_next_start_or_repair() {
    let dir = in_memory();
    let path = killed(dir.path()).await;
    let quarantine = dir.path().join("quarantine");
    let (file, log) = (std::fs::read(&path).unwrap(), std::fs::read(log_of(&path)).unwrap());
    repair(&path, &quarantine, false).await.unwrap();
    let result = std::fs::read(&path).unwrap();
    for has_log in [true, false] {
        for by_repair in [true, false] {
            std::fs::write(&path, &file).unwrap();
            std::fs::write(result_of(&path), &result).unwrap();
            let _ = std::fs::remove_file(log_of(&path));
            if has_log {
                std::fs::write(log_of(&path), &log).unwrap();
            }
            assert!(matches!(opened(&path).await, Err(MetadataError::DamagedFile { .. })), "nobody reads half of it");
            assert!(!check(&path).await.unwrap().damages.is_empty());
            assert_eq!(repair(&path, &quarantine, true).await.unwrap().lines.len(), 1);
            assert!(std::fs::read(&path).unwrap() == file, "a dry run changes nothing");
            if by_repair {
                assert_eq!(repair(&path, &quarantine, false).await.unwrap().lines.len(), 1);
                assert!(std::fs::read(&path).unwrap() == result);
            }
            assert_eq!(runs(&path).await, 65, "log: {has_log}, repair: {by_repair}");
            assert!(!result_of(&path).exists() && check(&path).await.unwrap().damages.is_empty());
        }
    }
    // One that rotted meanwhile is not taken, and the log is left for the next.
    std::fs::write(&path, &file).unwrap();
    std::fs::write(log_of(&path), &log).unwrap();
    std::fs::write(result_of(&path), &result[..result.len() - 1]).unwrap();
    assert!(
        matches!(Metadata::open(&path).await, Err(MetadataError::DamagedFile { path, .. }) if path == result_of(&dir.path().join("killed.sqlite")))
    );
    let done = repair(&path, &quarantine, false).await.unwrap();
    assert!(done.quarantined.contains(&quarantine.join("killed.sqlite.repaired")), "{done:?}");
    assert_eq!(runs(&path).await, 65);
}
