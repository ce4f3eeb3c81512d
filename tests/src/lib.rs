//! The proof: simulator, checkers, golden scripts, real processes.

pub mod cluster;
