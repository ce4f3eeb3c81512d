//! What is told of a measurement: times as milliseconds, rates, errors.

use super::histogram::Histogram;
use crate::failure::{self, Failure};
use serde_json::{Value, json};
use std::time::Duration;

/// Errors, of which the first is kept for people to read.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) count: u64,
    pub(super) first: Option<String>,
}

impl Errors {
    /// Counts an error.
    pub(super) fn add(&mut self, what: &str, error: &dyn std::fmt::Display) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{what}: {error}"));
    }

    /// Fails if nothing but errors was counted.
    pub(super) fn unless_some(&self, successes: u64) -> Result<(), Failure> {
        if successes > 0 {
            return Ok(());
        }
        let why = self.first.as_deref();
        let why = why.unwrap_or("no call ended within the time; measure longer");
        let message = format!("nothing was measured: {why}");
        Err(Failure::new(failure::UNAVAILABLE, message))
    }
}

/// Returns how many a second.
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    // Exact up to 2^53 of them.
    thousandths(count as f64 / time.as_secs_f64())
}

/// Returns p50, p99 and the maximum in milliseconds, with their names.
pub(super) fn quantiles(histogram: &Histogram) -> [(&'static str, f64); 3] {
    let ms = |duration: Duration| thousandths(duration.as_secs_f64() * 1_000.0);
    [
        ("p50", ms(histogram.per_mille(500))),
        ("p99", ms(histogram.per_mille(990))),
        ("max", ms(histogram.longest())),
    ]
}

/// Returns the same as a JSON object.
pub(super) fn quantiles_json(histogram: &Histogram) -> Value {
    let fields = quantiles(histogram).map(|(name, ms)| (name.to_owned(), json!(ms)));
    Value::Object(fields.into_iter().collect())
}

/// Rounds to three places, which is more than the histogram knows.
fn thousandths(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::{Errors, quantiles_json, rate};
    use crate::bench::histogram::Histogram;
    use crate::failure::UNAVAILABLE;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn times_are_told_in_milliseconds() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_micros(250));
        let told = quantiles_json(&histogram);
        assert_eq!(told["max"], json!(0.25));
        assert_eq!(told["p50"], told["p99"]);
    }

    #[test]
    fn rate_is_per_second_of_the_time_that_counts() {
        assert!((rate(3_000, Duration::from_millis(1_500)) - 2_000.0).abs() < 1e-9);
    }

    #[test]
    fn run_without_one_success_fails_and_says_what_happened_first() {
        let mut errors = Errors::default();
        assert!(errors.unless_some(1).is_ok());
        errors.add("acquire", &"no answer");
        errors.add("acquire", &"the session has ended");
        let failure = errors.unless_some(0).unwrap_err();
        assert_eq!(failure.status, UNAVAILABLE);
        assert!(failure.message.ends_with("acquire: no answer"));
    }
}
