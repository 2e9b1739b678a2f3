//! A histogram that was counted elsewhere.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use stepwell_app::DurationCounts;

/// Durations that the engine counted, shown in seconds.
#[derive(Debug)]
pub(super) struct ConstHistogram(pub(super) DurationCounts);

impl EncodeMetric for ConstHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let DurationCounts { bounds_us, counts, sum_us } = &self.0;
        let bounds = bounds_us.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let count = |at: usize| counts.get(at).copied().unwrap_or(0);
        let buckets: Vec<(f64, u64)> = bounds.enumerate().map(|(at, bound)| (bound, count(at))).collect();
        encoder.encode_histogram::<NoLabelSet>(*sum_us as f64 / 1e6, self.0.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
