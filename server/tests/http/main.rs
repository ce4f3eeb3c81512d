//! HTTP/JSON against a real cell of one replica in this process: every route, status and header.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

mod broken;
mod cell;
mod described;
mod exchange;
mod fuzz;
mod locks;
mod nodes;
mod transcript;
