//! What must hold in every run, one file each.
//!
//! The checkers see what the simulated world sees: frames, beliefs, the entries that replicas have
//! applied. They never ask the code under test whether it is right; where they need to know what an
//! entry means, they apply the committed log to a cell of their own and check the *claims* made to
//! clients against it, and the rules that the cell itself must keep (tokens, queues, epochs) they
//! keep a second time, by simpler means.

mod calls;
mod condemned;
mod deeds;
mod epochs;
mod exclusion;
mod history;
pub mod linearizability;
mod locks;
mod masters;
mod nodes;
mod once;
mod order;
mod tokens;
mod truth;
mod witness;

pub use calls::Calls;
pub use condemned::Condemned;
pub use epochs::Epochs;
pub use exclusion::{Belief, Exclusion};
pub use history::{History, Recorded, Step};
pub use locks::Locks;
pub use masters::Masters;
pub use nodes::Nodes;
pub use once::Once;
pub use order::{Floor, Order};
pub use tokens::Tokens;
pub use truth::Truth;
pub use witness::{Interval, Searched, Witness};

use std::fmt;

/// Something that must never happen has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that noticed.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    /// Reports something.
    pub fn new(checker: &'static str, what: impl Into<String>) -> Self {
        Self {
            checker,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// What a checker says of one thing that it was shown.
pub type Verdict = Result<(), Violation>;
