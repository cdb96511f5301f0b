//! Metrics of model calls, by the conventions for generative AI: cumulative since the sink began, in bounded memory. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as HistogramData, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::attribute::pair;
use super::call::{CONVERSING, Call};
use crate::llm::names;

/// The most attribute sets of an instrument, as in OpenTelemetry's own libraries. Further calls are counted under [`OVERFLOW`].
const SETS_MAX: usize = 2_000;
const OVERFLOW: &str = "otel.metric.overflow";
/// The kind of the tokens that a provider does not break down.
const MODALITY: (&str, &str) = ("gen_ai.token.modality", "unknown");
/// Upper bounds of the buckets, as the conventions recommend.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Counters of tokens, by the property that holds the tokens of a call.
const COUNTERS: [(&str, &str); 5] = [
    (names::INPUT_TOKENS, "gen_ai.client.inference.usage.input_tokens"),
    (names::OUTPUT_TOKENS, "gen_ai.client.inference.usage.output_tokens"),
    (names::CACHE_READ_TOKENS, "gen_ai.client.inference.usage.cache_read.input_tokens"),
    (names::CACHE_WRITE_TOKENS, "gen_ai.client.inference.usage.cache_write.input_tokens"),
    (names::REASONING_TOKENS, "gen_ai.client.inference.usage.reasoning.output_tokens"),
];
/// Distributions of the tokens of a call, and the kind by which the older metric tells them apart.
const DISTRIBUTIONS: [(&str, &str, &str); 2] = [
    (names::INPUT_TOKENS, "gen_ai.client.inference.operation.input_tokens", "input"),
    (names::OUTPUT_TOKENS, "gen_ai.client.inference.operation.output_tokens", "output"),
];
const DURATION: &str = "gen_ai.client.inference.duration";
/// The metrics of older conventions, which most dashboards still read.
const OLD_TOKENS: &str = "gen_ai.client.token.usage";
const OLD_TOKEN_TYPE: &str = "gen_ai.token.type";
const OLD_DURATION: &str = "gen_ai.client.operation.duration";

/// The attributes of a point, in order of their names.
type Set = Vec<(&'static str, String)>;

/// The attributes of every metric.
const ATTRIBUTES: [&str; 5] =
    [names::OPERATION, names::PROVIDER, names::REQUEST_MODEL, names::RESPONSE_MODEL, "server.address"];
const ERROR_TYPE: &str = "error.type";

/// All that was measured.
pub(super) struct Metrics {
    /// In nanoseconds since 1970.
    since: u64,
    compat: bool,
    counters: [BTreeMap<Set, u64>; 5],
    tokens: [BTreeMap<Set, Histogram>; 2],
    durations: BTreeMap<Set, Histogram>,
    has_changed: bool,
}

/// What a call adds.
pub(super) struct Measured {
    set: Set,
    tokens: [Option<u64>; 5],
    seconds: f64,
    error: String,
}

#[derive(Clone, Default)]
struct Histogram {
    sum: f64,
    count: u64,
    buckets: Vec<u64>,
}

impl Measured {
    /// `None`: not a call to a model that generates.
    pub(super) fn of(call: &Call<'_>) -> Option<Self> {
        let facts = call.llm.as_ref()?;
        CONVERSING.contains(&facts.operation()?).then_some(())?;
        let of = |name: &'static str| Some((name, call.property(name)?.to_owned()));
        let set = ATTRIBUTES.into_iter().filter_map(of).collect();
        let tokens = COUNTERS.map(|(name, _)| facts.facts().get(name)?.as_u64());
        let seconds = (call.ended().saturating_sub(call.started())) as f64 / 1e9;
        Some(Self { set, tokens, seconds, error: call.property(ERROR_TYPE).unwrap_or_default().to_owned() })
    }
}

impl Metrics {
    pub(super) fn new(since: u64, compat: bool) -> Self {
        Self {
            since,
            compat,
            counters: Default::default(),
            tokens: Default::default(),
            durations: BTreeMap::new(),
            has_changed: false,
        }
    }

    pub(super) fn add(&mut self, measured: &Measured) {
        self.has_changed = true;
        for (sets, count) in self.counters.iter_mut().zip(measured.tokens) {
            if let Some(count) = count {
                *entry(sets, &measured.set) += count;
            }
        }
        for (sets, count) in self.tokens.iter_mut().zip(measured.tokens) {
            if let Some(count) = count {
                entry(sets, &measured.set).add(count as f64, &TOKENS);
            }
        }
        let mut set = measured.set.clone();
        if !measured.error.is_empty() {
            set.push((ERROR_TYPE, measured.error.clone()));
        }
        entry(&mut self.durations, &set).add(measured.seconds, &SECONDS);
    }

    /// All metrics as of now. Empty: nothing has changed since [`sent`](Self::sent).
    pub(super) fn now(&self, now: u64) -> Vec<Metric> {
        if !self.has_changed {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (sets, (_, name)) in self.counters.iter().zip(COUNTERS) {
            all.push(self.counter(name, sets, now));
        }
        for (sets, (_, name, _)) in self.tokens.iter().zip(DISTRIBUTIONS) {
            all.push(histogram(name, "{token}", self.points(sets, None, &TOKENS, now)));
        }
        all.push(histogram(DURATION, "s", self.points(&self.durations, None, &SECONDS, now)));
        if self.compat {
            let by_type =
                self.tokens.iter().zip(DISTRIBUTIONS).flat_map(|(sets, (_, _, of_type))| {
                    self.points(sets, Some((OLD_TOKEN_TYPE, of_type)), &TOKENS, now)
                });
            all.push(histogram(OLD_TOKENS, "{token}", by_type.collect()));
            all.push(histogram(OLD_DURATION, "s", self.points(&self.durations, None, &SECONDS, now)));
        }
        all.retain(has_points);
        all
    }

    /// The collector has them.
    pub(super) fn sent(&mut self) {
        self.has_changed = false;
    }

    fn counter(&self, name: &str, sets: &BTreeMap<Set, u64>, now: u64) -> Metric {
        let points = sets.iter().map(|(set, count)| NumberDataPoint {
            attributes: attributes(set, Some(MODALITY)),
            start_time_unix_nano: self.since,
            time_unix_nano: now,
            value: Some(Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))),
            ..NumberDataPoint::default()
        });
        let data = Sum {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        };
        Metric { name: name.to_owned(), unit: "{token}".to_owned(), data: Some(Data::Sum(data)), ..Metric::default() }
    }

    fn points(
        &self,
        sets: &BTreeMap<Set, Histogram>,
        more: Option<(&str, &str)>,
        bounds: &[f64],
        now: u64,
    ) -> Vec<HistogramDataPoint> {
        let point = |(set, histogram): (&Set, &Histogram)| HistogramDataPoint {
            attributes: attributes(set, more),
            start_time_unix_nano: self.since,
            time_unix_nano: now,
            count: histogram.count,
            sum: Some(histogram.sum),
            bucket_counts: histogram.buckets.clone(),
            explicit_bounds: bounds.to_vec(),
            ..HistogramDataPoint::default()
        };
        sets.iter().map(point).collect()
    }
}

