//! The core simulation: real replicas on real logs over simulated disks, real client sessions, and
//! a simulated network and clocks between them.
//!
//! Everything that decides in Cotter is a pure core, so a whole cell with its clients fits into one
//! thread and one virtual time. A seed decides everything; what a seed finds can be replayed, with
//! a trace, for as long as the code stays the same. What a seed found once is kept with its story
//! in `tests/seeds.toml`.
//!
//! What it cannot show: anything about tokio, gRPC, the kernel, or clocks that drift by more than
//! Cotter allows for. Other suites do.

mod agenda;
mod arrivals;
mod caller;
mod calls;
mod clock;
mod disk;
mod faults;
mod guest;
mod host;
mod invention;
mod judgement;
mod knowledge;
mod links;
mod network;
mod operator;
mod profile;
mod program;
mod random;
mod run;
mod seeds;
mod tally;
mod turn;
mod watch;
mod world;

pub use profile::{Choices, Profile};
pub use run::{RECOVERY_US_MAX, Report, run};
pub use seeds::{Campaign, Outcome, Story, stories};
pub use tally::Tally;

#[cfg(test)]
mod tests;
