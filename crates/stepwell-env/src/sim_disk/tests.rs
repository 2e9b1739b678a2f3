use std::{io, path::Path};

use super::*;
use crate::{Disk, Simulation};

#[test]
fn only_what_was_synced_is_sure_to_survive() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let mut lost_a_name = false;
    let mut lost_bytes = false;
    for seed in 0..50 {
        let disk = SimDisk::new();
        let mut file = disk.create(path).unwrap();
        file.append(b"synced").unwrap();
        file.sync().unwrap();
        lost_a_name |= !disk.crash(seed).exists(path);
        disk.sync_dir(dir).unwrap();
        file.append(&[7; 2_000]).unwrap();
        let after = disk.crash(seed);
        let left = after.read(path).unwrap();
        assert!(left.starts_with(b"synced"));
        lost_bytes |= left.len() < 2_006;
        assert_eq!(after.read(path).unwrap(), disk.crash(seed).read(path).unwrap(), "one seed, one crash");
    }
    assert!(lost_a_name && lost_bytes);
}

#[test]
fn a_failed_sync_marks_pages_clean() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let disk = SimDisk::new();
    let mut file = disk.create(path).unwrap();
    disk.sync_dir(dir).unwrap();
    disk.inject(SimFault::SyncError(0));
    file.append(b"abc").unwrap();
    assert!(file.sync().is_err());
    file.append(b"def").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read(path).unwrap(), b"abcdef", "programs see what the disk has not");
    assert_eq!(disk.crash(1).read(path).unwrap(), b"\0\0\0def");
}

/// What a failed sync called clean is written again when it is written over, without any room.
#[test]
fn what_is_written_over_is_durable() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let disk = SimDisk::new();
    let mut file = disk.create(path).unwrap();
    disk.sync_dir(dir).unwrap();
    disk.inject(SimFault::SyncError(0));
    file.append(b"abcdef").unwrap();
    assert!(file.sync().is_err());
    disk.inject(SimFault::Space(0));
    disk.overwrite(path, b"abcd").unwrap();
    assert_eq!(disk.crash(1).read(path).unwrap(), b"abcd");
    assert!(disk.overwrite(path, b"much longer").is_err() && disk.overwrite(Path::new("d/g"), b"").is_err());
}

#[test]
fn a_full_disk_takes_what_fits_and_space_returns() {
    let disk = SimDisk::new();
    let mut file = disk.create(Path::new("f")).unwrap();
    disk.inject(SimFault::Space(2));
    assert_eq!(file.append(b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new("f")).unwrap(), b"ab");
    disk.inject(SimFault::NoLimit);
    file.append(b"abc").unwrap();
}

/// A removal and a rename that were not synced come back or not, each whole; a rename never loses its file.
#[test]
fn names_change_whole_or_not_at_all() {
    let (dir, old, new, gone) = (Path::new("d"), Path::new("d/f.tmp"), Path::new("d/f"), Path::new("d/gone"));
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new();
        for path in [old, gone] {
            drop(disk.create(path).unwrap());
        }
        disk.sync_dir(dir).unwrap();
        disk.rename(old, new).unwrap();
        disk.remove(gone).unwrap();
        let after = disk.crash(seed);
        assert!(after.exists(old) != after.exists(new), "seed {seed}");
        seen.insert((after.exists(new), after.exists(gone)));
        disk.sync_dir(dir).unwrap();
        let after = disk.crash(seed);
        assert!(after.exists(new) && !after.exists(gone), "seed {seed}");
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn later_sectors_may_survive_earlier_ones() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let disk = SimDisk::new();
    let mut file = disk.create(path).unwrap();
    disk.sync_dir(dir).unwrap();
    file.append(&[7; 4 * 512]).unwrap();
    let left = |seed| disk.crash(seed).read(path).unwrap();
    let is_reordered = |bytes: Vec<u8>| bytes.len() == 4 * 512 && bytes[0] == 0 && bytes[3 * 512] == 7;
    assert!((0..200).any(|seed| is_reordered(left(seed))));
    let is_torn =
        |bytes: Vec<u8>| bytes.len().is_multiple_of(512) && bytes.chunks(512).all(|s| s.iter().all(|b| *b == s[0]));
    assert!((0..200).all(|seed| is_torn(left(seed))), "sectors are whole");
}

