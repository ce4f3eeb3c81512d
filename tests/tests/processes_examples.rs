//! The examples do what their text says.

use cotter_tests::cluster::{DevCell, Process, eventually, example};
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;

fn start(cell: &DevCell, directory: &Path, name: &str, arguments: &[&str], log: &str) -> Process {
    let mut command = Command::new(example(name));
    command
        .args(arguments)
        .env("COTTER_ENDPOINTS", &cell.endpoint);
    Process::start(log, &mut command, &directory.join(log))
}

/// Waits until the process has written a line that begins with `words`, and returns the rest of it.
#[track_caller]
fn says(process: &mut Process, words: &str) -> String {
    let rest = |log: String| {
        let line = log.lines().find_map(|line| line.strip_prefix(words));
        line.map(str::to_owned)
    };
    eventually(words, || {
        rest(process.log()).is_some() || process.ended().is_some()
    });
    rest(process.log()).unwrap_or_else(|| panic!("{words:?} is not in {}", process.log()))
}

#[test]
fn second_first_lock_waits_until_the_first_has_finished() {
    let cell = DevCell::start();
    let directory = tempfile::tempdir().unwrap();
    let mut first = start(&cell, directory.path(), "first-lock", &[], "first");
    let first_token: u64 = says(&mut first, "holding the lock, token ")
        .parse()
        .unwrap();
    let mut second = start(&cell, directory.path(), "first-lock", &[], "second");
    let second_token: u64 = says(&mut second, "holding the lock, token ")
        .parse()
        .unwrap();
    assert!(second_token > first_token);
    // Whoever holds the lock after the first finds the first done with it.
    says(&mut first, "released the lock");
    assert_eq!(first.wait().code(), Some(0), "{}", first.log());
    says(&mut second, "released the lock");
    assert_eq!(second.wait().code(), Some(0), "{}", second.log());
}

#[test]
fn leader_election_hands_over_when_the_leader_steps_down_and_when_it_dies() {
    let cell = DevCell::start();
    let directory = tempfile::tempdir().unwrap();
    let elect = |name: &str| start(&cell, directory.path(), "leader-election", &[name], name);
    let mut alice = elect("alice");
    says(&mut alice, "alice: leading, token ");
    let mut bob = elect("bob");
    says(&mut bob, "bob: standing for election");
    alice.signal(Signal::SIGINT);
    says(&mut alice, "alice: stepped down");
    assert_eq!(alice.wait().code(), Some(0), "{}", alice.log());
    assert!(says(&mut bob, "bob: succeeding ").starts_with("alice "));
    says(&mut bob, "bob: leading, token ");
    let mut carol = elect("carol");
    says(&mut carol, "carol: standing for election");
    bob.kill();
    // Bob's lease has to run out first.
    assert!(says(&mut carol, "carol: succeeding ").starts_with("bob "));
    says(&mut carol, "carol: leading, token ");
    let leader = cell.run(&["cat", "/ls/local/examples/leader"]).ok();
    assert!(leader.starts_with("carol "), "{leader}");
    carol.signal(Signal::SIGINT);
    assert_eq!(carol.wait().code(), Some(0), "{}", carol.log());
}

#[test]
fn fenced_writes_refuses_the_late_one_however_often_it_is_run() {
    let cell = DevCell::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let file = file.to_str().unwrap();
    for (name, entries) in [("once", 2), ("again", 4)] {
        let mut run = start(&cell, directory.path(), "fenced-writes", &[file], name);
        says(&mut run, "refused token ");
        says(&mut run, &format!("{file} has {entries} entries"));
        assert_eq!(run.wait().code(), Some(0), "{}", run.log());
    }
}
