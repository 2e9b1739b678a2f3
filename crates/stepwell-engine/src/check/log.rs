//! The log: by the replay that a start would do, without keeping anything of it.

use std::{path::Path, sync::Arc};

use stepwell_env::Disk;
use stepwell_types::Lsn;
use stepwell_wal::Wal;

use super::{CheckReport, Concern, Damage, log_concern};
use crate::EngineError;

pub(super) fn check(disk: &Arc<dyn Disk>, dir: &Path, floor: Lsn, report: &mut CheckReport) -> Result<(), EngineError> {
    let failed = |what| move |source| EngineError::Io { what, path: dir.to_owned(), source };
    if !disk.try_exists(dir).map_err(failed("look for"))? {
        return Ok(());
    }
    let entries = disk.list(dir).map_err(failed("list"))?;
    entries.iter().filter(|entry| entry.name.ends_with(".wal")).for_each(|entry| report.read(entry.bytes));
    check_kept(&**disk, dir, floor, report)?;
    let replayed = Wal::replay_read_only(disk.clone(), dir, floor, &mut |_| {})?;
    report.points += replayed.points;
    for damage in replayed.damaged {
        let concerns = log_concern(damage.lsn, floor);
        let (path, offset, detail) = (damage.path, damage.offset, damage.detail);
        report.damages.push(Damage { path, offset, bytes: 0, detail, concerns });
    }
    if let Some(tail) = replayed.torn_tail {
        report.notes.push(format!(
            "{} ends with an unfinished write of {} bytes at byte {}, as a crash leaves it; were it damage to the last group \
             written, nothing could tell the two apart, and the points from LSN {} on would be lost",
            tail.path.display(),
            tail.bytes,
            tail.offset,
            replayed.next_lsn
        ));
    }
    let kept = entries.iter().filter(|entry| entry.name.ends_with(".damaged")).map(|entry| entry.name.as_str());
    for name in kept {
        report.notes.push(format!("{} is kept of damage that a start has reported", dir.join(name).display()));
    }
    Ok(())
}

/// Files that no start reads any more: they are kept for restores to an earlier moment.
fn check_kept(disk: &dyn Disk, dir: &Path, floor: Lsn, report: &mut CheckReport) -> Result<(), EngineError> {
    let files = stepwell_wal::files(disk, dir)?;
    for pair in files.windows(2).filter(|pair| pair[1].0 <= floor) {
        let file = stepwell_wal::inspect(disk, &pair[0].1)?;
        let zeros = (file.zeros > 0).then_some((file.bytes - file.zeros, file.zeros));
        let header = file.first_lsn.is_none().then_some((0, 0));
        for (offset, bytes) in file.gaps.into_iter().chain(zeros).chain(header) {
            let detail = "it is not a whole frame".to_owned();
            let why = "its points are in segments; only a restore to an earlier moment would miss them";
            let (path, concerns) = (file.path.clone(), Concern::Nothing(why));
            report.damages.push(Damage { path, offset, bytes, detail, concerns });
        }
    }
    Ok(())
}
