//! The command line's side of a running command, without a cell: the belief is a number that the
//! test turns.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_cli::clock;
use cotter_cli::lock::keeper::KeeperSettings;
use cotter_cli::lock::protocol::Ending;
use cotter_cli::lock::schedule::{OnLost, Schedule};
use cotter_cli::lock::signals::Signals;
use cotter_cli::lock::supervisor::{KeeperProcess, Loss, Report, supervise};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use cotter_types::Moment;

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

/// Runs `script` under supervision while `meddle` does something to it: it is called again and
/// again with the keeper's process id, the directory and the belief, until it returns true.
fn run(
    script: &str,
    on_lost: OnLost,
    meddle: impl FnMut(Pid, &Path, &Cell<Moment>) -> bool,
) -> (Report, tempfile::TempDir) {
    let (report, directory) = try_run(script, on_lost, LONG, meddle);
    (report.unwrap(), directory)
}

/// As [`run`], where it may fail, with a belief that lasts for `held` at first.
fn try_run(
    script: &str,
    on_lost: OnLost,
    held: Duration,
    mut meddle: impl FnMut(Pid, &Path, &Cell<Moment>) -> bool,
) -> (io::Result<Report>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let schedule = Schedule {
        on_lost,
        grace: Duration::from_millis(200),
        margin: Duration::from_millis(400),
    };
    let command = ["sh", "-c", script, "sh", path.to_str().unwrap()];
    let settings = KeeperSettings {
        schedule,
        foreground: false,
        command: command.iter().map(OsString::from).collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let belief = Cell::new(clock::now().after(held));
    let report = runtime.block_on(async {
        let mut signals = Signals::catch(false).unwrap();
        let keeper = KeeperProcess::start(
            Path::new(env!("CARGO_BIN_EXE_cotter")),
            &settings,
            &[],
            File::open("/dev/null").unwrap(),
        )
        .unwrap();
        let keeper_id = Pid::from_raw(i32::try_from(keeper.child.id()).unwrap());
        let supervision = supervise(
            keeper,
            schedule,
            false,
            &mut signals,
            || belief.get(),
            |_| {},
        );
        let meddling = async {
            while !meddle(keeper_id, path, &belief) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            report = supervision => report,
            () = meddling => unreachable!("it never ends"),
            () = tokio::time::sleep(PATIENCE) => panic!("not within {PATIENCE:?}"),
        }
    });
    (report, directory)
}

fn number(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    let number = text.strip_suffix('\n')?.parse().ok()?;
    Some(Pid::from_raw(number))
}

fn lives(process: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

const FAMILY: &str = "trap '' TERM; \
    sh -c 'trap \"\" TERM; echo $$ > $1/grandchild; while :; do sleep 60; done' sh $1 & \
    echo $$ > $1/child; while :; do sleep 60; done";

fn family_is_up(path: &Path) -> bool {
    number(&path.join("child")).is_some() && number(&path.join("grandchild")).is_some()
}

fn assert_family_is_gone(path: &Path) {
    for name in ["child", "grandchild"] {
        assert!(!lives(number(&path.join(name)).unwrap()), "{name} lives");
    }
}

#[test]
fn command_that_ends_by_itself_is_reported_as_it_ended() {
    let (report, _) = run("exit 4", OnLost::Term, |_, _, _| true);
    let whole = Report {
        ending: Some(Ending::Exited(4)),
        loss: None,
    };
    assert_eq!(report, whole);
}

#[test]
fn nobody_of_the_group_lives_when_a_loss_is_reported() {
    let (report, directory) = run(FAMILY, OnLost::Term, |_, path, belief| {
        let up = family_is_up(path);
        if up {
            belief.set(Moment(0));
        }
        up
    });
    assert_eq!(report.loss, Some(Loss::Killed));
    assert_eq!(report.ending, Some(Ending::Killed(9)));
    assert_family_is_gone(directory.path());
}

#[test]
fn killed_keeper_takes_the_whole_group_with_it() {
    let (report, directory) = run(FAMILY, OnLost::Term, |keeper, path, _| {
        let up = family_is_up(path);
        if up {
            kill(keeper, Signal::SIGKILL).unwrap();
        }
        up
    });
    assert_eq!(report.loss, Some(Loss::KeeperFailed));
    assert_family_is_gone(directory.path());
}

#[test]
fn frozen_keeper_does_not_let_the_command_outlive_the_belief() {
    let end = Cell::new(Moment::NEVER);
    let (report, directory) = run(FAMILY, OnLost::Term, |keeper, path, belief| {
        let up = family_is_up(path);
        if up {
            kill(keeper, Signal::SIGSTOP).unwrap();
            end.set(clock::now().after(Duration::from_secs(2)));
            belief.set(end.get());
        }
        up
    });
    assert!(clock::now() < end.get());
    assert_eq!(report.loss, Some(Loss::KeeperFailed));
    assert_family_is_gone(directory.path());
}

#[test]
fn keeper_frozen_while_the_session_is_healthy_takes_the_command_with_it() {
    let mut frozen = false;
    let (report, directory) = run(FAMILY, OnLost::Term, |keeper, path, belief| {
        if !frozen && family_is_up(path) {
            frozen = true;
            kill(keeper, Signal::SIGSTOP).unwrap();
        }
        belief.set(clock::now().after(Duration::from_secs(2)));
        false
    });
    assert_eq!(report.loss, Some(Loss::KeeperFailed));
    assert_family_is_gone(directory.path());
}

/// Freezes the keeper as soon as it has a child, which is the trampoline, and returns that.
fn freeze_at_the_start(on_lost: OnLost) -> (io::Result<Report>, Option<Pid>) {
    const HELD: Duration = Duration::from_secs(2);
    let trampoline = Cell::new(None);
    let (report, _) = try_run("sleep 4", on_lost, HELD, |keeper, _, belief| {
        belief.set(clock::now().after(HELD));
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        if trampoline.get().is_none()
            && let Some(child) = children.split_whitespace().next()
        {
            kill(keeper, Signal::SIGSTOP).unwrap();
            trampoline.set(Some(Pid::from_raw(child.parse().unwrap())));
        }
        false
    });
    (report, trampoline.get())
}

#[test]
fn keeper_frozen_at_the_very_start_holds_nothing_for_ever() {
    for on_lost in [OnLost::Term, OnLost::Ignore] {
        let (report, trampoline) = freeze_at_the_start(on_lost);
        // It may have been frozen before it said that the command is prepared, before it let the
        // command begin, or after that.
        let loss = report.as_ref().map(|report| report.loss);
        match (on_lost, loss) {
            (_, Err(_) | Ok(Some(Loss::KeeperFailedBefore)))
            | (OnLost::Term, Ok(Some(Loss::KeeperFailed)))
            | (OnLost::Ignore, Ok(None)) => {}
            _ => panic!("{on_lost}: {report:?}"),
        }
        // One that nobody had told of ends by itself, when it finds the gate closed.
        let begin = Instant::now();
        while lives(trampoline.unwrap()) {
            assert!(begin.elapsed() < PATIENCE, "the trampoline lives");
            std::thread::yield_now();
        }
    }
}

#[test]
fn under_ignore_a_command_runs_on_to_its_own_end_and_the_loss_is_told() {
    let begin = Instant::now();
    let (report, _) = run(
        "echo $$ > $1/child; while ! [ -e $1/enough ]; do sleep 0.01; done; exit 3",
        OnLost::Ignore,
        |keeper, path, belief| {
            if number(&path.join("child")).is_none() {
                return false;
            }
            if belief.get() != Moment(0) {
                belief.set(Moment(0));
                kill(keeper, Signal::SIGKILL).unwrap();
                return false;
            }
            // The keeper is dead and the belief over for a while, and the command still runs.
            let enough = begin.elapsed() > Duration::from_millis(600);
            if enough {
                assert!(lives(number(&path.join("child")).unwrap()));
                std::fs::write(path.join("enough"), "").unwrap();
            }
            enough
        },
    );
    assert_eq!(report.ending, Some(Ending::Exited(3)));
    assert_eq!(report.loss, Some(Loss::Ended));
}

#[test]
fn zombie_that_nobody_reaps_does_not_keep_the_lock_without_a_keeper_either() {
    let script = "sh -c 'sleep 0.3 & echo $! > $1/zombie; echo $$ > $1/parent; \
        exec setsid sleep 60' sh $1 > /dev/null 2>&1 & echo $$ > $1/child; sleep 60";
    let (report, directory) = run(script, OnLost::Term, |keeper, path, _| {
        let file = |name| number(&path.join(name));
        let (Some(zombie), Some(parent), Some(child)) =
            (file("zombie"), file("parent"), file("child"))
        else {
            return false;
        };
        let dead = !lives(zombie) && kill(zombie, None).is_ok();
        let ready = dead && nix::unistd::getpgid(Some(parent)) != Ok(child);
        if ready {
            kill(keeper, Signal::SIGKILL).unwrap();
        }
        ready
    });
    assert_eq!(report.loss, Some(Loss::KeeperFailed));
    assert_eq!(report.ending, Some(Ending::Killed(9)));
    let parent = number(&directory.path().join("parent")).unwrap();
    let zombie = number(&directory.path().join("zombie")).unwrap();
    assert!(lives(parent));
    assert_eq!(kill(zombie, None), Ok(()), "it is still to be reaped");
    kill(parent, Signal::SIGKILL).unwrap();
}

/// Tells whether this is a process in which the test `name` runs alone; if not, runs it in one.
///
/// What is sent to a process is passed on by every supervision in it, so other tests would get the
/// signals of this one.
fn is_alone(name: &str) -> bool {
    const MARK: &str = "COTTER_TEST_ALONE";
    if std::env::var_os(MARK).is_some_and(|alone| alone == name) {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(MARK, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    false
}

#[test]
fn signals_of_the_command_line_are_passed_on() {
    if !is_alone("signals_of_the_command_line_are_passed_on") {
        return;
    }
    let (report, _) = run(
        "trap 'exit 8' USR2; echo $$ > $1/child; while :; do sleep 0.01; done",
        OnLost::Term,
        |_, path, _| {
            let up = number(&path.join("child")).is_some();
            if up {
                kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
            }
            up
        },
    );
    assert_eq!(report.ending, Some(Ending::Exited(8)));
}
