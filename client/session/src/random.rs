//! Chance from a seed, so that a run can be repeated.

/// The splitmix64 generator (Steele, Lea and Flood, 2014): small, and good enough for jitter.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns something between half of `whole` and all of it, so that clients which lost the same
    /// master do not come back in one moment.
    pub(crate) fn jitter(&mut self, whole: u64) -> u64 {
        let half = whole / 2;
        half + self.next() % (whole - half + 1)
    }
}
