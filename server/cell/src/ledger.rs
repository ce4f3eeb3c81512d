//! What a session has acknowledged: everything up to a floor, and ranges above it.

use crate::state::Ledger;
use cotter_types::{Acknowledged, Refusal, RequestNumber, limits};

/// A range of numbers, both ends included.
type Range = (RequestNumber, RequestNumber);

impl Ledger {
    /// Tells whether the client said that it will never ask for `number` again.
    pub(crate) fn has_acknowledged(&self, number: RequestNumber) -> bool {
        number <= self.floor || self.covers((number, number))
    }

    /// Tells whether a whole range lies in one of those above the floor.
    fn covers(&self, range: Range) -> bool {
        let next = self.above.partition_point(|(_, last)| *last < range.0);
        self.above
            .get(next)
            .is_some_and(|(first, last)| *first <= range.0 && range.1 <= *last)
    }

    /// Returns the ranges of `acknowledged` that are not known to be acknowledged already.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if the ranges are not ascending, overlap, or lie below the floor, and
    /// [`Refusal::Limit`] if there are too many.
    pub(crate) fn news_in(&self, acknowledged: &Acknowledged) -> Result<Vec<Range>, Refusal> {
        if acknowledged.above.len() > limits::ACKNOWLEDGED_RANGES_MAX {
            return Err(Refusal::Limit {
                what: "separate ranges of acknowledged numbers".to_owned(),
                limit: limits::ACKNOWLEDGED_RANGES_MAX as u64,
            });
        }
        let mut news = Vec::new();
        if acknowledged.floor > self.floor {
            news.push((self.floor.next(), acknowledged.floor));
        }
        let mut end = acknowledged.floor;
        for range in &acknowledged.above {
            if range.0 <= end || range.1 < range.0 {
                return Err(Refusal::Invalid {
                    what: "acknowledged ranges must be above the floor, ascend and not overlap"
                        .to_owned(),
                });
            }
            end = range.1;
            if range.1 > self.floor && !self.covers(*range) {
                news.push(*range);
            }
        }
        Ok(news)
    }

    /// Returns the floor and the ranges above it, were `acknowledged` added.
    pub(crate) fn with(&self, acknowledged: &Acknowledged) -> (RequestNumber, Vec<Range>) {
        let mut floor = self.floor.max(acknowledged.floor);
        let mut all = [self.above.as_slice(), acknowledged.above.as_slice()].concat();
        all.sort_unstable();
        let mut above: Vec<Range> = Vec::with_capacity(all.len());
        for (first, last) in all {
            if first.0 <= floor.0.saturating_add(1) {
                floor = floor.max(last);
                continue;
            }
            match above.last_mut() {
                Some(before) if first.0 <= before.1.0.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => above.push((first, last)),
            }
        }
        (floor, above)
    }
}
