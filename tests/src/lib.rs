//! The proof: simulator, checkers, golden scripts, real processes.

pub mod checkers;
pub mod cluster;
pub mod command_line;
pub mod simulation;
pub mod stores;
