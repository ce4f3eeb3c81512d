//! Identifiers. Each is its own type, so that a session id can never be passed for a token.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the next larger value.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// Names one reign of a master. A new master has a new, larger epoch; 0 means "no master yet".
    Epoch, ""
);
number!(
    /// What every store can compare to refuse a holder of the past: drawn from one cell-wide
    /// counter, strictly larger for every later acquisition, and below 2^53.
    FencingToken, ""
);
number!(
    /// Tells one life of a path from the next: a node that is deleted and created again has another.
    Instance, ""
);
number!(
    /// Numbers a replica of a cell, 1 to 5. Small and dense, as OmniPaxos wants them.
    ReplicaId, ""
);
number!(
    /// Numbers a session's mutations: 1, 2, 3, … A retry carries the number of the first attempt.
    RequestNumber, ""
);
number!(
    /// The count of commands that the cell has applied.
    Revision, ""
);
number!(
    /// Names a session within its cell. Knowing it is not enough to speak for it: see [`Nonce`].
    SessionId, "s"
);

/// Names a cell: drawn at random when the cell is born, another one after a restore.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CellId(pub u64);

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// 128 random bits, chosen by the client when it opens a session.
///
/// It makes opening exactly-once, and whoever attaches the session again must show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u128);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}
