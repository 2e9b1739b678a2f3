//! Series on a common grid of steps.

use stepwell_types::SeriesColumns;

/// What stands between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// The value of the point before.
    Last,
    /// The line between the two; an infinity or NaN at either end is one in between.
    Linear,
}

/// How many multiples of `grid` are between two steps, both included; `grid` is at least 1.
pub fn grid_steps(first: i64, last: i64, grid: i64) -> u64 {
    let (first, last, grid) = (i128::from(first), i128::from(last), i128::from(grid.max(1)));
    let count = last.div_euclid(grid) - (first - 1).div_euclid(grid);
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The values of a series at the multiples of `grid` from its first step to its last: nothing is made up outside of them. The
/// points are sorted by step, each step once.
pub fn align(points: &SeriesColumns, grid: i64, alignment: Alignment) -> Vec<(i64, f64)> {
    let (Some(&first), Some(&last)) = (points.step.first(), points.step.last()) else { return Vec::new() };
    let grid = i128::from(grid.max(1));
    let begin = (i128::from(first) - 1).div_euclid(grid) + 1;
    let steps = (begin..).map(|number| number * grid).take_while(|step| *step <= i128::from(last));
    let mut row = 0;
    steps
        .map(|step| {
            while points.step.get(row + 1).is_some_and(|next| i128::from(*next) <= step) {
                row += 1;
            }
            // Between two steps of i64, so it is one itself.
            (step as i64, value_at(points, row, step, alignment))
        })
        .collect()
}

/// The value at `step`, which is not before `row` and before the row after it.
fn value_at(points: &SeriesColumns, row: usize, step: i128, alignment: Alignment) -> f64 {
    let (before, value) = (i128::from(points.step[row]), points.value[row]);
    match (alignment, points.step.get(row + 1)) {
        (Alignment::Linear, Some(after)) if before < step => {
            let share = (step - before) as f64 / (i128::from(*after) - before) as f64;
            value * (1.0 - share) + points.value[row + 1] * share
        }
        _ => value,
    }
}
