//! When a measurement counts, and when it is over.

use crate::lock::signals::Signals;
use nix::sys::signal::Signal;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What happens so early is not counted: the first acquisition of a lock creates its node, and
/// connections find their pace.
const WARM_UP: Duration = Duration::from_millis(1_000);

/// The time of one measurement, shared by its workers.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch {
    begin: Instant,
    end: Instant,
    stopped: Rc<Cell<bool>>,
}

impl Stopwatch {
    /// Starts the warm-up, and then the time that counts.
    pub(super) fn start(counted: Duration) -> Self {
        let begin = Instant::now() + WARM_UP;
        Self {
            begin,
            end: begin + counted,
            stopped: Rc::default(),
        }
    }

    /// Tells whether something that ended at `moment` counts.
    pub(super) fn counts(&self, moment: Instant) -> bool {
        self.begin <= moment && moment < self.end && !self.stopped.get()
    }

    /// Tells whether workers shall begin nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.get() || Instant::now() >= self.end
    }

    /// Waits until the time is over and the workers have ended, which they are given `patience` for;
    /// afterwards they are cut off. A signal ends the time early and is returned.
    pub(super) async fn wait(
        &self,
        mut workers: JoinSet<()>,
        patience: Duration,
        signals: &mut Signals,
    ) -> Option<Signal> {
        let all = async { while workers.join_next().await.is_some() {} };
        tokio::pin!(all);
        let interrupted = tokio::select! {
            () = &mut all => return None,
            signal = signals.end() => Some(signal),
            () = tokio::time::sleep_until(self.end.into()) => None,
        };
        self.stopped.set(true);
        // Whoever is cut off has its acquisition cancelled and its lock released.
        let _ = tokio::time::timeout(patience, all).await;
        interrupted
    }
}
