//! The one who deletes, hides and flushes, and for whom things go wrong.

use std::{collections::BTreeMap, time::Duration};

use stepwell_engine::{Deletion, EngineError, Health, ProjectRun};
use stepwell_env::{DiskOperation, SimFault};

use crate::{
    batches::names,
    dice::Dice,
    life::Life,
    plan::Kind,
    world::{End, World},
};

/// The operation of the disk that a kind makes fail.
fn operation(kind: Kind) -> Option<DiskOperation> {
    Some(match kind {
        Kind::Create => DiskOperation::Create,
        Kind::Append => DiskOperation::Append,
        Kind::Sync => DiskOperation::Sync,
        Kind::Truncate => DiskOperation::Truncate,
        Kind::Map => DiskOperation::Map,
        Kind::Read => DiskOperation::Read,
        Kind::List => DiskOperation::List,
        Kind::Rename => DiskOperation::Rename,
        Kind::Remove => DiskOperation::Remove,
        Kind::SyncDir => DiskOperation::SyncDir,
        _ => return None,
    })
}

/// Sets what goes wrong with the disk from now on; often nothing.
pub(crate) fn choose_trouble(world: &World, dice: &Dice) {
    let disk = world.disk();
    let mut trouble = world.no_trouble();
    if !dice.once_in(3) {
        let errors = world.plan.kinds.iter().filter_map(|kind| operation(*kind));
        let errors: BTreeMap<_, _> = errors
            .filter(|_| dice.once_in(2))
            .map(|operation| (operation, *dice.pick(&[200, 1_500, 5_000, 10_000])))
            .collect();
        trouble.errors = errors;
        if world.plan.has(Kind::Full) {
            trouble.full = *dice.pick(&[0, 2_000, 10_000]);
        }
    }
    if world.plan.has(Kind::Slow) && dice.once_in(2) {
        trouble.slow = *dice.pick(&[100, 2_000, 10_000]);
        trouble.slowest = Duration::from_millis(*dice.pick(&[1, 30, 400]));
    }
    stepwell_env::note(|| format!("{trouble:?}"));
    disk.set_trouble(trouble);
    if world.plan.has(Kind::Full) {
        let is_full = dice.once_in(4);
        let bytes = *dice.pick(&[0, 100, 10_000, 2_000_000]);
        stepwell_env::note(|| format!("full: {is_full}, {bytes} bytes left"));
        disk.inject(if is_full { SimFault::Space(bytes) } else { SimFault::NoLimit });
    }
    if world.plan.has(Kind::Clock) && dice.once_in(4) {
        let day_us = 86_400_000_000;
        world.simulation.step_wall_clock(*dice.pick(&[-day_us, -1_000_000, 1_000_000, day_us]));
        world.tally().fault(Kind::Clock, 1);
    }
}

/// The body of the operator's thread.
pub(crate) fn run(life: &Life, _: usize) {
    let world = &life.world;
    let dice = Dice::new(world.plan.seed, 2_000 + life.number);
    while !life.is_stopping() {
        world.simulation.sleep(dice.duration(Duration::from_millis(*dice.pick(&[20, 300, 3_000]))));
        match dice.below(6) {
            0 | 1 if life.how != End::Last => choose_trouble(world, &dice),
            2 => flush(life),
            3 | 4 if world.plan.has(Kind::Delete) => delete(life, &dice),
            5 if world.plan.has(Kind::Hide) => hide(life, &dice),
            _ => {}
        }
    }
}

fn flush(life: &Life) {
    let doing = life.doing("operator", "a flush");
    life.world.tally().calls += 1;
    let flushed = life.engine.flush();
    drop(doing);
    stepwell_env::note(|| format!("flush: {flushed:?}"));
    let is_excused = life.how != End::Last
        || matches!(flushed, Ok(()) | Err(EngineError::ShuttingDown))
        || life.engine.health() == Health::Ready;
    life.world.expect(if is_excused { Ok(()) } else { Err(format!("on a disk that works: {flushed:?}")) });
}

fn delete(life: &Life, dice: &Dice) {
    let (runs, metrics) = names();
    let deletion = Deletion {
        project_id: (*dice.pick(&["1", "2", "1", "3"])).into(),
        metric: dice.once_in(2).then(|| (*dice.pick(metrics)).into()),
        run_id: (!dice.once_in(4)).then(|| (*dice.pick(runs)).into()),
        before_us: dice.once_in(3).then(|| *dice.pick(&[i64::MAX, 1_790_000_000_000_000, 100, i64::MIN])),
    };
    let world = &life.world;
    let visible_below = |life: &Life| life.engine.snapshot().lsn().0 + 1;
    let deleting = {
        let mut model = world.model();
        model.begin_deletion(deletion.clone(), visible_below(life))
    };
    let doing = life.doing("operator", "a deletion");
    world.tally().calls += 1;
    let result = life.engine.delete(deletion.clone());
    drop(doing);
    let mut model = world.model();
    let ended = model.end_deletion(&deleting, result.is_ok(), visible_below(life));
    drop(model);
    stepwell_env::note(|| format!("{deletion:?}: {result:?}"));
    world.expect(ended);
    world.tally().fault(Kind::Delete, 1);
}

fn hide(life: &Life, dice: &Dice) {
    let (runs, _) = names();
    let chosen: Vec<ProjectRun> = (0..dice.below(3)).map(|_| ("1".into(), (*dice.pick(runs)).into())).collect();
    let world = &life.world;
    {
        let mut model = world.model();
        let before = std::mem::take(&mut model.hidden);
        model.hiding = before.into_iter().chain(chosen.clone()).collect();
    }
    world.tally().calls += 1;
    life.engine.hide(chosen.clone());
    let mut model = world.model();
    model.hiding.clear();
    model.hidden = chosen;
    drop(model);
    world.tally().fault(Kind::Hide, 1);
}
