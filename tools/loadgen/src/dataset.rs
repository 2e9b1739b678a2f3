//! Curves that look like training: decay with noise, schedules, spikes, NaN spells, restarts that repeat steps.

use anyhow::{Result, bail};

/// How large a data set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub runs: u64,
    pub metrics: u64,
    /// Steps of each series; rows that a restart repeats come on top.
    pub steps: u64,
}

/// A deterministic data set: the same name, shape and seed give the same bits on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    name: String,
    shape: Shape,
    seed: u64,
}

/// One point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub step: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: i64,
    pub value: f64,
}

/// Where each kind of curve stands in the names of metrics.
const KINDS: [&str; 5] = ["train/loss", "val/accuracy", "lr", "grad/norm", "perf/throughput"];
/// 2026-01-01T00:00:00Z.
const EPOCH_US: i64 = 1_767_225_600_000_000;
/// Between two steps of one run, before jitter.
const STEP_US: i64 = 250_000;
const JITTER_US: u64 = 40_000;
/// One run in four restarts once: after this share of its steps it goes back by [`RESTART_BACK`] of them.
const RESTART_AT: f64 = 0.6;
const RESTART_BACK: f64 = 0.05;
/// Share of the steps that a NaN spell lasts.
const SPELL: f64 = 0.02;

impl Dataset {
    /// `sweep`, `foundation` or `long`, with their usual shapes.
    pub fn named(name: &str, seed: u64) -> Result<Self> {
        let shape = match name {
            "sweep" => Shape { runs: 5_000, metrics: 50, steps: 1_000 },
            "foundation" => Shape { runs: 64, metrics: 20_000, steps: 10_000 },
            "long" => Shape { runs: 20, metrics: 30, steps: 10_000_000 },
            _ => bail!("there is no data set {name}; there are sweep, foundation and long"),
        };
        Ok(Self::new(name, shape, seed))
    }

    /// A data set of any shape.
    pub fn new(name: &str, shape: Shape, seed: u64) -> Self {
        let shape = Shape { runs: shape.runs.max(1), metrics: shape.metrics.max(1), steps: shape.steps.max(1) };
        Self { name: name.to_owned(), shape, seed }
    }

    /// Its size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Id of a run.
    pub fn run_id(&self, run: u64) -> String {
        format!("{}-{run:05}", self.name)
    }

    /// Name of a metric.
    pub fn metric(&self, metric: u64) -> String {
        format!("{}/{metric:05}", KINDS[(metric % 5) as usize])
    }

    /// The learning rate that a run was given: five decades, the larger the faster its curves fall.
    pub fn learning_rate(&self, run: u64) -> f64 {
        10f64.powi(-1 - (mix(self.seed ^ run) % 5) as i32)
    }

    /// Rows that a run logs: its steps, and those that its restart repeats.
    pub fn rows(&self, run: u64) -> u64 {
        self.shape.steps + self.restart(run).map_or(0, |(_, back)| back)
    }

    /// Points that a run logs, over all metrics.
    pub fn points(&self, run: u64) -> u64 {
        self.rows(run) * self.shape.metrics
    }

    /// The row at which a run restarts, and how many steps it goes back.
    fn restart(&self, run: u64) -> Option<(u64, u64)> {
        let back = (self.shape.steps as f64 * RESTART_BACK) as u64;
        let restarts = mix(self.seed ^ run ^ 0x7e57).is_multiple_of(4) && back > 0;
        restarts.then_some(((self.shape.steps as f64 * RESTART_AT) as u64, back))
    }

    /// Step of a row, and whether it is after the restart.
    fn step(&self, run: u64, row: u64) -> (u64, u64) {
        match self.restart(run) {
            Some((at, back)) if row >= at => (row - back, 1),
            _ => (row, 0),
        }
    }

    /// The point of a series in the row-th row that its run logs.
    pub fn point(&self, run: u64, metric: u64, row: u64) -> Point {
        let (step, attempt) = self.step(run, row);
        let row_noise = mix(self.seed ^ run.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ row);
        let timestamp_us = EPOCH_US + run as i64 + row as i64 * STEP_US + (row_noise % JITTER_US) as i64;
        Point { step: step as i64, timestamp_us, value: f64::from(self.value(run, metric, step, attempt)) }
    }

    fn value(&self, run: u64, metric: u64, step: u64, attempt: u64) -> f32 {
        let series = mix(self.seed ^ (run << 32) ^ metric);
        let bits = mix(series ^ (step << 1) ^ attempt);
        // The sum of four uniform parts is near enough to a bell.
        let part = |shift: u32| ((bits >> shift) & 0xffff) as f32 / 65_536.0 - 0.5;
        let noise = part(0) + part(16) + part(32) + part(48);
        let done = step as f32 / self.shape.steps as f32;
        let speed = 2.0 + (series % 97) as f32 / 10.0;
        let scale = 0.5 + (series >> 8) as u8 as f32 / 64.0;
        match metric % 5 {
            0 => scale * (0.08 + (-done * speed).exp()) * (1.0 + 0.05 * noise),
            1 => (1.0 - 0.9 * (-done * speed).exp() + 0.01 * noise).clamp(0.0, 1.0),
            2 => match done {
                warming if warming < 0.05 => scale * 1e-3 * warming / 0.05,
                _ => scale * 5e-4 * (1.0 + ((done - 0.05) / 0.95 * std::f32::consts::PI).cos()),
            },
            3 if self.is_in_spell(series, step) => f32::NAN,
            3 if bits.is_multiple_of(1_000) => scale * 40.0 * (1.0 + noise.abs()),
            3 => scale * (0.2 + (-done * speed).exp()) * (1.0 + 0.4 * noise).max(0.01),
            _ => 900.0 * scale * (1.0 + 0.02 * noise),
        }
    }

    /// One series in ten diverges for a while.
    fn is_in_spell(&self, series: u64, step: u64) -> bool {
        let steps = self.shape.steps;
        let begin = (series >> 16) % steps;
        series.is_multiple_of(10) && (begin..begin + (steps as f64 * SPELL) as u64).contains(&step)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_fixes_every_bit_and_another_changes_them() {
        let of = |seed| Dataset::named("sweep", seed).unwrap();
        let bits = |data: Dataset| -> Vec<u64> {
            (0..500).map(|row| data.point(row % 7, row % 50, row).value.to_bits()).collect()
        };
        assert_eq!(bits(of(1)), bits(of(1)));
        assert_ne!(bits(of(1)), bits(of(2)));
        assert!(Dataset::named("none", 1).is_err());
    }

    #[test]
    fn curves_are_born_as_float32_fall_diverge_and_repeat_steps() {
        let data = Dataset::named("sweep", 7).unwrap();
        let (mut has_nan, mut has_restart) = (false, false);
        for run in 0..40 {
            let rows = data.rows(run);
            let steps: BTreeSet<i64> = (0..rows).map(|row| data.point(run, 0, row).step).collect();
            assert_eq!(steps.len(), 1_000, "every step is there");
            has_restart |= rows > 1_000;
            for row in 0..rows {
                let value = data.point(run, 3, row).value;
                has_nan |= value.is_nan();
                assert!(value.is_nan() || f64::from(value as f32) == value);
            }
            assert!(data.point(run, 0, rows - 1).value < data.point(run, 0, 0).value / 2.0);
        }
        assert!(has_nan && has_restart);
    }
}
