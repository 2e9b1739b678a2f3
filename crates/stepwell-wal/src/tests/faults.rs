//! Disks that fail and fill up (I8).

use std::io;

use stepwell_env::{DirEntry, MappedFile, SimFault, WriteFile};

use super::*;
use crate::{format::FILE_HEADER_BYTES, inspect};

/// Points of a record too large for zeros to be written behind it.
const LARGE: usize = 20_000;

#[track_caller]
fn assert_poisoned(wal: &mut Wal) {
    let next = record(1_000, 1);
    assert!(matches!(append(wal, &next), Err(WalError::Poisoned { .. })));
    assert!(matches!(wal.sync(), Err(WalError::Poisoned { .. })));
    assert!(matches!(wal.rotate(Lsn(1_000)), Err(WalError::Poisoned { .. })));
}

#[test]
fn i8_a_failed_fsync_poisons_until_a_restart() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, 2)).unwrap();
    disk.inject(SimFault::SyncError(0));
    append(&mut wal, &record(3, 2)).unwrap();
    assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
    assert_poisoned(&mut wal);
    drop(wal);
    // The kernel shows the bytes and will never write them: what the restart serves must be written anew.
    let (mut wal, replayed, _) = open(&disk);
    assert_same(&replayed[..1], &[record(1, 2)]);
    power_losses(&disk).for_each(|disk| assert_same(&open(&disk).1, &replayed));
    let next = record(if replayed.len() == 2 { 5 } else { 3 }, 1);
    append_synced(&mut wal, &next).unwrap();
}

/// The same where there is no room for a copy of the file: it was cut and synced, which does not write what the kernel calls clean.
#[test]
fn i1_after_a_failed_fsync_a_restart_on_a_full_disk_makes_durable_what_it_serves() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, 2)).unwrap();
    disk.inject(SimFault::SyncError(0));
    append(&mut wal, &record(3, 200)).unwrap();
    assert!(wal.sync().is_err());
    drop(wal);
    // Enough for the header of the next file.
    disk.inject(SimFault::Space(100));
    let (_, replayed, _) = open(&disk);
    assert_same(&replayed, &[record(1, 2), record(3, 200)]);
    power_losses(&disk).for_each(|disk| assert_same(&open(&disk).1, &replayed));
}

#[test]
fn i8_a_failed_append_poisons_and_leaves_nothing() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, 2)).unwrap();
    disk.inject(SimFault::AppendError(0));
    let failed = append_synced(&mut wal, &record(3, 200));
    assert!(matches!(failed, Err(WalError::Io { .. })));
    assert_poisoned(&mut wal);
    assert_same(&open(&disk).1, &[record(1, 2)]);
}

#[test]
fn i8_a_full_disk_refuses_and_takes_again_without_a_restart() {
    for left in [0, 1, 39, 40, 100, 700] {
        let disk = disk();
        let (mut wal, _, _) = open(&disk);
        append_synced(&mut wal, &record(1, 2)).unwrap();
        // To a file without zeros ahead, over which the next frames could go.
        wal.rotate(Lsn(3)).unwrap();
        let length = disk.read(&path(3)).unwrap().len();
        disk.inject(SimFault::Space(left));
        for _ in 0..2 {
            append(&mut wal, &record(3, 1)).unwrap();
            append(&mut wal, &record(4, 200)).unwrap();
            assert!(matches!(wal.sync(), Err(WalError::DiskFull { .. })), "{left} bytes left");
            assert_eq!(disk.read(&path(3)).unwrap().len(), length, "nothing of the group stays");
        }
        disk.inject(SimFault::NoLimit);
        append_synced(&mut wal, &record(3, 300)).unwrap();
        let (_, replayed, report) = open(&disk.crash(0));
        assert_same(&replayed, &[record(1, 2), record(3, 300)]);
        assert_eq!((report.damaged, report.torn_tail), (vec![], None));
    }
}

