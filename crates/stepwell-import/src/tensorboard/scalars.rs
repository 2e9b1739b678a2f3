//! From the events of a run to its points.

use std::collections::HashMap;

use stepwell_types::check_metric;

use super::{
    event::{self, PluginData, SummaryValue},
    hparams::Session,
    proto::Malformed,
    tensor,
};

const SCALARS: &str = "scalars";
const HPARAMS: &str = "hparams";

/// One point of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar<'a> {
    pub metric: &'a str,
    pub step: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: i64,
    pub value: f64,
}

/// What one run's events have said so far.
#[derive(Debug, Default)]
pub(super) struct RunState {
    /// Plugin of each tag. Writers may name it with a tag's first value only.
    plugins: HashMap<String, String>,
    pub(super) session: Session,
}

impl RunState {
    /// Hands the scalars of an event to `each`. The error is in words: a metric that cannot be kept, or no event at all;
    /// the event's other scalars are handed over all the same.
    pub(super) fn read<'a>(&mut self, record: &'a [u8], mut each: impl FnMut(Scalar<'a>)) -> Result<(), String> {
        let event = event::parse(record).map_err(|error| error.to_string())?;
        let (step, timestamp_us) = (event.step, event.wall_time_us);
        let mut problem = Ok(());
        let read = event.for_each_value(|summary| {
            if let Some(metadata) = &summary.metadata
                && let Err(error) = self.learn(summary.tag, metadata, timestamp_us)
            {
                problem = Err(format!("tag {:?}: {error}", summary.tag));
            }
            let value = match self.scalar(&summary) {
                Ok(Some(value)) => value,
                Ok(None) => return,
                Err(error) => {
                    problem = Err(format!("tag {:?}: {error}", summary.tag));
                    return;
                }
            };
            match check_metric(summary.tag) {
                Ok(()) => each(Scalar { metric: summary.tag, step, timestamp_us, value }),
                Err(error) => problem = Err(format!("tag {:?}: {error}", shortened(summary.tag))),
            }
        });
        read.map_err(|error| error.to_string()).and(problem)
    }

    fn learn(&mut self, tag: &str, metadata: &PluginData<'_>, timestamp_us: i64) -> Result<(), Malformed> {
        if metadata.plugin == HPARAMS {
            self.session.read(metadata.content, timestamp_us)?;
        }
        if !metadata.plugin.is_empty() && !self.plugins.contains_key(tag) {
            self.plugins.insert(tag.to_owned(), metadata.plugin.to_owned());
        }
        Ok(())
    }

    /// The number of a value of the scalars plugin, or of a tag that no plugin claims.
    fn scalar(&self, summary: &SummaryValue<'_>) -> Result<Option<f64>, Malformed> {
        if self.plugins.get(summary.tag).is_some_and(|plugin| plugin != SCALARS) {
            return Ok(None);
        }
        match (summary.simple_value, summary.tensor) {
            (Some(value), _) => Ok(Some(f64::from(value))),
            (None, Some(bytes)) => tensor::scalar(bytes),
            (None, None) => Ok(None),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
