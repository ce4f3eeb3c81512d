//! The proof: simulator, checkers, golden scripts, real processes.

pub mod checkers;
pub mod cluster;
pub mod simulation;
pub mod stores;
