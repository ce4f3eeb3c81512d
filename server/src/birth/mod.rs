//! How a cell is born: once, with all members present and empty (DESIGN 3.9).
//!
//! Each member runs `cotterd init`. The one with the lowest id leads: it asks all others who they
//! are, draws the certificate, has everybody write it down (*forming*), and when all have, tells
//! everybody so (*born*), itself last. That the leader is born therefore means that everybody is.
//!
//! An interrupted birth is completed by running it again: as long as nobody is born nobody has voted,
//! so a member whose directory is empty may still take its place in a certificate that others hold.
//! Once one is born, an empty directory is one that forgot, and it is never let in: it can only
//! *join* (`cotterd join`), which gives it a disk id of its own and no vote.
//!
//! A *restored* cell (`cotterd restore`) is born in the same way, from a file that every member has: the
//! certificate names the file and the state that all make of it, and each member has that state as
//! the first chapter's checkpoint before it takes the certificate.
//!
//! What this module must never do: write a second certificate over a first, or make a directory born
//! before every member is known to hold the certificate durably.

mod ceremony;
mod desk;
mod ground;
#[cfg(test)]
mod ground_tests;
mod introduction;
mod join;
mod plan;
#[cfg(test)]
mod tests;

pub use ceremony::{birth_of_all_here, init, restore};
pub use desk::BirthDesk;
pub(crate) use desk::{check_replica, directory_failure, log_failure, random};
pub use ground::Ground;
pub(crate) use join::is_empty;
pub use join::join;
