//! Draws for a run, from its seed alone.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// A source of draws.
#[derive(Debug)]
pub(crate) struct Chance(StdRng);

impl Chance {
    /// Begins the stream of draws number `stream` of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mixed = seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(StdRng::seed_from_u64(mixed))
    }

    /// Draws any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws a number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    /// Draws a time of whole milliseconds, the last one not included.
    pub(crate) fn ms(&mut self, from: u64, end: u64) -> Duration {
        Duration::from_millis(from + self.below(end - from))
    }
}