impl Histogram {
    fn add(&mut self, value: f64, bounds: &[f64]) {
        self.buckets.resize(bounds.len() + 1, 0);
        let at = bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// The figures of a set, or of all sets beyond the limit.
fn entry<'s, T: Default>(sets: &'s mut BTreeMap<Set, T>, set: &Set) -> &'s mut T {
    let is_full = sets.len() >= SETS_MAX && !sets.contains_key(set);
    let set = if is_full { vec![(OVERFLOW, String::new())] } else { set.clone() };
    sets.entry(set).or_default()
}

fn attributes(set: &Set, more: Option<(&str, &str)>) -> Vec<KeyValue> {
    let text = |name: &str, value: &str| match name {
        OVERFLOW => pair(name, Any::BoolValue(true)),
        _ => pair(name, Any::StringValue(value.to_owned())),
    };
    let own = set.iter().map(|(name, value)| text(name, value));
    own.chain(more.map(|(name, value)| text(name, value))).collect()
}

fn histogram(name: &str, unit: &str, data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = HistogramData { data_points, aggregation_temporality: AggregationTemporality::Cumulative.into() };
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(Data::Histogram(data)), ..Metric::default() }
}

fn has_points(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(model: &str, tokens: u64) -> Measured {
        let set = vec![(names::REQUEST_MODEL, model.to_owned())];
        Measured { set, tokens: [Some(tokens), None, None, None, None], seconds: 0.5, error: String::new() }
    }

    #[test]
    fn figures_add_up_since_the_beginning_and_unknown_ones_are_absent() {
        let mut metrics = Metrics::new(7, false);
        assert!(metrics.now(8).is_empty());
        metrics.add(&measured("m", 10));
        metrics.sent();
        assert!(metrics.now(8).is_empty(), "nothing has changed");
        metrics.add(&measured("m", 300));
        let all = metrics.now(9);
        let names: Vec<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, [COUNTERS[0].1, DISTRIBUTIONS[0].1, DURATION]);
        let Some(Data::Sum(sum)) = &all[0].data else { panic!() };
        let point = &sum.data_points[0];
        assert_eq!((point.value, sum.is_monotonic, sum.aggregation_temporality), (Some(Number::AsInt(310)), true, 2));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (7, 9));
        let Some(Data::Histogram(tokens)) = &all[1].data else { panic!() };
        let point = &tokens.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts[2], point.bucket_counts[5]), (2, Some(310.0), 1, 1));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    }

    #[test]
    fn attribute_sets_are_bounded() {
        let mut metrics = Metrics::new(0, true);
        for n in 0..SETS_MAX + 50 {
            metrics.add(&measured(&format!("m-{n}"), 1));
        }
        let all = metrics.now(1);
        assert_eq!(all.len(), 5, "with the metrics of older conventions");
        let Some(Data::Sum(sum)) = &all[0].data else { panic!() };
        let overflown = |point: &&NumberDataPoint| point.attributes.iter().any(|pair| pair.key == OVERFLOW);
        assert_eq!(sum.data_points.len(), SETS_MAX + 1);
        assert_eq!(sum.data_points.iter().find(overflown).unwrap().value, Some(Number::AsInt(50)));
    }
}
