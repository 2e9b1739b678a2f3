//! Rollups: the buckets of a whole series on grids of several widths.

use stepwell_types::SeriesColumns;

use crate::{BucketState, Grid};

/// The finest level that is stored: cells of 128 steps.
const LEVEL_FIRST: u32 = 7;
/// Between two levels: a cell has eight of the level below, so that all levels above the finest take a seventh of it.
const LEVEL_STRIDE: u32 = 3;
/// Points of a series below which rollups save nothing: a chart reads the points.
const POINTS_MIN: u64 = 4_096;
/// Points that a cell of the finest level has on the average, at least.
const POINTS_PER_CELL_MIN: u64 = 64;
/// Cells of the coarsest level, at least.
const CELLS_MIN: u64 = 8;

/// The finest and the coarsest level stored for a series of `points` points between two steps; `None` if it has too few.
pub fn rollup_levels(points: u64, first_step: i64, last_step: i64) -> Option<(u32, u32)> {
    let cells = |level: &u32| Grid::new(*level).cells(first_step, last_step);
    let mut levels = (LEVEL_FIRST..63).step_by(LEVEL_STRIDE as usize);
    let finest = levels.find(|level| points >= POINTS_MIN && points / cells(level) >= POINTS_PER_CELL_MIN)?;
    Some((finest, levels.take_while(|level| cells(level) >= CELLS_MIN).last().unwrap_or(finest)))
}

/// The coarsest stored level that serves a chart of cells of `wanted`; `None` if only points do.
pub fn rollup_level_for(wanted: Grid, (finest, coarsest): (u32, u32)) -> Option<u32> {
    let level = finest + wanted.level().checked_sub(finest)? / LEVEL_STRIDE * LEVEL_STRIDE;
    Some(level.min(coarsest))
}

/// Builds the rollups of one series from its points in the order of (step, LSN), in parts. Of points at one step the last
/// counts (I6), as in a chart. Memory is that of the levels above the finest.
pub struct RollupBuilder {
    /// Finest first; the last of each is still open.
    levels: Vec<Level>,
    /// The last point seen: it counts once the next is at another step.
    held: Option<(i64, i64, f64)>,
}

struct Level {
    grid: Grid,
    cells: Vec<BucketState>,
}

impl RollupBuilder {
    /// For the levels of [`rollup_levels`].
    pub fn new((finest, coarsest): (u32, u32)) -> Self {
        let levels = (finest..=coarsest).step_by(LEVEL_STRIDE as usize);
        let level = |level| Level { grid: Grid::new(level), cells: Vec::new() };
        Self { levels: levels.map(level).collect(), held: None }
    }

    /// Adds the next points. `complete` gets the cells of the finest level that they complete.
    pub fn push(&mut self, points: &SeriesColumns, mut complete: impl FnMut(u32, &[BucketState])) {
        for i in 0..points.len() {
            let next = (points.step[i], points.timestamp_us[i], points.value[i]);
            if let Some(held) = self.held.replace(next)
                && held.0 != next.0
            {
                self.add(held);
            }
        }
        let Some(finest) = self.levels.first_mut() else { return };
        if let Some(open) = finest.cells.pop() {
            complete(finest.grid.level(), &finest.cells);
            finest.cells.clear();
            finest.cells.push(open);
        }
    }

    fn add(&mut self, (step, time_us, value): (i64, i64, f64)) {
        let Some(finest) = self.levels.first_mut() else { return };
        match finest.cells.last_mut() {
            Some(open) if finest.grid.cell(open.parts().0.first_step) == finest.grid.cell(step) => {
                open.add(step, time_us, value);
            }
            last => {
                let full = last.copied();
                finest.cells.push(BucketState::new(step, time_us, value));
                if let Some(full) = full {
                    self.carry(&full);
                }
            }
        }
    }

    /// Adds a complete cell of the finest level to all above it.
    fn carry(&mut self, cell: &BucketState) {
        for level in self.levels.iter_mut().skip(1) {
            let number = level.grid.cell(cell.parts().0.first_step);
            match level.cells.last_mut() {
                Some(open) if level.grid.cell(open.parts().0.first_step) == number => open.merge(cell),
                _ => level.cells.push(*cell),
            }
        }
    }

    /// `complete` gets what is left, level by level, finest first.
    pub fn finish(mut self, mut complete: impl FnMut(u32, &[BucketState])) {
        if let Some(held) = self.held.take() {
            self.add(held);
        }
        if let Some(last) = self.levels.first().and_then(|finest| finest.cells.last().copied()) {
            self.carry(&last);
        }
        self.levels.iter().for_each(|level| complete(level.grid.level(), &level.cells));
    }
}
