//! Writes metric families: a name, the question that it answers, and a value for each set of labels.

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// Labels of a value, in the order in which they are written.
pub(super) type Labels = Vec<(&'static str, String)>;

/// See the module.
pub(super) struct Scrape<'a>(DescriptorEncoder<'a>);

impl<'a> Scrape<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Something that only grows. `_total` is added to the name.
    pub(super) fn counter(&mut self, name: &str, question: &str, value: u64) -> fmt::Result {
        self.counters(name, question, [(Labels::new(), value)])
    }

    /// Counters of one name, by label.
    pub(super) fn counters(
        &mut self,
        name: &str,
        question: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let count =
            |mut encoder: MetricEncoder<'_>, value| encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None);
        self.family(name, question, MetricType::Counter, values, count)
    }

    /// Seconds that only grow, by label. `_total` is added to the name.
    pub(super) fn seconds(
        &mut self,
        name: &str,
        question: &str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let count =
            |mut encoder: MetricEncoder<'_>, value| encoder.encode_counter::<NoLabelSet, f64, u64>(&value, None);
        self.family(name, question, MetricType::Counter, values, count)
    }

    /// Something that rises and falls.
    pub(super) fn gauge(&mut self, name: &str, question: &str, value: u64) -> fmt::Result {
        self.gauges(name, question, [(Labels::new(), value)])
    }

    /// Gauges of one name, by label.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        question: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let gauge = |mut encoder: MetricEncoder<'_>, value| encoder.encode_gauge(&value);
        self.family(name, question, MetricType::Gauge, values, gauge)
    }

    /// Gauges of one name that are no whole numbers, by label.
    pub(super) fn measures(
        &mut self,
        name: &str,
        question: &str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let gauge = |mut encoder: MetricEncoder<'_>, value| encoder.encode_gauge(&value);
        self.family(name, question, MetricType::Gauge, values, gauge)
    }

    fn family<T>(
        &mut self,
        name: &str,
        question: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels, T)>,
        write: impl Fn(MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, question, None, kind)?;
        for (labels, value) in values {
            if labels.is_empty() {
                // Without labels there is one value, so the encoder is not needed again.
                return write(encoder, value);
            }
            write(encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// One label.
pub(super) fn label(key: &'static str, value: impl ToString) -> Labels {
    vec![(key, value.to_string())]
}

/// A label more.
pub(super) fn and(mut labels: Labels, key: &'static str, value: impl ToString) -> Labels {
    labels.push((key, value.to_string()));
    labels
}

/// Median and 99th percentile, in seconds.
pub(super) fn quantiles(p50_us: u64, p99_us: u64) -> [(Labels, f64); 2] {
    [(label("quantile", "0.5"), p50_us as f64 / 1e6), (label("quantile", "0.99"), p99_us as f64 / 1e6)]
}