#[test]
fn i8_a_full_disk_that_cannot_be_tidied_poisons() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, 2)).unwrap();
    wal.rotate(Lsn(3)).unwrap();
    disk.inject(SimFault::Space(100));
    disk.inject(SimFault::SyncError(0));
    assert!(matches!(append_synced(&mut wal, &record(3, 200)), Err(WalError::Io { .. })));
    assert_poisoned(&mut wal);
    disk.inject(SimFault::NoLimit);
    let (_, replayed, report) = open(&disk);
    assert_same(&replayed, &[record(1, 2)]);
    assert_eq!(report.damaged, [], "the half-written group is a torn tail");
}

/// A rotation that a full disk stopped once left a file behind; the old file went on past that file's first LSN, and the
/// next release took the old file for wholly below the floor: acknowledged points were lost.
#[test]
fn a_rotation_that_found_the_disk_full_loses_nothing_at_the_next_release() {
    for left in [0, 20] {
        let disk = disk();
        let (mut wal, _, _) = open(&disk);
        append_synced(&mut wal, &record(1, LARGE)).unwrap();
        let next = 1 + LARGE as u64;
        disk.inject(SimFault::Space(left));
        assert!(matches!(wal.rotate(Lsn(next)), Err(WalError::DiskFull { .. })));
        disk.inject(SimFault::NoLimit);
        append_synced(&mut wal, &record(next, 4)).unwrap();
        assert_same(&open(&disk.crash(0)).1, &[record(1, LARGE), record(next, 4)]);
        wal.rotate(Lsn(next + 4)).unwrap();
        append_synced(&mut wal, &record(next + 4, 1)).unwrap();
        wal.release(Lsn(next + 2)).unwrap();
        let (_, replayed, report) = try_open(&disk.crash(0), next + 2).unwrap();
        assert_same(&replayed, &[record(next, 4), record(next + 4, 1)]);
        assert_eq!(report.damaged, []);
    }
}

#[test]
fn a_rotation_whose_remains_are_not_removed_durably_poisons() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, LARGE)).unwrap();
    disk.inject(SimFault::Space(0));
    // The next sync is that of the directory, after the removal.
    disk.inject(SimFault::SyncError(0));
    assert!(wal.rotate(Lsn(1 + LARGE as u64)).is_err());
    disk.inject(SimFault::NoLimit);
    assert_poisoned(&mut wal);
    assert_same(&open(&disk).1, &[record(1, LARGE)]);
}

#[test]
fn i8_a_rotation_that_cannot_sync_poisons() {
    // The cut of the zeros ahead, the sync of the new file, and that of the directory.
    for nth in [0, 1, 2] {
        let disk = disk();
        let (mut wal, _, _) = open(&disk);
        append_synced(&mut wal, &record(1, 2)).unwrap();
        disk.inject(SimFault::SyncError(nth));
        assert!(matches!(wal.rotate(Lsn(3)), Err(WalError::Io { .. })));
        assert_poisoned(&mut wal);
        assert_same(&open(&disk.crash(0)).1, &[record(1, 2)]);
    }
}

#[test]
fn small_groups_go_over_zeros_that_are_gone_from_a_finished_file() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    let length = |lsn| disk.read(&path(lsn)).unwrap().len();
    append_synced(&mut wal, &record(1, 2)).unwrap();
    let with_zeros = length(1);
    append_synced(&mut wal, &record(3, 2)).unwrap();
    assert_eq!(length(1), with_zeros, "the second group went over zeros");
    let info = inspect(&disk, &path(1)).unwrap();
    assert_eq!((info.points, info.gaps.len()), (4, 0));
    assert!(info.zeros > 500_000 && info.zeros < with_zeros as u64, "{}", info.zeros);
    for disk in power_losses(&disk).chain([disk.clone()]) {
        let (_, replayed, report) = open(&disk);
        assert_same(&replayed, &[record(1, 2), record(3, 2)]);
        assert_eq!((report.damaged, report.torn_tail), (vec![], None), "zeros are the end of a file");
    }
    wal.rotate(Lsn(5)).unwrap();
    assert_eq!(length(1) as u64, with_zeros as u64 - info.zeros);
    // More small groups than go over the zeros of one writing.
    let mut all = vec![record(1, 2), record(3, 2)];
    let mut next = 5;
    while length(5) < 3 << 20 {
        all.push(record(next, 500));
        append_synced(&mut wal, &record(next, 500)).unwrap();
        next += 500;
    }
    append_synced(&mut wal, &record(next, LARGE)).unwrap();
    all.push(record(next, LARGE));
    assert_same(&open(&disk.crash(0)).1, &all);
}

