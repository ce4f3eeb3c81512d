//! Which revisions the history holds without a gap.
//!
//! What is held is a set of spans of revisions. A span grows as what follows it is kept; what does not
//! follow begins another one, and between the two is a gap that whoever asks is told of. What is told
//! again, as after a restart, may close one. The number of spans is bounded: the oldest is forgotten,
//! and its events with it.

use cotter_types::limits::HISTORY_SPANS_MAX;
use cotter_types::{HistoryCoverage, HistorySpan, Revision};

/// Tells whether what happened in a revision is held.
pub(super) fn holds(coverage: &HistoryCoverage, revision: Revision) -> bool {
    let spans = &coverage.spans;
    let next = spans.partition_point(|span| span.to < revision);
    spans.get(next).is_some_and(|span| span.after < revision)
}

/// Notes that a span is held. Returns whether that left a gap behind it that was not there before.
pub(super) fn hold(coverage: &mut HistoryCoverage, new: HistorySpan) -> bool {
    let spans = &mut coverage.spans;
    let touches = |span: &HistorySpan| span.after <= new.to && new.after <= span.to;
    let begin = spans.partition_point(|span| span.to < new.after);
    let end = begin + spans[begin..].iter().take_while(|it| touches(it)).count();
    let leaves_gap = begin == end && begin == spans.len() && !spans.is_empty();
    let whole = spans[begin..end]
        .iter()
        .fold(new, |one, other| HistorySpan {
            after: one.after.min(other.after),
            to: one.to.max(other.to),
            since_wall_ms: one.since_wall_ms.min(other.since_wall_ms),
            until_wall_ms: one.until_wall_ms.max(other.until_wall_ms),
        });
    spans.splice(begin..end, [whole]);
    leaves_gap
}

/// Notes that everything up to `revision`, of the time `wall_ms`, has gone.
pub(super) fn let_go(coverage: &mut HistoryCoverage, revision: Revision, wall_ms: u64) {
    coverage.spans.retain_mut(|span| {
        if span.after < revision {
            span.after = revision;
            span.since_wall_ms = span.since_wall_ms.max(wall_ms);
        }
        span.after < span.to
    });
}

/// Forgets the oldest spans of too many. Returns the revision up to which events must go for it.
pub(super) fn bound(coverage: &mut HistoryCoverage) -> Option<Revision> {
    let surplus = coverage.spans.len().saturating_sub(HISTORY_SPANS_MAX);
    coverage
        .spans
        .drain(..surplus)
        .next_back()
        .map(|span| span.to)
}
