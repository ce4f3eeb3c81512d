//! A histogram of durations that is exact to 1 % and never grows.
//!
//! Buckets are logarithmic in the large and linear in the small: each power of two is divided into
//! `PARTS` buckets of equal width, so a bucket is at most 1/64 of its values wide, and its middle is
//! at most 1/128 away from each of them. Below 64 ns every nanosecond has a bucket of its own. The
//! largest duration is kept besides, exactly.
//!
//! It must never allocate while it records: that would be part of what is measured.

use std::time::Duration;

/// Binary digits of a duration that are kept after the first.
const PART_BITS: u32 = 6;
/// Buckets of each power of two.
const PARTS: usize = 1 << PART_BITS;
/// Durations of 2 to the power of this, in nanoseconds (73 minutes), and more share a bucket.
const MAGNITUDE_MAX: u32 = 42;
/// Buckets of all powers of two; the first 64 numbers make up the first lot.
const BUCKETS: usize = PARTS * (MAGNITUDE_MAX - PART_BITS + 1) as usize;

/// Durations that were recorded.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Makes an empty one, of about 19 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            longest: Duration::ZERO,
        }
    }

    /// Records a duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    /// Returns how many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the longest, exactly; zero if there is none.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the shortest duration that so many thousandths of all do not exceed, to 1 %; zero if
    /// there is none.
    #[must_use]
    pub fn per_mille(&self, thousandths: u64) -> Duration {
        let wide = u128::from(self.count) * u128::from(thousandths.min(1_000));
        // There is no zeroth duration, so the least rank is the first.
        let rank = wide.div_ceil(1_000).max(1);
        let mut passed = 0_u128;
        for (index, count) in self.counts.iter().enumerate() {
            passed += u128::from(*count);
            if passed >= rank {
                return Duration::from_nanos(middle(index)).min(self.longest);
            }
        }
        self.longest
    }
}

/// Returns the index of the bucket in which a number of nanoseconds falls.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << MAGNITUDE_MAX) - 1);
    let magnitude = nanos.checked_ilog2().unwrap_or(0);
    let shift = magnitude.saturating_sub(PART_BITS);
    let lot = if magnitude < PART_BITS { 0 } else { shift + 1 };
    // At most 127, and for every lot but the first at least 64.
    let digits = (nanos >> shift) as usize;
    lot as usize * PARTS + digits % PARTS
}

/// Returns the number in the middle of a bucket.
fn middle(index: usize) -> u64 {
    let (lot, part) = (index / PARTS, (index % PARTS) as u64);
    if lot == 0 {
        return part;
    }
    let shift = lot as u32 - 1;
    let lowest = (PARTS as u64 + part) << shift;
    lowest + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, bucket, middle};
    use std::time::Duration;

    #[test]
    fn every_duration_is_told_to_one_per_cent() {
        let mut nanos = 1_u64;
        while nanos < 1 << 42 {
            for number in [nanos - 1, nanos, nanos + nanos / 3, nanos + nanos / 2] {
                let number = number.min((1 << 42) - 1);
                let told = middle(bucket(number));
                assert!(
                    told.abs_diff(number) * 100 <= number,
                    "{number} is told as {told}"
                );
            }
            nanos *= 2;
        }
    }

    #[test]
    fn buckets_are_in_order_and_none_is_missing() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(middle(index)), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn thousandths_are_ranks() {
        let mut histogram = Histogram::new();
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (thousandths, micros) in [(0, 1), (1, 1), (500, 500), (990, 990), (1_000, 1_000)] {
            let told = histogram.per_mille(thousandths).as_nanos();
            assert!(told.abs_diff(micros * 1_000) * 100 <= micros * 1_000);
        }
        assert_eq!(histogram.count(), 1_000);
        assert_eq!(histogram.longest(), Duration::from_millis(1));
    }

    #[test]
    fn nothing_recorded_is_zero_and_a_century_is_no_harm() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.per_mille(500), Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.longest(), Duration::MAX);
        assert!(histogram.per_mille(500) >= Duration::from_secs(4_000));
    }
}