#[test]
fn each_operation_fails_when_asked_to_once() {
    for operation in DiskOperation::ALL {
        let disk = SimDisk::new();
        let (dir, path) = (Path::new("d"), Path::new("d/f"));
        let mut file = disk.create(path).unwrap();
        let mut all = || -> Vec<bool> {
            vec![
                disk.create(&dir.join(disk.syncs().to_string())).is_ok(),
                file.append(b"x").is_ok(),
                file.sync().is_ok(),
                file.truncate(0).is_ok(),
                disk.map(path).is_ok(),
                disk.read(path).is_ok(),
                disk.list(dir).is_ok(),
                disk.rename(path, path).is_ok(),
                disk.create(Path::new("d/g")).is_ok() && disk.remove(Path::new("d/g")).is_ok(),
                disk.sync_dir(dir).is_ok(),
            ]
        };
        assert!(all().iter().all(|is_ok| *is_ok), "{operation:?}");
        disk.inject(SimFault::Error(operation, 0));
        assert_eq!(all().iter().filter(|is_ok| !**is_ok).count(), 1, "{operation:?}");
        drop(disk.remove(Path::new("d/g")));
        assert!(all().iter().all(|is_ok| *is_ok), "{operation:?}");
        assert_eq!(disk.failures(), BTreeMap::from([(operation, 1)]));
    }
}

#[test]
fn trouble_comes_by_chance_and_by_seed() {
    let failures = |seed| {
        let disk = SimDisk::seeded(seed);
        let errors = BTreeMap::from([(DiskOperation::SyncDir, 5_000)]);
        disk.set_trouble(DiskTrouble { errors, ..DiskTrouble::default() });
        (0..40).map(|_| disk.sync_dir(Path::new("d")).is_err()).collect::<Vec<_>>()
    };
    assert_eq!(failures(1), failures(1));
    assert_ne!(failures(1), failures(2));
    assert!(failures(1).contains(&true) && failures(1).contains(&false));
}

#[test]
fn a_removed_file_gives_its_space_back() {
    let disk = SimDisk::new();
    let mut file = disk.create(Path::new("f")).unwrap();
    disk.inject(SimFault::Space(4));
    file.append(b"1234").unwrap();
    assert!(disk.create(Path::new("g")).unwrap().append(b"1").is_err());
    disk.remove(Path::new("f")).unwrap();
    disk.create(Path::new("h")).unwrap().append(b"1234").unwrap();
}

#[test]
fn a_disk_that_lies_keeps_nothing_that_it_says_it_synced() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let disk = SimDisk::new();
    disk.set_trouble(DiskTrouble { lies: true, ..DiskTrouble::default() });
    let mut file = disk.create(path).unwrap();
    file.append(b"abc").unwrap();
    file.sync().unwrap();
    disk.sync_dir(dir).unwrap();
    assert_eq!(disk.read(path).unwrap(), b"abc");
    assert!((0..50).any(|seed| !disk.crash(seed).exists(path)));
    disk.set_trouble(DiskTrouble::default());
    file.sync().unwrap();
    disk.sync_dir(dir).unwrap();
    assert!((0..50).all(|seed| disk.crash(seed).read(path).unwrap() == b"abc"), "it was only late");
}

#[test]
fn failures_by_chance_may_say_that_the_disk_is_full() {
    let disk = SimDisk::new();
    let errors = BTreeMap::from([(DiskOperation::Create, 10_000), (DiskOperation::List, 10_000)]);
    disk.set_trouble(DiskTrouble { errors, full: 10_000, ..DiskTrouble::default() });
    assert_eq!(disk.create(Path::new("f")).err().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.list(Path::new("d")).unwrap_err().kind(), io::ErrorKind::Other, "that needs no room");
    assert_eq!(disk.slow_and_full().1, 1);
}

#[test]
fn a_process_is_killed_at_an_operation_which_is_not_done() {
    let (result, _) = Simulation::run(1, 1_000, |simulation| {
        let disk = SimDisk::new();
        disk.kill_at(Some((DiskOperation::Create, 2)));
        let inside = disk.clone();
        let process = simulation.start_process("main", move || {
            for name in ["a", "b", "c", "d"] {
                drop(inside.create(Path::new(name)));
            }
        });
        assert!(process.unwrap().wait());
        assert_eq!(disk.files().into_iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a", "b"].map(PathBuf::from));
        disk.create(Path::new("c")).unwrap();
    });
    assert_eq!(result, Ok(()));
}