#[test]
fn i8_no_room_for_zeros_is_room_enough_for_frames() {
    for left in [2_000, 20_000] {
        let disk = disk();
        let (mut wal, _, _) = open(&disk);
        disk.inject(SimFault::Space(left));
        let mut all = Vec::new();
        let mut next = 1;
        while append_synced(&mut wal, &record(next, 20)).is_ok() {
            all.push(record(next, 20));
            next += 20;
        }
        assert!(next > 40);
        disk.inject(SimFault::NoLimit);
        append_synced(&mut wal, &record(next, 20)).unwrap();
        all.push(record(next, 20));
        assert_same(&open(&disk.crash(0)).1, &all);
    }
    // Some of the zeros fit: they are cut off all the same before another file follows.
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    disk.inject(SimFault::Space(20_000));
    append_synced(&mut wal, &record(1, 20)).unwrap();
    assert!(inspect(&disk, &path(1)).unwrap().zeros > 0);
    disk.inject(SimFault::NoLimit);
    wal.rotate(Lsn(21)).unwrap();
    append_synced(&mut wal, &record(21, 1)).unwrap();
    let (_, replayed, report) = open(&disk.crash(0));
    assert_same(&replayed, &[record(1, 20), record(21, 1)]);
    assert_eq!((report.damaged, report.torn_tail), (vec![], None));
}

#[test]
fn i11_zeros_within_what_was_acknowledged_are_damage() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(1, 2)).unwrap();
    let end = disk.read(&path(1)).unwrap().len() - inspect(&disk, &path(1)).unwrap().zeros as usize;
    append_synced(&mut wal, &record(3, 2)).unwrap();
    wal.rotate(Lsn(5)).unwrap();
    append_synced(&mut wal, &record(5, 1)).unwrap();
    let mut bytes = disk.read(&path(1)).unwrap();
    bytes[end..].fill(0);
    stepwell_env::write_atomically(&disk, &path(1), &bytes).unwrap();
    let (replayed, report) = read_only(&disk, 1);
    assert_same(&replayed, &[record(1, 2), record(5, 1)]);
    assert_eq!(report.damaged[0].offset, end as u64);
    assert!(report.damaged[0].detail.contains("zeros"), "{:?}", report.damaged);
}

/// A restart without space for even a file header is refused as such, and costs nothing.
#[test]
fn i7_recovery_on_a_full_disk_loses_nothing() {
    for left in [0, 10] {
        let disk = disk();
        let records = write(&disk, &[2, 300]);
        disk.inject(SimFault::Space(left));
        assert!(matches!(try_open(&disk, 1), Err(WalError::DiskFull { .. })), "{left} bytes left");
        assert_same(&read_only(&disk, 1).0, &records);
        disk.inject(SimFault::NoLimit);
        let (mut wal, replayed, report) = open(&disk);
        assert_same(&replayed, &records);
        let begun = report.torn_tail.map(|tail| tail.bytes);
        assert_eq!((report.damaged, begun), (vec![], (left > 0).then_some(left)), "what the first start left");
        append_synced(&mut wal, &record(303, 1)).unwrap();
        assert!(contents(&disk).iter().all(|(name, _)| !name.ends_with(".tmp")));
    }
}

