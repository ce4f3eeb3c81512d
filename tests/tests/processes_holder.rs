//! The holder of a lock is frozen or killed, part by part. Its command must be gone before the
//! command of the next holder begins, which that command checks by itself with its first act.
//!
//! The holder's command is deaf to TERM, and so is a companion in its process group.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_tests::cluster::{
    Cell, DevCell, Finished, Process, Track, children_of, eventually, eventually_some, lives,
    name_of, now_ms, state_of,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::process::Command;
use std::time::Duration;

const LOCK: &str = "/ls/local/jobs/crawl";
const LEASE_MS: u64 = 2_000;
/// The lock with the shortest lease there is, and nothing but that lease to protect it.
const HOLD: [&str; 6] = ["lock", "--lease", "2", "--lock-delay", "0", LOCK];
/// The one who comes after.
const NEXT: [&str; 4] = ["lock", "--wait", "30", LOCK];

/// A holder and the processes that it is made of.
struct Holder {
    track: Track,
    command_line: Process,
    keeper: Pid,
    command: Pid,
    companion: Pid,
}

impl Holder {
    /// Starts `hold`, a `cotter lock` that lacks its command, and waits until its command is up.
    fn start(hold: Command) -> Self {
        let track = Track::new();
        let mut command = track.turn(hold, "first", "forever");
        let mut command_line =
            Process::start("cotter lock", &mut command, &track.path().join("first.log"));
        eventually("the holder's command is up", || {
            assert!(command_line.ended().is_none(), "{}", command_line.log());
            track.path().join("up").exists()
        });
        let turn = track.journal().turns[0].clone();
        let companion = std::fs::read_to_string(track.path().join("companion")).unwrap();
        let keeper = eventually_some("the keeper has its name", || {
            children_of(command_line.id())
                .into_iter()
                .find(|child| name_of(*child).as_deref() == Some("cotter-keeper"))
        });
        Self {
            track,
            command_line,
            keeper,
            command: Pid::from_raw(turn.process),
            companion: Pid::from_raw(companion.trim().parse().unwrap()),
        }
    }

    fn is_gone(&self) -> bool {
        !lives(self.command) && !lives(self.companion)
    }

    /// Checks that `next` had its turn, alone, and returns when that began.
    fn succeeded_by(&self, next: &Finished) -> u64 {
        assert_eq!(next.code, 0, "{}", next.errors);
        let journal = self.track.journal();
        journal.check();
        let turns = journal.of("second");
        assert_eq!(turns.len(), 1, "{journal:?}");
        assert!(self.is_gone());
        turns[0].begin_ms
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The command must never outlive the test, even if what is tested does not work. Its group
        // has the command's own number, and nobody else's while one of it lives.
        if lives(self.command) || lives(self.companion) {
            let _ = nix::sys::signal::killpg(self.command, Signal::SIGKILL);
        }
        if lives(self.keeper) {
            let _ = nix::sys::signal::kill(self.keeper, Signal::SIGKILL);
        }
    }
}

fn next(cell: &DevCell, holder: &Holder) -> Finished {
    let mut command = holder.track.turn(cell.cotter(&NEXT), "second", "0");
    cotter_tests::cluster::finish(&mut command)
}

#[test]
fn frozen_command_line_has_no_command_when_the_next_holder_begins() {
    let cell = DevCell::start();
    let mut holder = Holder::start(cell.cotter(&HOLD));
    let frozen_ms = now_ms();
    holder.command_line.signal(Signal::SIGSTOP);
    let second = next(&cell, &holder);
    assert_eq!(
        state_of(holder.command_line.id()),
        Some('T'),
        "it was to stay frozen"
    );
    let begin_ms = holder.succeeded_by(&second);
    println!(
        "the next holder began {} ms after the freeze",
        begin_ms - frozen_ms
    );
    // Once it goes on, it says that the lock was lost.
    holder.command_line.signal(Signal::SIGCONT);
    assert_eq!(
        holder.command_line.wait().code(),
        Some(117),
        "{}",
        holder.command_line.log()
    );
}

