//! The one who compares snapshots with the model now and then, and holds some for long (I10).

use std::time::Duration;

use stepwell_engine::Snapshot;

use crate::{
    dice::Dice,
    life::Life,
    model::{Moment, Seen},
    reading,
};

/// Snapshots of a life that follow close upon one another.
const OFTEN: u64 = 20;

/// The body of the reader's thread.
pub(crate) fn run(life: &Life, _: usize) {
    let dice = Dice::new(life.world.plan.seed, 3_000 + life.number);
    let mut held: Vec<(Snapshot, Vec<Seen>)> = Vec::new();
    for checks in 0.. {
        // Lives that last long are not looked at as often.
        let pauses = if checks < OFTEN { [5, 100, 1_500] } else { [100, 2_000, 60_000] };
        life.world.simulation.sleep(dice.duration(Duration::from_millis(*dice.pick(&pauses))));
        if life.is_stopping() {
            break;
        }
        let Some(taken) = life.check(&dice, Moment::Later) else { continue };
        if dice.once_in(3) {
            held.push(taken);
        }
        if held.len() > 3 || (dice.once_in(3) && !held.is_empty()) {
            check_held(life, held.swap_remove(dice.below(held.len() as u64) as usize), &dice);
        }
    }
    held.into_iter().for_each(|taken| check_held(life, taken, &dice));
}

fn check_held(life: &Life, (snapshot, points): (Snapshot, Vec<Seen>), dice: &Dice) {
    let all = life.world.model().all_series.clone();
    let again = match reading::all_points(&snapshot, &all, dice) {
        Ok(again) => again,
        Err(error) => return life.not_read("I10, a snapshot that was held", &error),
    };
    let is_same = reading::by_series(&again) == reading::by_series(&points);
    life.world.expect(if is_same {
        Ok(())
    } else {
        Err("I10: a snapshot that was held shows other points".to_owned())
    });
    life.world.tally().held += 1;
    match reading::check_derived(&snapshot, &again, &all, dice) {
        Ok(derived) => life.world.expect(derived),
        Err(error) => life.not_read("I10, a snapshot that was held", &error),
    }
}
