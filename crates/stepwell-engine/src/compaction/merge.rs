//! Merging segments: series by series in key order, within a series by (step, LSN), a batch of each input in memory.

use std::{cmp::Reverse, collections::BinaryHeap};

use stepwell_segment::{Segment, SegmentWriter, SeriesExtent, SeriesInFile};
use stepwell_types::{SeriesColumns, SeriesKey};

use super::input::Input;
use crate::{error::EngineError, exclusions::Exclusions};

/// Rows handed to the writer at a time.
const BATCH_ROWS: usize = 65_536;
/// Batches after which the pages read so far are let go: each is read once, and ten segments are much memory.
const RELEASE_EVERY: usize = 16;

/// Merges `segments` into `writer`. `pause` is called between batches with the rows written since the last call; it may
/// wait, or fail to stop the merge. Returns how many rows `exclusions` left out.
pub(crate) fn merge(
    segments: &[Segment],
    exclusions: &Exclusions,
    writer: &mut SegmentWriter,
    pause: &mut dyn FnMut(usize) -> Result<(), EngineError>,
) -> Result<u64, EngineError> {
    let mut inputs = segments.iter().map(Input::open).collect::<Result<Vec<_>, _>>()?;
    let mut heads: BinaryHeap<Reverse<(SeriesKey, usize)>> = BinaryHeap::new();
    let mut waiting: Vec<Option<SeriesInFile>> = vec![None; inputs.len()];
    for number in 0..inputs.len() {
        advance(&mut inputs, number, &mut waiting, &mut heads)?;
    }
    let mut batches = 0;
    let mut pause = |rows| {
        batches += 1;
        if batches % RELEASE_EVERY == 0 {
            segments.iter().for_each(Segment::release);
        }
        pause(rows)
    };
    let mut merged = Merged { exclusions, rows: SeriesColumns::default(), unpaused: 0, left_out: 0 };
    while let Some(Reverse((key, number))) = heads.pop() {
        let mut parts: Vec<(usize, SeriesInFile)> = Vec::new();
        parts.extend(waiting[number].take().map(|series| (number, series)));
        while heads.peek().is_some_and(|Reverse((next, _))| *next == key) {
            if let Some(Reverse((_, number))) = heads.pop() {
                parts.extend(waiting[number].take().map(|series| (number, series)));
            }
        }
        let extents = || parts.iter().map(|(_, series)| series.extent);
        let extent = extents().reduce(|a, b| SeriesExtent {
            points: a.points + b.points,
            first_step: a.first_step.min(b.first_step),
            last_step: a.last_step.max(b.last_step),
        });
        if let Some(extent) = extent {
            writer.begin(&key, extent)?;
            merged.series(&mut inputs, &key, &parts, writer, &mut pause)?;
        }
        for (number, _) in parts {
            advance(&mut inputs, number, &mut waiting, &mut heads)?;
        }
    }
    Ok(merged.left_out)
}

fn advance(
    inputs: &mut [Input],
    number: usize,
    waiting: &mut [Option<SeriesInFile>],
    heads: &mut BinaryHeap<Reverse<(SeriesKey, usize)>>,
) -> Result<(), EngineError> {
    if let Some(series) = inputs[number].next_series()? {
        heads.push(Reverse((series.key.clone(), number)));
        waiting[number] = Some(series);
    }
    Ok(())
}

/// Rows of one input's part of a series; `at` is the next.
#[derive(Default)]
struct Cursor {
    input: usize,
    rows: SeriesColumns,
    at: usize,
    /// Rows not yet read.
    left: u64,
}

impl Cursor {
    fn head(&self) -> Option<(i64, u64)> {
        (self.at < self.rows.len()).then(|| (self.rows.step[self.at], self.rows.lsn[self.at]))
    }

    /// Reads on where there is nothing left to hand out. Returns how many rows were left out.
    fn fill(&mut self, inputs: &mut [Input], key: &SeriesKey, exclusions: &Exclusions) -> Result<u64, EngineError> {
        let mut left_out = 0;
        while self.at == self.rows.len() && self.left > 0 {
            self.rows.clear();
            self.at = 0;
            let read = inputs[self.input].read(self.left, &mut self.rows)?;
            self.left -= read as u64;
            exclusions.apply(key, &mut self.rows);
            left_out += (read - self.rows.len()) as u64;
        }
        Ok(left_out)
    }

    /// Rows from the next one on that come before `bound`; all if there is none.
    fn before(&self, bound: Option<(i64, u64)>) -> usize {
        let Some(bound) = bound else { return self.rows.len() };
        // Sorted by (step, LSN), so a binary search finds the end; most often it is at the very end.
        let key = |i: usize| (self.rows.step[i], self.rows.lsn[i]);
        if key(self.rows.len() - 1) < bound {
            return self.rows.len();
        }
        let (mut low, mut high) = (self.at, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            if key(middle) < bound { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Rows on their way to the writer.
struct Merged<'a> {
    exclusions: &'a Exclusions,
    rows: SeriesColumns,
    /// Rows since the last pause.
    unpaused: usize,
    left_out: u64,
}

impl Merged<'_> {
    fn series(
        &mut self,
        inputs: &mut [Input],
        key: &SeriesKey,
        parts: &[(usize, SeriesInFile)],
        writer: &mut SegmentWriter,
        pause: &mut dyn FnMut(usize) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let cursor = |(input, series): &(usize, SeriesInFile)| Cursor {
            input: *input,
            left: series.extent.points,
            ..Cursor::default()
        };
        let mut cursors: Vec<Cursor> = parts.iter().map(cursor).collect();
        for cursor in &mut cursors {
            self.left_out += cursor.fill(inputs, key, self.exclusions)?;
        }
        loop {
            cursors.sort_by_key(|cursor| cursor.head().map_or((true, (0, 0)), |head| (false, head)));
            let bound = cursors.get(1).and_then(Cursor::head);
            let Some(first) = cursors.first_mut().filter(|first| first.head().is_some()) else { break };
            let end = first.before(bound);
            self.rows.append_range(&first.rows, first.at..end);
            first.at = end;
            self.left_out += first.fill(inputs, key, self.exclusions)?;
            if self.rows.len() >= BATCH_ROWS {
                self.write(writer, pause)?;
            }
        }
        self.write(writer, pause)
    }

    fn write(
        &mut self,
        writer: &mut SegmentWriter,
        pause: &mut dyn FnMut(usize) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        writer.append(&self.rows)?;
        self.unpaused += self.rows.len();
        self.rows.clear();
        if self.unpaused >= BATCH_ROWS {
            pause(std::mem::take(&mut self.unpaused))?;
        }
        Ok(())
    }
}
