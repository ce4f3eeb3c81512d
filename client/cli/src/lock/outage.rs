//! What `cotter lock` says when the cell cannot be reached, and when it can again.
//!
//! Always, not only with `--verbose`: whoever waits without an end must be able to see that it is not
//! the lock that is waited for. Each change is said once.

use cotter_client::{Client, Reachability};
use std::convert::Infallible;
use std::fmt::Display;

/// Whether it was said that the cell is unreachable.
#[derive(Debug, Default)]
pub(super) struct Outage {
    said: bool,
}

impl Outage {
    /// Says that the cell is unreachable, and why.
    pub(super) fn begins(&mut self, report: &dyn Display) {
        if !self.said {
            eprintln!("cotter: {report}; waiting for it");
            self.said = true;
        }
    }

    /// Says that the cell is reachable again.
    pub(super) fn ends(&mut self) {
        if self.said {
            eprintln!("cotter: the cell is reachable again");
            self.said = false;
        }
    }

    /// Says what becomes of the cell. Never ends by itself.
    pub(super) async fn tell(&mut self, client: &Client) -> Infallible {
        let mut reachability = client.reachability();
        loop {
            match &*reachability.borrow_and_update() {
                Reachability::Unreachable(report) => self.begins(report),
                _ => self.ends(),
            }
            if reachability.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
