//! A bit flips in some file, on a copy of the disk: what is read must be right or reported (I11).

use std::sync::Arc;

use stepwell_engine::Engine;
use stepwell_env::Disk;

use crate::{dice::Dice, life::Life, plan::Kind, reading};

/// Tries one bit of one file. The world itself does not notice.
pub(crate) fn try_one(life: &Life, dice: &Dice) {
    let world = &life.world;
    let before = {
        let model = world.model();
        match reading::all_points(&life.engine.snapshot(), &model.all_series, dice) {
            Ok(points) => points,
            // A disk in trouble.
            Err(_) => return,
        }
    };
    let copy = world.disk().copy(dice.any());
    let files: Vec<_> = copy.files().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    if files.is_empty() {
        return;
    }
    let (path, bytes) = dice.pick(&files);
    let (byte, bit) = (dice.below(*bytes as u64) as usize, dice.below(8) as u8);
    stepwell_env::note(|| format!("on a copy, bit {bit} of byte {byte} of {} flips", path.display()));
    world.tally().fault(Kind::Rot, 1);
    if copy.flip_bit(path, byte, bit).is_err() {
        return;
    }
    let env = world.simulation.env(Arc::new(copy) as Arc<dyn Disk>);
    // Refused as damaged: an answer.
    let Ok(engine) = Engine::open(env, world.plan.config()) else { return };
    let all = world.model().all_series.clone();
    let snapshot = engine.snapshot();
    if let Ok(after) = reading::all_points(&snapshot, &all, dice) {
        let known: std::collections::HashMap<u64, _> = before.iter().map(|point| (point.lsn, *point)).collect();
        // What was hidden by the one life is not by the next; what neither knows of is wrong.
        let is_right = |point: &crate::model::Seen| match known.get(&point.lsn) {
            Some(right) => right == point,
            None => world.model().was_sent(point),
        };
        if let Some(wrong) = after.iter().find(|point| !is_right(point)) {
            world.expect(Err(format!("I11: bit {bit} of byte {byte} of {} makes {wrong:?}", path.display())));
        }
        // Rot of the log's last group is a torn tail.
        let is_excused =
            path.extension().is_some_and(|ending| ending == "wal") || world.model().has_uncertain_deletions();
        if after.len() < before.len() && engine.stats().damaged == 0 && !is_excused {
            let lost = before.len() - after.len();
            world.expect(Err(format!("I11: bit {bit} of byte {byte} of {} hides {lost} points", path.display())));
        }
        if let Ok(derived) = reading::check_derived(&snapshot, &after, &all, dice) {
            world.expect(derived);
        }
    }
    drop(engine.shutdown());
}
