//! The signals that the command line passes on to its command.
//!
//! A signal that was ignored when the command line started stays ignored (`nohup` depends on it);
//! the runtime's handlers would undo that, so none is installed for it.

use nix::sys::signal::Signal;
use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;

/// What is passed on.
pub const FORWARDED: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Signals that wait to be handled: more than this many at once merge, as pending signals do.
const PENDING_MAX: usize = 16;

/// Receives the signals of [`FORWARDED`] that were not ignored, and SIGTSTP if asked.
#[derive(Debug)]
pub struct Signals {
    receiver: mpsc::Receiver<Signal>,
}

impl Signals {
    /// Begins to catch signals. Must be called within a runtime, once.
    ///
    /// # Errors
    /// If a handler cannot be installed.
    pub fn catch(with_terminal_stop: bool) -> io::Result<Self> {
        let ignored = ignored_mask();
        let (sender, receiver) = mpsc::channel(PENDING_MAX);
        let stop = with_terminal_stop.then_some(Signal::SIGTSTP);
        for kind in FORWARDED.into_iter().chain(stop) {
            if ignored & (1_u64 << (kind as i32 - 1)) == 0 {
                let stream = signal(SignalKind::from_raw(kind as i32))?;
                tokio::spawn(pass_on(stream, kind, sender.clone()));
            }
        }
        Ok(Self { receiver })
    }

    /// Waits for the next signal. Never ends by itself.
    pub async fn next(&mut self) -> Signal {
        match self.receiver.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Waits for a signal that asks the command line to end. Never ends by itself.
    pub async fn end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if matches!(
                signal,
                Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT
            ) {
                return signal;
            }
        }
    }
}

async fn pass_on(mut stream: Stream, kind: Signal, sender: mpsc::Sender<Signal>) {
    while stream.recv().await.is_some() {
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(kind) {
            return;
        }
    }
}

/// Returns the mask of ignored signals, bit n-1 for signal n; none if `/proc` does not say.
fn ignored_mask() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
