//! `cotter lock`: a lock held for exactly as long as a command runs.
//!
//! Read in this order: [`schedule`] (when a command must end), [`protocol`] (what the two processes
//! say), [`keeper`] and [`trampoline`] (the process that owns the command, and what the command is
//! before it begins), [`supervisor`] (the command line's side), `wait` (until the lock is held), `verb`
//! (all of it together).

mod census;
pub mod group;
pub mod keeper;
mod narrator;
mod outage;
pub mod protocol;
pub mod schedule;
pub mod signals;
pub mod supervisor;
pub mod terminal;
pub mod trampoline;
pub(crate) mod verb;
mod wait;
