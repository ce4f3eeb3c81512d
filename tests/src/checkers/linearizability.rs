//! Linearizability from the outside, path by path: a memoised search after Wing, Gong and Lowe.
//!
//! What clients called and what they were told is a history of operations, each with the interval of
//! true time in which it must have taken effect. The search looks for an order that respects the
//! intervals and that a small sequential model ([`LockState`], [`NodeState`]) allows. A history of
//! many objects is linearizable if and only if that of each object is (locality), so each path is
//! searched by itself.
//!
//! Unlike the check by log index (`order`), it does not trust the log's order where clients tell
//! theirs: it would notice a wrong answer also where the log, the reference cell and the master agree
//! on it. `witness` says where the log is consulted all the same.
//!
//! The search can explode. It is bounded by steps, and a history for which the bound does not suffice
//! is *unknown*, never passed.

mod lock;
mod node;

pub use lock::{Hold, LockOperation, LockState};
pub use node::{Node, NodeOperation, NodeState};

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// The state of a sequential object, which knows what may happen to it.
pub trait Sequential: Clone + Eq + Hash + Debug {
    /// What can be done to it, together with what came of it.
    type Operation: Debug;

    /// Returns the state after `operation`, or nothing if it cannot come to that in this state.
    fn after(&self, operation: &Self::Operation) -> Option<Self>;
}

/// One operation in true time.
#[derive(Clone, Debug)]
pub struct Operation<O> {
    /// It took effect at this moment or later.
    pub invoked: u64,
    /// It took effect at this moment or earlier; nothing if it was never answered, so that it may
    /// have taken effect at any time, or never.
    pub returned: Option<u64>,
    /// What was done and what came of it.
    pub what: O,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearizability {
    /// There is an order.
    Linearizable,
    /// There is none. Tells how far the best attempt came, and what could not follow.
    Impossible(String),
    /// The search took more steps than it was allowed.
    Unknown,
}

/// One place of the search: what was put in order so far, and the state it leads to.
struct Place<S> {
    /// All answered operations before this one are in order.
    prefix: usize,
    /// Answered operations after `prefix` that are in order, ascending.
    beyond: Vec<u32>,
    /// Unanswered operations that are in order, ascending.
    open: Vec<u32>,
    state: S,
    /// What may come next, the last one first.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy)]
enum Candidate {
    Answered(u32),
    Open(u32),
}

/// Looks for an order of `history` that begins in `state`, in at most `steps_max` steps of the model.
///
/// Returns what it came to and the steps taken.
pub fn search<S: Sequential>(
    state: S,
    history: &[Operation<S::Operation>],
    steps_max: u64,
) -> (Linearizability, u64) {
    let mut answered: Vec<_> = history.iter().filter(|it| it.returned.is_some()).collect();
    let mut open: Vec<_> = history.iter().filter(|it| it.returned.is_none()).collect();
    answered.sort_by_key(|it| (it.invoked, it.returned));
    open.sort_by_key(|it| it.invoked);
    Search { answered, open }.run(state, steps_max)
}

struct Search<'a, O> {
    /// By the time of their invocation.
    answered: Vec<&'a Operation<O>>,
    open: Vec<&'a Operation<O>>,
}

impl<O: Debug> Search<'_, O> {
    fn run<S: Sequential<Operation = O>>(
        &self,
        state: S,
        steps_max: u64,
    ) -> (Linearizability, u64) {
        let mut seen = HashSet::new();
        let mut steps = 0;
        let mut best = (0, String::new());
        let mut stack = vec![self.place(0, Vec::new(), Vec::new(), state)];
        while let Some(place) = stack.last_mut() {
            if place.prefix == self.answered.len() {
                return (Linearizability::Linearizable, steps);
            }
            let Some(candidate) = place.candidates.pop() else {
                stack.pop();
                continue;
            };
            steps += 1;
            if steps > steps_max {
                return (Linearizability::Unknown, steps);
            }
            let Some(next) = self.follow(place, candidate) else {
                let done = place.prefix + place.beyond.len();
                if done >= best.0 {
                    best = (done, self.describe(place));
                }
                continue;
            };
            let key = (
                next.prefix,
                next.beyond.clone(),
                next.open.clone(),
                next.state.clone(),
            );
            if seen.insert(key) {
                stack.push(next);
            }
        }
        let (done, what) = best;
        let all = self.answered.len();
        let what = format!("{done} of {all} operations can be put in order; then {what}");
        (Linearizability::Impossible(what), steps)
    }

    /// Takes one operation more, if the model allows it.
    fn follow<S: Sequential<Operation = O>>(
        &self,
        place: &Place<S>,
        candidate: Candidate,
    ) -> Option<Place<S>> {
        let (mut prefix, mut beyond) = (place.prefix, place.beyond.clone());
        let mut open = place.open.clone();
        let state = match candidate {
            Candidate::Answered(at) => {
                let state = place.state.after(&self.answered[at as usize].what)?;
                let slot = beyond.partition_point(|other| *other < at);
                beyond.insert(slot, at);
                state
            }
            Candidate::Open(at) => {
                let state = place.state.after(&self.open[at as usize].what)?;
                let slot = open.partition_point(|other| *other < at);
                open.insert(slot, at);
                state
            }
        };
        let mut dense = 0;
        while beyond.get(dense).is_some_and(|at| *at as usize == prefix) {
            prefix += 1;
            dense += 1;
        }
        beyond.drain(..dense);
        Some(self.place(prefix, beyond, open, state))
    }

    /// An operation may come next if no other one that is still missing was answered before it was
    /// asked for.
    fn place<S>(&self, prefix: usize, beyond: Vec<u32>, open: Vec<u32>, state: S) -> Place<S> {
        let mut ready = Vec::new();
        let mut first_return = u64::MAX;
        for (at, operation) in self.answered.iter().enumerate().skip(prefix) {
            if operation.invoked > first_return {
                break;
            }
            let at = u32::try_from(at).expect("a history has fewer than 2^32 operations");
            if beyond.binary_search(&at).is_err() {
                let returned = operation.returned.unwrap_or(u64::MAX);
                first_return = first_return.min(returned);
                ready.push((returned, at));
            }
        }
        // Whoever was answered first is tried first: mostly that is the order.
        ready.retain(|(_, at)| self.answered[*at as usize].invoked <= first_return);
        ready.sort_unstable_by(|one, other| other.cmp(one));
        let unanswered = (0..).zip(&self.open);
        let mut candidates: Vec<Candidate> = unanswered
            .filter(|(at, it)| it.invoked <= first_return && open.binary_search(at).is_err())
            .map(|(at, _)| Candidate::Open(at))
            .collect();
        candidates.extend(ready.into_iter().map(|(_, at)| Candidate::Answered(at)));
        Place {
            prefix,
            beyond,
            open,
            state,
            candidates,
        }
    }

    fn describe<S: Debug>(&self, place: &Place<S>) -> String {
        let fresh = self.place(place.prefix, place.beyond.clone(), place.open.clone(), ());
        let next: Vec<&Operation<O>> = fresh
            .candidates
            .iter()
            .rev()
            .map(|candidate| match candidate {
                Candidate::Answered(at) => self.answered[*at as usize],
                Candidate::Open(at) => self.open[*at as usize],
            })
            .take(6)
            .collect();
        format!("{:?} can be followed by none of {next:?}", place.state)
    }
}

#[cfg(test)]
mod tests;
