//! From which part of which source each step of one series is read.

use stepwell_kernels::{Grid, rollup_level_for};

/// Inclusive steps.
pub(crate) type Steps = (i64, i64);

/// One source of a series: a segment, or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceExtent {
    pub(crate) first_step: i64,
    pub(crate) last_step: i64,
    /// The finest and coarsest rollup it has.
    pub(crate) rollup_levels: Option<(u32, u32)>,
}

/// What to read. The parts are disjoint and cover all steps of the range at which the sources have points.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SeriesPlan {
    /// Source, level, steps of whole cells.
    pub(crate) rollups: Vec<(usize, u32, Steps)>,
    /// Steps, and the sources whose points there count together: the last written of each step.
    pub(crate) points: Vec<(Steps, Vec<usize>)>,
}

/// Where only one source has a series, its rollups serve, cell by whole cell. Where two overlap, as when a run resumed and
/// repeated steps, only the points tell which was written last (I6).
pub(crate) fn plan(sources: &[SourceExtent], range: Steps, grid: Grid) -> SeriesPlan {
    let mut plan = SeriesPlan::default();
    let cut = |steps: Steps| (steps.0.max(range.0), steps.1.min(range.1));
    let shared = overlaps(sources);
    for &steps in &shared {
        let steps = cut(steps);
        let inside = |source: &SourceExtent| source.first_step <= steps.1 && steps.0 <= source.last_step;
        if steps.0 <= steps.1 {
            plan.points.push((steps, (0..sources.len()).filter(|i| inside(&sources[*i])).collect()));
        }
    }
    for (number, source) in sources.iter().enumerate() {
        for steps in without((source.first_step, source.last_step), &shared) {
            let steps = cut(steps);
            if steps.0 > steps.1 {
                continue;
            }
            let level = source.rollup_levels.and_then(|levels| rollup_level_for(grid, levels));
            match level.and_then(|level| whole_cells(source, steps, Grid::new(level)).map(|cells| (level, cells))) {
                None => plan.points.push((steps, vec![number])),
                Some((level, cells)) => {
                    plan.rollups.push((number, level, cells));
                    if steps.0 < cells.0 {
                        plan.points.push(((steps.0, cells.0 - 1), vec![number]));
                    }
                    if cells.1 < steps.1 {
                        plan.points.push(((cells.1 + 1, steps.1), vec![number]));
                    }
                }
            }
        }
    }
    plan
}

/// Steps that two or more sources reach over; rising, disjoint.
fn overlaps(sources: &[SourceExtent]) -> Vec<Steps> {
    let mut extents: Vec<Steps> = sources.iter().map(|source| (source.first_step, source.last_step)).collect();
    extents.sort_unstable();
    let mut shared: Vec<Steps> = Vec::new();
    let mut reach: Option<i64> = None;
    for (first, last) in extents {
        if let Some(reach) = reach
            && first <= reach
        {
            let both = (first, last.min(reach));
            match shared.last_mut() {
                Some(known) if both.0 <= known.1 => known.1 = known.1.max(both.1),
                _ => shared.push(both),
            }
        }
        reach = Some(reach.map_or(last, |reach| reach.max(last)));
    }
    shared
}

/// What is left of `steps`.
fn without(steps: Steps, removed: &[Steps]) -> Vec<Steps> {
    let mut left = Vec::new();
    let mut next = Some(steps.0);
    for &(first, last) in removed.iter().filter(|(first, last)| *first <= steps.1 && steps.0 <= *last) {
        if let Some(begin) = next
            && begin < first
        {
            left.push((begin, first - 1));
        }
        next = last.checked_add(1);
    }
    left.extend(next.filter(|begin| *begin <= steps.1).map(|begin| (begin, steps.1)));
    left
}

/// The steps of the cells that lie within `steps` wholly; a cell that holds an end of the source counts, for the source has
/// nothing beyond.
fn whole_cells(source: &SourceExtent, steps: Steps, grid: Grid) -> Option<Steps> {
    let (low, high) = (grid.bounds(grid.cell(steps.0)), grid.bounds(grid.cell(steps.1)));
    let begin = if steps.0 == low.0 || steps.0 == source.first_step { steps.0 } else { low.1.checked_add(1)? };
    let end = if steps.1 == high.1 || steps.1 == source.last_step { steps.1 } else { high.0.checked_sub(1)? };
    (begin <= end).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(first_step: i64, last_step: i64) -> SourceExtent {
        SourceExtent { first_step, last_step, rollup_levels: Some((7, 10)) }
    }

    #[test]
    fn rollups_serve_what_one_source_has_alone() {
        let grid = Grid::new(8);
        let sources = [source(0, 999), source(900, 5_000)];
        let all = plan(&sources, (i64::MIN, i64::MAX), grid);
        assert_eq!(all.points, [((900, 999), vec![0, 1]), ((896, 899), vec![0]), ((1_000, 1_023), vec![1])]);
        assert_eq!(all.rollups, [(0, 7, (0, 895)), (1, 7, (1_024, 5_000))]);
        let zoomed = plan(&sources, (100, 200), grid);
        assert_eq!(zoomed, SeriesPlan { rollups: vec![], points: vec![((100, 200), vec![0])] });
        let fine = plan(&sources[..1], (i64::MIN, i64::MAX), Grid::new(6));
        assert_eq!(fine.points, [((0, 999), vec![0])], "no rollup is as fine");
    }

    #[test]
    fn extremes_of_steps_do_not_overflow() {
        let everything = [source(i64::MIN, i64::MAX), source(i64::MAX, i64::MAX)];
        let all = plan(&everything, (i64::MIN, i64::MAX), Grid::new(63));
        assert_eq!(all.points[0], ((i64::MAX, i64::MAX), vec![0, 1]));
        assert_eq!(without((0, i64::MAX), &[(5, i64::MAX)]), [(0, 4)]);
    }
}
