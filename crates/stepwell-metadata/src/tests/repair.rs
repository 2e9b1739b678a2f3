//! Repairs that are cut short.

use std::path::{Path, PathBuf};

use super::{
    rot::{in_memory, opened, written},
    salvage::{overwrite, pages_of},
    *,
};
use crate::{
    check, mark_rows_lost, repair,
    replace::{replace, result_of},
    rows_were_lost, unmark_rows_lost,
};

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// As a kill leaves it: five of 65 runs are in the log alone.
async fn with_log(dir: &Path) -> PathBuf {
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
    killed
}

/// The same, and a page beside them is overwritten.
async fn killed(dir: &Path) -> PathBuf {
    let killed = with_log(dir).await;
    overwrite_tags(&killed, &dir.join("metadata.sqlite")).await;
    killed
}

/// Takes rows of `path`, of which `whole` is a copy that is whole.
async fn overwrite_tags(path: &Path, whole: &Path) {
    let tags = pages_of(whole, "tags").await;
    overwrite(path, &[tags.iter().find(|page| page.is_leaf).unwrap().number]);
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

/// Only the repair that lost rows knew of that: a later one, or a start, took their blobs for what nobody needs.
#[tokio::test]
async fn i11_a_repair_that_loses_rows_says_so_for_later_and_no_other_does() {
    let dir = in_memory();
    let (path, quarantine) = (with_log(dir.path()).await, dir.path().join("quarantine"));
    let log = std::fs::read(log_of(&path)).unwrap();
    let repaired = async || {
        assert!(!rows_were_lost(&path).unwrap());
        assert!(!repair(&path, &quarantine, false).await.unwrap().lines.is_empty());
        let are_lost = rows_were_lost(&path).unwrap();
        assert_eq!(repair(&path, &quarantine, false).await.unwrap().lines.len(), 0);
        assert_eq!(rows_were_lost(&path).unwrap(), are_lost, "until somebody says that it is seen to");
        unmark_rows_lost(&path).unwrap();
        are_lost
    };
    // With the log damaged in its middle what stands behind it is lost, though each page of the file is whole.
    let mut damaged = log.clone();
    damaged[log.len() / 2] ^= 0x20;
    std::fs::write(log_of(&path), &damaged).unwrap();
    assert!(repaired().await);
    let file = std::fs::read(&path).unwrap();
    let mut flipped = file.clone();
    flipped[2 * 4_096 + 100] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(!repaired().await);
    overwrite(&path, &[1]);
    assert!(!repaired().await, "its first page has a copy");
    overwrite_tags(&path, &dir.path().join("metadata.sqlite")).await;
    assert!(repaired().await);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(log_of(&path), &log).unwrap();
    assert!(repaired().await, "a log without its file");
    // A result that rotted may have outlived the log.
    std::fs::write(&path, &flipped).unwrap();
    std::fs::write(result_of(&path), &file[..file.len() - 1]).unwrap();
    assert!(repaired().await);
}

#[tokio::test]
async fn i11_a_repair_changes_nothing_before_it_is_known_for_later_that_rows_are_lost() {
    let dir = in_memory();
    let (path, quarantine) = (killed(dir.path()).await, dir.path().join("quarantine"));
    // Which has the page that is overwritten.
    std::fs::remove_file(log_of(&path)).unwrap();
    let (file, in_the_way) =
        (std::fs::read(&path).unwrap(), PathBuf::from(format!("{}.rows-lost.tmp", path.display())));
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(repair(&path, &quarantine, false).await, Err(MetadataError::Io { .. })));
    assert!(std::fs::read(&path).unwrap() == file && !result_of(&path).exists());
    std::fs::remove_dir(&in_the_way).unwrap();
    repair(&path, &quarantine, true).await.unwrap();
    assert!(!rows_were_lost(&path).unwrap(), "a dry run loses none");
    repair(&path, &quarantine, false).await.unwrap();
    assert!(rows_were_lost(&path).unwrap());
    mark_rows_lost(&path).unwrap();
    assert!(rows_were_lost(&path).unwrap(), "twice is as good as once");
}

/// A repair that could not remove the log left its result; a file from a backup, put there since, was replaced by it in silence.
#[tokio::test]
async fn i1_a_file_that_was_put_there_since_is_not_replaced_by_the_result_of_a_repair() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let (result, quarantine) = (std::fs::read(&path).unwrap(), dir.path().join("quarantine"));
    let other = dir.path().join("other.sqlite");
    let metadata = Metadata::open(&other).await.unwrap();
    metadata.create_project("of-the-backup", 1).await.unwrap();
    metadata.close().await;
    overwrite_tags(&path, &path).await;
    let damaged = std::fs::read(&path).unwrap();
    // The log cannot be removed.
    let cut_short = || {
        std::fs::write(&path, &damaged).unwrap();
        std::fs::create_dir(log_of(&path)).unwrap();
        assert!(matches!(replace(&path, &result), Err(MetadataError::Io { what: "remove", .. })));
        std::fs::remove_dir(log_of(&path)).unwrap();
        assert!(result_of(&path).exists());
    };
    let is_refused = |ended: Result<(), MetadataError>| {
        let names_both =
            |path: &Path, result: &Path| *path == dir.path().join("metadata.sqlite") && *result == result_of(path);
        matches!(ended, Err(MetadataError::ChangedSinceRepair { path, result }) if names_both(&path, &result))
    };
    let put = std::fs::read(&other).unwrap();
    for kept in ["the file", "the result", "the result, of the file that it is of"] {
        cut_short();
        if kept != "the result, of the file that it is of" {
            std::fs::write(&path, &put).unwrap();
            assert!(is_refused(Metadata::open(&path).await.map(drop)));
            assert!(is_refused(repair(&path, &quarantine, true).await.map(drop)));
            assert!(is_refused(repair(&path, &quarantine, false).await.map(drop)));
            assert!(std::fs::read(&path).unwrap() == put && std::fs::read(result_of(&path)).unwrap() == result);
            std::fs::remove_file(if kept == "the file" { result_of(&path) } else { path.clone() }).unwrap();
        }
        let metadata = Metadata::open(&path).await.unwrap();
        let is_of_backup = metadata.project_by_name("of-the-backup").await.unwrap().is_some();
        metadata.close().await;
        assert_eq!(is_of_backup, kept == "the file", "{kept}");
        assert!(!result_of(&path).exists());
    }
}
