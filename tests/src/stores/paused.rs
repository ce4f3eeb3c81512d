//! A holder that is stopped between acquiring and writing, and the one who comes after.
//!
//! Both are processes of their own, of the binary `fenced-writer`: it acquires the lock with the
//! shortest lease, reads the ledger, says so, waits for a file, and writes what it has read plus its
//! amount. The first one is stopped while it waits, and continued when the second one is done.

use super::{Entry, Ledger};
use crate::cluster::{DevCell, Process, built, eventually, eventually_some, now_ms, state_of};
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;

/// The lock.
pub const LOCK: &str = "/ls/local/jobs/ledger";
/// The lease, in milliseconds.
pub const LEASE_MS: u64 = 2_000;
/// Exit status of a writer that was refused.
pub const REFUSED: i32 = 3;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What the ledger says at the end.
    pub entry: Entry,
    /// How the first, late writer has ended.
    pub first_code: Option<i32>,
    /// The last line of the first writer.
    pub first_said: String,
    /// The token of the first.
    pub first_token: u64,
    /// The token of the second.
    pub second_token: u64,
}

/// Lets two writers have their turn, with the guard or without it. The first one adds 1, and its
/// write is late; the second one adds 1,000.
///
/// # Panics
/// If it does not go as far as to the late write.
pub async fn late_write(ledger: &Ledger, guarded: bool) -> Ending {
    ledger.create().await.expect("a ledger can be made");
    let cell = DevCell::start();
    let directory = tempfile::tempdir().expect("a directory for the writers");
    let go = directory.path().join("go");
    let start = |name: &str, amount: &str| {
        let mut command = Command::new(built("fenced-writer"));
        let guard = if guarded { "guarded" } else { "unguarded" };
        command
            .args([&ledger.to_string(), guard, name, amount])
            .arg(&go)
            .env("COTTER_ENDPOINTS", &cell.endpoint);
        Process::start(name, &mut command, &directory.path().join(name))
    };
    let mut first = start("first", "1");
    let first_token = token_of(&mut first);
    first.signal(Signal::SIGSTOP);
    eventually("the first writer stands still", || {
        state_of(first.id()) == Some('T')
    });
    let stopped_ms = now_ms();
    std::fs::write(&go, "").expect("a file can be written");
    let mut second = start("second", "1000");
    let second_token = token_of(&mut second);
    let waited_ms = now_ms() - stopped_ms;
    assert_eq!(second.wait().code(), Some(0), "{}", second.log());
    let between = ledger.read().await.expect("the ledger can be read");
    assert_eq!((between.total, between.author.as_str()), (1_100, "second"));
    assert_eq!(state_of(first.id()), Some('T'), "it was to stand still");
    println!("the second holder had the lock {waited_ms} ms after the first was stopped");
    first.signal(Signal::SIGCONT);
    let first_code = first.wait().code();
    let entry = ledger.read().await.expect("the ledger can be read");
    Ending {
        entry,
        first_code,
        first_said: first.log().lines().last().unwrap_or_default().to_owned(),
        first_token,
        second_token,
    }
}

/// Waits until a writer has the lock and has read the ledger.
fn token_of(writer: &mut Process) -> u64 {
    eventually_some("a writer holds the lock", || {
        let log = writer.log();
        let line = log.lines().find_map(|line| line.strip_prefix("holding "));
        if line.is_none() && writer.ended().is_some() {
            panic!("a writer has ended without the lock: {log}");
        }
        // A line is written whole or not at all.
        line.and_then(|token| token.parse().ok())
    })
}

/// Waits, in a writer, until it may write.
pub fn wait_for(go: &Path) {
    eventually("the test lets the writer go on", || go.exists());
}
