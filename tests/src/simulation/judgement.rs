//! The checkers of one run, and whose verdict counts.
//!
//! They see everything in every run. Where linearizability alone is to be judged, what the others say
//! is dropped here and nowhere else; what the run itself cannot go on without (agreement) must never be
//! passed through [`Checkers::judged`].

use crate::checkers::{
    Calls, Condemned, Epochs, Exclusion, History, Locks, Masters, Nodes, Once, Order, Tokens,
    Truth, Verdict, Witness,
};
use cotter_cell::Genesis;

/// The checkers of one run.
pub(super) struct Checkers {
    pub(super) history: History,
    pub(super) once: Once,
    pub(super) nodes: Nodes,
    pub(super) order: Order,
    pub(super) tokens: Tokens,
    pub(super) epochs: Epochs,
    pub(super) locks: Locks,
    pub(super) masters: Masters,
    pub(super) condemned: Condemned,
    pub(super) exclusion: Exclusion,
    pub(super) truth: Truth,
    pub(super) calls: Calls,
    pub(super) witness: Witness,
    /// Nothing is judged but linearizability, at the end.
    alone: bool,
    /// Not even that: a master with a wrong state has spoken.
    spoilt: bool,
}

impl Checkers {
    /// Builds the checkers of a cell; `alone` drops all verdicts but that on linearizability.
    pub(super) fn new(genesis: &Genesis, alone: bool) -> Self {
        Self {
            history: History::new(genesis),
            once: Once::default(),
            nodes: Nodes::default(),
            order: Order::default(),
            tokens: Tokens::new(genesis.token_floor),
            epochs: Epochs::default(),
            locks: Locks::default(),
            masters: Masters::default(),
            condemned: Condemned::default(),
            exclusion: Exclusion::default(),
            truth: Truth::default(),
            calls: Calls::default(),
            witness: Witness::default(),
            alone,
            spoilt: false,
        }
    }

    /// Judges nothing more but what the run cannot go on without: a planted bug has made a master speak
    /// that is not itself to be judged here.
    pub(super) fn spoilt(&mut self) {
        self.spoilt = true;
    }

    /// Tells whether only that is judged.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// Passes on what a checker says, unless only linearizability is to be judged.
    pub(super) fn judged(&self, verdict: Verdict) -> Verdict {
        if self.alone || self.spoilt {
            Ok(())
        } else {
            verdict
        }
    }
}
