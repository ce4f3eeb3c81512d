//! The command line's side of a running command, with the test playing the keeper: what a real
//! keeper says too late, or never, can be said here at the very moment.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_cli::clock;
use cotter_cli::lock::protocol::{Ending, FromKeeper, Lines, ToKeeper, encode};
use cotter_cli::lock::schedule::{OnLost, Schedule};
use cotter_cli::lock::signals::Signals;
use cotter_cli::lock::supervisor::{KeeperProcess, Loss, Report, supervise};
use cotter_types::Moment;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

const SCHEDULE: Schedule = Schedule {
    on_lost: OnLost::Term,
    grace: Duration::from_millis(200),
    margin: Duration::from_millis(400),
};

/// The keeper's end of the socket, read and written without ever waiting.
struct Played {
    socket: UnixStream,
    lines: Lines,
    heard: Vec<ToKeeper>,
}

impl Played {
    fn say(&mut self, message: FromKeeper) {
        self.socket.write_all(&encode(&message).unwrap()).unwrap();
    }

    /// Takes what the command line has said; `heard` has all of it.
    fn listen(&mut self) {
        let mut buffer = [0_u8; 4_096];
        while let Ok(count @ 1..) = self.socket.read(&mut buffer) {
            self.lines.push(&buffer[..count]);
        }
        while let Some(message) = self.lines.next_message().unwrap() {
            // A deadline may be pushed at any time and is nothing that these tests look at.
            if !matches!(message, ToKeeper::Deadline(_)) {
                self.heard.push(message);
            }
        }
    }
}

/// Starts a process that does nothing, in a group of its own.
fn idle() -> Child {
    let mut command = Command::new("sleep");
    command
        .arg("600")
        // A test that fails must not keep whoever reads its output waiting.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn id_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Supervises while `play` is called again and again, until it returns true.
fn run(
    schedule: Schedule,
    belief: impl Fn() -> Moment,
    mut play: impl FnMut(&mut Played) -> bool,
) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut signals = Signals::catch(false).unwrap();
        let (socket, inner) = UnixStream::pair().unwrap();
        inner.set_nonblocking(true).unwrap();
        let child = idle();
        let mut played = Played {
            socket: inner,
            lines: Lines::default(),
            heard: Vec::new(),
        };
        let keeper = KeeperProcess { child, socket };
        let supervision = supervise(keeper, schedule, false, &mut signals, belief, |_| {});
        let playing = async {
            while !play(&mut played) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            report = supervision => report,
            () = playing => unreachable!("it never ends"),
            () = tokio::time::sleep(PATIENCE) => panic!("not within {PATIENCE:?}"),
        }
    })
}

#[test]
fn signal_that_comes_before_the_command_is_passed_on_after_the_word_to_begin() {
    let end = clock::now().after(LONG);
    let mut command = idle();
    let leader = id_of(&command).as_raw();
    let mut turn = 0;
    let report = run(
        SCHEDULE,
        || end,
        |keeper| {
            keeper.listen();
            turn += 1;
            match turn {
                // A resized terminal. Twice: signals that wait merge.
                1 | 4 => raise(Signal::SIGWINCH).unwrap(),
                // By now a command line that does not wait would have spoken.
                20 => {
                    assert_eq!(keeper.heard, []);
                    keeper.say(FromKeeper::Spawned(leader));
                }
                _ => {}
            }
            if keeper.heard.len() < 2 {
                return false;
            }
            keeper.say(FromKeeper::Ended(Ending::Exited(0)));
            keeper.say(FromKeeper::Gone);
            let signal = ToKeeper::Signal(Signal::SIGWINCH as i32);
            assert_eq!(keeper.heard, [ToKeeper::Go(end.0), signal]);
            true
        },
    );
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!(report.unwrap().ending, Some(Ending::Exited(0)));
}

#[test]
fn keeper_that_never_prepares_the_command_is_given_up_though_the_belief_is_renewed() {
    let report = run(
        SCHEDULE,
        || clock::now().after(Duration::from_secs(1)),
        |_| false,
    );
    assert!(
        report.is_err(),
        "nothing ran, so there is nothing to report"
    );
}

#[test]
fn command_that_cannot_be_signalled_is_waited_for_after_its_lock_is_lost() {
    let mut command = idle();
    let leader = id_of(&command).as_raw();
    let end = Cell::new(clock::now().after(LONG));
    let mut turn = 0;
    let report = run(
        SCHEDULE,
        || end.get(),
        |keeper| {
            turn += 1;
            match turn {
                1 => keeper.say(FromKeeper::Spawned(leader)),
                2 => end.set(Moment(0)),
                3 => {
                    keeper.say(FromKeeper::Refused);
                    keeper.say(FromKeeper::RanOn);
                }
                // Long after a keeper that says nothing would have been judged.
                120 => {
                    keeper.say(FromKeeper::Ended(Ending::Exited(0)));
                    keeper.say(FromKeeper::Gone);
                }
                _ => {}
            }
            turn == 120
        },
    );
    let alive = command.try_wait().unwrap().is_none();
    command.kill().unwrap();
    command.wait().unwrap();
    let report = report.unwrap();
    assert!(alive, "the command line has killed in the keeper's place");
    assert_eq!(report.ending, Some(Ending::Exited(0)));
    assert_eq!(report.loss, Some(Loss::RanOn));
}

/// A healthy session's belief: it is renewed all the time.
fn renewed() -> Moment {
    clock::now().after(Duration::from_millis(1_500))
}

#[test]
fn keeper_that_freezes_before_the_command_begins_is_given_up_though_the_belief_is_renewed() {
    let mut command = idle();
    let leader = id_of(&command).as_raw();
    let report = run(SCHEDULE, renewed, |keeper| {
        keeper.say(FromKeeper::Spawned(leader));
        // The leader is this process's own child, which supervision reaps once it has killed it.
        true
    });
    let report = report.unwrap();
    assert_eq!(report.loss, Some(Loss::KeeperFailedBefore));
    assert_eq!(report.ending, Some(Ending::Killed(9)));
    let _ = command.wait();
}

#[test]
fn keeper_that_freezes_after_the_command_has_ended_is_given_up_though_the_belief_is_renewed() {
    let mut command = idle();
    let leader = id_of(&command).as_raw();
    let report = run(SCHEDULE, renewed, |keeper| {
        keeper.say(FromKeeper::Spawned(leader));
        keeper.say(FromKeeper::Follows(renewed().0));
        keeper.say(FromKeeper::Ended(Ending::Exited(3)));
        true
    });
    let report = report.unwrap();
    assert_eq!(report.loss, Some(Loss::KeeperFailedAfter));
    assert_eq!(report.ending, Some(Ending::Exited(3)));
    let _ = command.wait();
}

#[test]
fn keeper_that_says_what_it_follows_is_not_given_up() {
    let mut command = idle();
    let leader = id_of(&command).as_raw();
    let begin = clock::now();
    let mut turn = 0;
    let report = run(SCHEDULE, renewed, |keeper| {
        turn += 1;
        match turn {
            1 => keeper.say(FromKeeper::Spawned(leader)),
            _ if turn % 30 == 0 => keeper.say(FromKeeper::Follows(renewed().0)),
            _ => {}
        }
        let long_enough = clock::now() > begin.after(Duration::from_secs(4));
        if long_enough {
            keeper.say(FromKeeper::Ended(Ending::Exited(0)));
            keeper.say(FromKeeper::Gone);
        }
        long_enough
    });
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!(report.unwrap().loss, None);
}