#[test]
fn release_removes_only_files_wholly_below_the_floor() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    for first in [1, 11, 21] {
        append_synced(&mut wal, &record(first, 10)).unwrap();
        wal.rotate(Lsn(first + 10)).unwrap();
    }
    wal.rotate(Lsn(31)).unwrap();
    assert_eq!(wal.release(Lsn(10)).unwrap(), 0);
    assert_eq!(wal.release(Lsn(20)).unwrap(), 1);
    assert_eq!(wal.release(Lsn(20)).unwrap(), 0);
    let (replayed, report) = read_only(&disk, 20);
    assert_same(&replayed, &[record(11, 10), record(21, 10)]);
    assert_eq!((report.records, report.points, report.next_lsn), (2, 20, Lsn(31)));
    assert_eq!(wal.release(Lsn(31)).unwrap(), 2, "the file that is written to stays");
    assert!(disk.exists(&path(31)));
}

#[test]
fn files_below_the_floor_are_kept_while_there_is_room_and_never_replayed() {
    let disk = disk();
    let (mut wal, _, _) = open(&disk);
    let numbers = [1, 11, 21, 31];
    for first in numbers {
        append_synced(&mut wal, &record(first, 10)).unwrap();
        wal.rotate(Lsn(first + 10)).unwrap();
    }
    let bytes = |first: u64| disk.read(&path(first)).unwrap().len() as u64;
    let there = |disk: &SimDisk| numbers.map(|first| disk.exists(&path(first)));
    let all = numbers.map(bytes).iter().sum();
    assert_eq!(wal.release_keeping(Lsn(41), all).unwrap(), 0);
    assert_eq!(wal.release_keeping(Lsn(41), all - 1).unwrap(), 1);
    // One that is larger than the room ends what is kept, whatever is behind it.
    assert_eq!(wal.release_keeping(Lsn(41), bytes(31)).unwrap(), 2);
    assert_eq!(there(&disk), [false, false, false, true]);
    wal.close().unwrap();
    let mut damaged = disk.read(&path(31)).unwrap();
    damaged[50] ^= 1;
    disk.remove(&path(31)).unwrap();
    put(&disk, &path(31), &damaged);
    let (mut wal, records, report) = try_open(&disk, 41).unwrap();
    assert_eq!((records.len(), report.next_lsn, report.damaged), (0, Lsn(41), vec![]));
    assert_eq!(wal.release(Lsn(41)).unwrap(), 1);
    assert_eq!(there(&disk), [false; 4]);
}

#[test]
fn an_empty_log_goes_on_at_the_floor() {
    let disk = disk();
    let (_, records, report) = try_open(&disk, 7).unwrap();
    assert_eq!((records.len(), report.next_lsn), (0, Lsn(7)));
    assert!(disk.exists(&path(7)));
}

/// A disk that leaves log files out of its lists.
struct Blind(SimDisk);

impl Disk for Blind {
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        Ok(self.0.list(path)?.into_iter().filter(|entry| !entry.name.ends_with(".wal")).collect())
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.0.create(path)
    }
    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        self.0.map(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.0.overwrite(path, data)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.0.truncate(path, bytes)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }
}

/// The newest file was missing from the list, for it could not be looked at just then. A start took its name for the next file's,
/// removed it as the remains of a creation, and gave its LSNs out again.
#[test]
fn i1_i7_a_file_that_was_not_listed_is_not_removed_unless_it_is_empty() {
    let disk = disk();
    let records = write(&disk, &[2]);
    let open_blindly =
        |disk: &SimDisk| Wal::open(Arc::new(Blind(disk.clone())), &dir(), Lsn(1), &mut |_| {}).map(|(wal, _)| wal);
    let before = contents(&disk);
    let error = open_blindly(&disk).map(drop).unwrap_err();
    assert!(matches!(&error, WalError::Unlisted { path: unlisted } if *unlisted == path(1)), "{error}");
    assert_eq!(contents(&disk), before);
    assert_same(&open(&disk).1, &records);
    // A creation that was cut short leaves as much.
    for left in [0, 20, FILE_HEADER_BYTES, FILE_HEADER_BYTES + 500] {
        let disk = self::disk();
        let mut remains = before[0].1[..left.min(FILE_HEADER_BYTES)].to_vec();
        remains.resize(left, 0);
        put(&disk, &path(1), &remains);
        drop(open_blindly(&disk).unwrap());
        assert_eq!(contents(&disk)[0].1.len(), FILE_HEADER_BYTES, "{left} bytes left");
    }
}