#[test]
fn killed_command_line_has_no_command_when_the_next_holder_begins() {
    let cell = DevCell::start();
    let mut holder = Holder::start(cell.cotter(&HOLD));
    let killed_ms = now_ms();
    holder.command_line.kill();
    let second = next(&cell, &holder);
    let begin_ms = holder.succeeded_by(&second);
    println!(
        "the next holder began {} ms after the kill",
        begin_ms - killed_ms
    );
    eventually("the keeper is gone", || !lives(holder.keeper));
}

#[test]
fn killed_keeper_has_no_command_when_the_next_holder_begins() {
    let cell = DevCell::start();
    let mut holder = Holder::start(cell.cotter(&HOLD));
    let killed_ms = now_ms();
    nix::sys::signal::kill(holder.keeper, Signal::SIGKILL).unwrap();
    let second = next(&cell, &holder);
    let begin_ms = holder.succeeded_by(&second);
    println!(
        "the next holder began {} ms after the kill of the keeper",
        begin_ms - killed_ms
    );
    assert_eq!(
        holder.command_line.wait().code(),
        Some(70),
        "{}",
        holder.command_line.log()
    );
}

#[test]
fn frozen_keeper_does_not_keep_the_command_beyond_the_lease() {
    let mut cell = Cell::start(3);
    let mut holder = Holder::start(cell.cotter(&HOLD));
    nix::sys::signal::kill(holder.keeper, Signal::SIGSTOP).unwrap();
    let lost_ms = now_ms();
    for replica in cell.replicas() {
        replica.kill();
    }
    // Without the keeper's help, the command line ends the command before its lease is over.
    eventually("the command is gone", || holder.is_gone());
    let gone_ms = now_ms();
    println!(
        "the command was gone {} ms after the cell",
        gone_ms - lost_ms
    );
    assert!(
        gone_ms - lost_ms < LEASE_MS,
        "it was {} ms",
        gone_ms - lost_ms
    );
    cell.start_all();
    let mut command = holder.track.turn(cell.cotter(&NEXT), "second", "0");
    let second = cotter_tests::cluster::finish(&mut command);
    holder.succeeded_by(&second);
    assert_eq!(
        holder.command_line.wait().code(),
        Some(70),
        "{}",
        holder.command_line.log()
    );
}

#[test]
fn holder_without_its_cell_ends_its_command_within_the_lease() {
    let mut cell = Cell::start(3);
    let mut holder = Holder::start(cell.cotter(&HOLD));
    let lost_ms = now_ms();
    for replica in cell.replicas() {
        replica.pause();
    }
    eventually("the command is gone", || holder.is_gone());
    let took_ms = now_ms() - lost_ms;
    println!("the command was gone {took_ms} ms after the cell froze");
    assert!(took_ms < LEASE_MS, "it was {took_ms} ms");
    for replica in cell.replicas() {
        replica.resume();
    }
    let mut command = holder.track.turn(cell.cotter(&NEXT), "second", "0");
    let second = cotter_tests::cluster::finish(&mut command);
    holder.succeeded_by(&second);
    assert_eq!(
        holder.command_line.wait().code(),
        Some(117),
        "{}",
        holder.command_line.log()
    );
}

#[test]
fn lock_delay_keeps_the_lock_unavailable_after_an_expiry() {
    let cell = DevCell::start();
    let hold = ["lock", "--lease", "2", "--lock-delay", "2", LOCK];
    let mut holder = Holder::start(cell.cotter(&hold));
    let killed_ms = now_ms();
    holder.command_line.kill();
    let refused = cell.run(&["lock", "-n", LOCK, "--", "true"]);
    assert_eq!(refused.code, 75, "{}", refused.errors);
    let second = next(&cell, &holder);
    let begin_ms = holder.succeeded_by(&second);
    println!(
        "with a delay of 2 s the next holder began {} ms after the kill",
        begin_ms - killed_ms
    );
    // The lease is renewed when a third of it has passed, so at least half of it is left.
    let least = Duration::from_millis(2_000 + LEASE_MS / 2);
    assert!(u128::from(begin_ms - killed_ms) >= least.as_millis());
}
