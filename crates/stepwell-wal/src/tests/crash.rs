//! Power loss and kills at any moment (I1, I7).

use stepwell_env::SimFault;

use super::*;

/// What a workload was told: records acknowledged, records sent, and the floor below which it needs none.
#[derive(Default)]
struct Told {
    sent: Vec<WalRecord>,
    acked: usize,
    floor: u64,
}

/// Groups, rotations, releases and a restart, until the power goes.
fn workload(disk: &SimDisk, told: &mut Told) -> Result<(), WalError> {
    told.floor = 1;
    let mut next = 1;
    for life in 0..2 {
        let (mut wal, replayed, _) = try_open(disk, told.floor)?;
        let needed: Vec<_> =
            told.sent[..told.acked].iter().filter(|record| record.first_lsn.0 >= told.floor).cloned().collect();
        assert_same(&replayed, &needed);
        for turn in 0..3 {
            for group in 0..2 {
                for points in [1 + turn, 200 * group + 1] {
                    let record = record(next, points);
                    next += points as u64;
                    append(&mut wal, &record)?;
                    told.sent.push(record);
                }
                wal.sync()?;
                told.acked = told.sent.len();
            }
            if turn != 1 {
                let frozen_below = next;
                wal.rotate(Lsn(next))?;
                if life + turn > 0 {
                    told.floor = frozen_below;
                    wal.release(Lsn(told.floor))?;
                }
            }
        }
    }
    Ok(())
}

#[track_caller]
fn check_recovery(disk: &SimDisk, told: &Told, story: &str) {
    let (mut wal, replayed, report) = try_open(disk, told.floor).unwrap_or_else(|error| panic!("{story}: {error}"));
    let expected: Vec<_> = told.sent.iter().filter(|record| record.first_lsn.0 >= told.floor).cloned().collect();
    let acked = told.sent[..told.acked].iter().filter(|record| record.first_lsn.0 >= told.floor).count();
    assert!(replayed.len() >= acked, "{story}: {} of {acked} acknowledged records", replayed.len());
    assert_same(&replayed, &expected[..replayed.len()]);
    assert_eq!(report.damaged, [], "{story}");
    // What recovery has served is durable from then on, and recovering again changes nothing.
    for disk in power_losses(disk) {
        let (_, again, second) = try_open(&disk, told.floor).unwrap();
        assert_same(&again, &replayed);
        assert_eq!((second.next_lsn, second.torn_tail, second.damaged), (report.next_lsn, None, vec![]), "{story}");
    }
    // The log goes on.
    let more = record(report.next_lsn.0, 3);
    append_synced(&mut wal, &more).unwrap();
    let (_, after, third) = try_open(&disk.crash(1), told.floor).unwrap();
    assert_same(&after[..replayed.len()], &replayed);
    assert_same(&after[replayed.len()..], &[more]);
    assert_eq!((third.damaged, third.torn_tail), (vec![], None), "{story}");
}

#[test]
fn i1_i7_power_loss_at_every_sync_keeps_every_acknowledged_record() {
    let whole = disk();
    workload(&whole, &mut Told::default()).unwrap();
    assert!(whole.syncs() > 20);
    for at in 0..whole.syncs() {
        let disk = disk();
        disk.inject(SimFault::PowerLossAtSync(at));
        let mut told = Told::default();
        assert!(workload(&disk, &mut told).is_err());
        for seed in 0..24 {
            check_recovery(&disk.crash(seed), &told, &format!("sync {at}, seed {seed}"));
        }
    }
}

/// Recovery itself may lose power at any of its syncs.
#[test]
fn i7_power_loss_during_recovery_changes_nothing() {
    for at in [5, 9, 14, 17] {
        let disk = disk();
        disk.inject(SimFault::PowerLossAtSync(at));
        let mut told = Told::default();
        assert!(workload(&disk, &mut told).is_err());
        for seed in 0..12 {
            let crashed = disk.crash(seed);
            let probe = disk.crash(seed);
            try_open(&probe, told.floor).unwrap();
            for again_at in 0..probe.syncs() {
                let second = copy(&crashed);
                second.inject(SimFault::PowerLossAtSync(again_at));
                assert!(try_open(&second, told.floor).is_err());
                check_recovery(
                    &second.crash(seed),
                    &told,
                    &format!("sync {at}, seed {seed}, recovery's sync {again_at}"),
                );
            }
        }
    }
}

/// I1, I3: a killed process leaves bytes in the page cache; once a restart has served them, and answered "duplicate" to
/// their producers, losing the power must not take them.
#[test]
fn i1_what_recovery_found_in_the_page_cache_is_made_durable() {
    let disk = disk();
    write(&disk, &[2]);
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(3, 2)).unwrap();
    wal.close().unwrap();
    // The group that was written, not synced, when the process was killed.
    let mut bytes = disk.read(&path(3)).unwrap();
    let offset = bytes.len() as u64;
    encode_frame(&record(5, 4).batch, None).unwrap().write(Lsn(5), Lsn(5), offset, &mut bytes);
    disk.remove(&path(3)).unwrap();
    disk.create(&path(3)).unwrap().append(&bytes).unwrap();
    let (_, replayed, _) = open(&disk);
    assert_eq!(replayed.len(), 3);
    power_losses(&disk).for_each(|disk| assert_same(&open(&disk).1, &replayed));
}
