//! The keeper and the trampoline as real processes, without a cell: the test plays the command line.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_cli::clock;
use cotter_cli::lock::keeper::KeeperSettings;
use cotter_cli::lock::protocol::{Ending, FromKeeper, Lines, ToKeeper, encode};
use cotter_cli::lock::schedule::{OnLost, Schedule};
use cotter_cli::lock::supervisor::KeeperProcess;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for a condition before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper under test; whatever is left of it is killed at the end.
struct Kept {
    keeper: KeeperProcess,
    lines: Lines,
    group: Pid,
    directory: TempDir,
}

impl Kept {
    /// Starts `script` under a keeper, up to the point where it waits for the word to begin.
    fn prepare(script: &str, on_lost: OnLost, grace: Duration, input: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let command = ["sh", "-c", script, "sh", &path];
        Self::prepare_command(&command, on_lost, grace, input, directory)
    }

    fn prepare_command(
        command: &[&str],
        on_lost: OnLost,
        grace: Duration,
        input: &str,
        directory: TempDir,
    ) -> Self {
        let executable = Path::new(env!("CARGO_BIN_EXE_cotter"));
        Self::prepare_with(executable, command, on_lost, grace, input, directory)
    }

    fn prepare_with(
        executable: &Path,
        command: &[&str],
        on_lost: OnLost,
        grace: Duration,
        input: &str,
        directory: TempDir,
    ) -> Self {
        let input_path = directory.path().join("input");
        std::fs::write(&input_path, input).unwrap();
        let settings = KeeperSettings {
            schedule: Schedule {
                on_lost,
                grace,
                margin: Duration::from_millis(200),
            },
            foreground: false,
            command: command.iter().map(OsString::from).collect(),
        };
        let environment = [("COTTER_TOKEN", "42".to_owned())];
        let keeper = KeeperProcess::start(
            executable,
            &settings,
            &environment,
            File::open(input_path).unwrap(),
        )
        .unwrap();
        keeper.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut kept = Self {
            keeper,
            lines: Lines::default(),
            group: Pid::from_raw(0),
            directory,
        };
        let Some(FromKeeper::Spawned(leader)) = kept.receive() else {
            panic!("expected the process id first");
        };
        kept.group = Pid::from_raw(leader);
        kept
    }

    /// Starts `script` and lets it begin, held for `held` from now.
    fn start(script: &str, on_lost: OnLost, grace: Duration, held: Duration) -> Self {
        let mut kept = Self::prepare(script, on_lost, grace, "");
        kept.tell(ToKeeper::Go(clock::now().after(held).0));
        kept
    }

    fn tell(&mut self, message: ToKeeper) {
        self.keeper
            .socket
            .write_all(&encode(&message).unwrap())
            .unwrap();
    }

    /// Returns the next message, or nothing at the end of the stream.
    fn receive(&mut self) -> Option<FromKeeper> {
        let mut buffer = [0_u8; 512];
        loop {
            match self.lines.next_message().unwrap() {
                // Most tests do not look at which deadline it follows.
                Some(FromKeeper::Follows(_)) => {}
                Some(message) => return Some(message),
                None => match self.keeper.socket.read(&mut buffer).unwrap() {
                    0 => return None,
                    count => self.lines.push(&buffer[..count]),
                },
            }
        }
    }

    /// Returns all messages until the end of the stream.
    fn receive_all(&mut self) -> Vec<FromKeeper> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the script has written a whole line into a file, and returns it.
    fn line(&self, name: &str) -> String {
        let path = self.file(name);
        let mut found = String::new();
        eventually(&format!("{name} has a line"), || {
            found = std::fs::read_to_string(&path).unwrap_or_default();
            found.ends_with('\n')
        });
        found.trim().to_owned()
    }

    fn process(&self, name: &str) -> Pid {
        Pid::from_raw(self.line(name).parse().unwrap())
    }

    fn keeper_id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.keeper.child.id()).unwrap())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.keeper.child.kill();
        let _ = self.keeper.child.wait();
        if self.group.as_raw() > 1 {
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tells whether a process lives; a zombie does not.
fn lives(process: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn command_begins_only_when_told() {
    let mut kept = Kept::prepare("echo begun > $1/begun; sleep 60", OnLost::Term, SHORT, "");
    // The trampoline has long been there when the keeper says so; the script has not.
    assert!(lives(kept.group));
    assert!(!kept.file("begun").exists());
    kept.tell(ToKeeper::Go(clock::now().after(LONG).0));
    assert_eq!(kept.line("begun"), "begun");
}

#[test]
fn command_never_begins_when_the_deadline_has_passed_already() {
    let mut kept = Kept::prepare("echo begun > $1/begun", OnLost::Term, SHORT, "");
    kept.tell(ToKeeper::Go(clock::now().0));
    assert_eq!(kept.receive_all(), []);
    eventually("the trampoline is gone", || !lives(kept.group));
    assert!(!kept.file("begun").exists());
}

#[test]
fn command_never_begins_when_the_command_line_dies_before() {
    let kept = Kept::prepare("echo begun > $1/begun", OnLost::Term, SHORT, "");
    kept.keeper
        .socket
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    eventually("the trampoline is gone", || !lives(kept.group));
    assert!(!kept.file("begun").exists());
}

#[test]
fn command_is_killed_before_a_deadline_that_is_not_pushed() {
    let mut kept = Kept::prepare(
        "trap 'echo warned > $1/warned' TERM; echo up > $1/up; while :; do sleep 60; done",
        OnLost::Term,
        Duration::from_millis(300),
        "",
    );
    let deadline = clock::now().after(Duration::from_secs(2));
    kept.tell(ToKeeper::Go(deadline.0));
    kept.line("up");
    // Nothing is said any more, as by a command line that was stopped.
    assert_eq!(kept.receive(), Some(FromKeeper::Warned));
    assert_eq!(kept.receive(), Some(FromKeeper::Killed));
    let ended = FromKeeper::Ended(Ending::Killed(9));
    assert_eq!(kept.receive_all(), [ended, FromKeeper::Gone]);
    assert!(clock::now() < deadline, "the command outlived its deadline");
    assert!(!lives(kept.group));
    assert_eq!(kept.line("warned"), "warned");
}

#[test]
fn command_lives_while_its_deadline_is_pushed() {
    let mut kept = Kept::prepare("read line < $1/fifo; exit 7", OnLost::Term, SHORT, "");
    let fifo = kept.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let held = Duration::from_millis(800);
    let first_end = clock::now().after(held);
    kept.tell(ToKeeper::Go(first_end.0));
    eventually("the first deadline is long over", || {
        kept.tell(ToKeeper::Deadline(clock::now().after(held).0));
        clock::now() > first_end.after(held / 2)
    });
    assert!(lives(kept.group));
    kept.tell(ToKeeper::Deadline(clock::now().after(LONG).0));
    std::fs::write(fifo, "end\n").unwrap();
    let ended = FromKeeper::Ended(Ending::Exited(7));
    assert_eq!(kept.receive_all(), [ended, FromKeeper::Gone]);
}

#[test]
fn command_is_killed_when_the_deadline_comes_nearer() {
    let mut kept = Kept::start("echo up > $1/up; sleep 60", OnLost::Term, LONG, LONG * 10);
    kept.line("up");
    kept.tell(ToKeeper::Deadline(0));
    let all = kept.receive_all();
    assert_eq!(
        all,
        [
            FromKeeper::Killed,
            FromKeeper::Ended(Ending::Killed(9)),
            FromKeeper::Gone
        ]
    );
}

#[test]
fn command_that_heeds_the_warning_ends_with_its_own_status() {
    let mut kept = Kept::start(
        "trap 'exit 5' TERM; echo up > $1/up; while :; do sleep 0.01; done",
        OnLost::Term,
        Duration::from_secs(30),
        LONG,
    );
    kept.line("up");
    let end = clock::now().after(Duration::from_secs(20));
    kept.tell(ToKeeper::Deadline(end.0));
    assert_eq!(kept.receive(), Some(FromKeeper::Warned));
    let ended = FromKeeper::Ended(Ending::Exited(5));
    assert_eq!(kept.receive_all(), [ended, FromKeeper::Gone]);
}

#[test]
fn signal_of_the_users_choice_is_the_warning() {
    let mut kept = Kept::start(
        "trap 'exit 6' USR1; echo up > $1/up; while :; do sleep 0.01; done",
        OnLost::Signal(Signal::SIGUSR1),
        LONG,
        LONG * 3,
    );
    kept.line("up");
    kept.tell(ToKeeper::Deadline(clock::now().after(LONG).0));
    assert_eq!(kept.receive(), Some(FromKeeper::Warned));
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Exited(6))));
}

#[test]
fn whole_group_is_killed_when_the_command_line_dies() {
    let kept = Kept::start(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > $1/grandchild; while :; do sleep 60; done' \
         sh $1 & echo up > $1/up; wait",
        OnLost::Term,
        SHORT,
        LONG,
    );
    let grandchild = kept.process("grandchild");
    kept.line("up");
    kept.keeper
        .socket
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    eventually("the command is gone", || !lives(kept.group));
    eventually("the grandchild is gone", || !lives(grandchild));
    eventually("the keeper is gone", || !lives(kept.keeper_id()));
}

#[test]
fn command_dies_with_its_keeper() {
    let mut kept = Kept::start("echo up > $1/up; exec sleep 60", OnLost::Term, SHORT, LONG);
    kept.line("up");
    kept.keeper.child.kill().unwrap();
    kept.keeper.child.wait().unwrap();
    eventually("the command is gone", || !lives(kept.group));
}

#[test]
fn under_ignore_the_command_outlives_everybody() {
    let mut kept = Kept::start(
        "echo up > $1/up; exec sleep 60",
        OnLost::Ignore,
        SHORT,
        Duration::from_millis(300),
    );
    kept.line("up");
    kept.tell(ToKeeper::Deadline(0));
    kept.keeper
        .socket
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    assert!(kept.keeper.child.wait().unwrap().success());
    assert!(lives(kept.group));
}

#[test]
fn what_a_command_leaves_behind_in_its_group_is_ended() {
    let mut kept = Kept::start(
        "sh -c 'trap \"\" TERM; echo $$ > $1/left; while :; do sleep 60; done' sh $1 & \
         while ! [ -s $1/left ]; do sleep 0.01; done; exit 3",
        OnLost::Term,
        SHORT,
        LONG,
    );
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Exited(3))));
    let left = kept.process("left");
    assert_eq!(kept.receive_all(), [FromKeeper::Gone]);
    assert!(!lives(left));
}

#[test]
fn environment_and_standard_input_reach_the_command() {
    let mut kept = Kept::prepare(
        "cat > $1/output; echo $COTTER_TOKEN > $1/token",
        OnLost::Term,
        SHORT,
        "what was typed\n",
    );
    kept.tell(ToKeeper::Go(clock::now().after(LONG).0));
    let ended = FromKeeper::Ended(Ending::Exited(0));
    assert_eq!(kept.receive_all(), [ended, FromKeeper::Gone]);
    assert_eq!(kept.line("output"), "what was typed");
    assert_eq!(kept.line("token"), "42");
}

#[test]
fn no_socket_of_the_keeper_leaks_into_the_command() {
    let mut kept = Kept::start(
        "ls -l /proc/self/fd | grep -c socket: > $1/sockets",
        OnLost::Term,
        SHORT,
        LONG,
    );
    kept.receive_all();
    // The test's own output may be a socket; nothing beyond 0, 1 and 2 may be.
    let own = [1, 2]
        .iter()
        .filter(|fd| {
            std::fs::read_link(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .count();
    assert!(kept.line("sockets").parse::<usize>().unwrap() <= own);
}

#[test]
fn signals_reach_the_whole_group() {
    let mut kept = Kept::start(
        "trap 'exit 9' INT; sh -c 'trap \"echo heard > $1/heard; exit\" INT; echo up > $1/up; \
         while :; do sleep 0.01; done' sh $1; wait",
        OnLost::Term,
        SHORT,
        LONG,
    );
    kept.line("up");
    kept.tell(ToKeeper::Signal(Signal::SIGINT as i32));
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Exited(9))));
    assert_eq!(kept.line("heard"), "heard");
}

#[test]
fn signal_that_is_read_together_with_the_word_to_begin_reaches_the_command() {
    let mut kept = Kept::prepare("sleep 60", OnLost::Term, SHORT, "");
    let mut both = encode(&ToKeeper::Go(clock::now().after(LONG).0)).unwrap();
    both.extend(encode(&ToKeeper::Signal(Signal::SIGTERM as i32)).unwrap());
    kept.keeper.socket.write_all(&both).unwrap();
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Killed(15))));
    assert_eq!(kept.receive_all(), [FromKeeper::Gone]);
}

#[test]
fn keeper_takes_no_signal_that_was_meant_for_the_command() {
    let kept = Kept::start("echo up > $1/up; sleep 60", OnLost::Term, SHORT, LONG);
    kept.line("up");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(kept.keeper_id(), signal).unwrap();
    }
    assert!(lives(kept.keeper_id()));
    assert!(lives(kept.group));
}

#[test]
fn command_begins_with_no_signal_blocked_and_with_a_working_pipe_signal() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("status");
    // No shell: some shells clear the mask by themselves.
    let command = ["cp", "/proc/self/status", copy.to_str().unwrap()];
    let mut kept = Kept::prepare_command(&command, OnLost::Term, SHORT, "", directory);
    kept.tell(ToKeeper::Go(clock::now().after(LONG).0));
    kept.receive_all();
    let status = std::fs::read_to_string(copy).unwrap();
    let mask = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk"), 0);
    assert_eq!(mask("SigIgn") & (1 << (Signal::SIGPIPE as i32 - 1)), 0);
}

#[test]
fn command_that_cannot_be_executed_has_the_status_that_shells_give() {
    for (command, status) in [("/does/not/exist", 127), ("/etc/passwd", 126)] {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = Kept::prepare_command(&[command], OnLost::Term, SHORT, "", directory);
        kept.tell(ToKeeper::Go(clock::now().after(LONG).0));
        assert_eq!(
            kept.receive(),
            Some(FromKeeper::Ended(Ending::Exited(status)))
        );
    }
}

#[test]
fn stop_of_the_command_is_told() {
    let mut kept = Kept::start("echo up > $1/up; sleep 60", OnLost::Term, SHORT, LONG);
    kept.line("up");
    killpg(kept.group, Signal::SIGSTOP).unwrap();
    assert_eq!(
        kept.receive(),
        Some(FromKeeper::Stopped(Signal::SIGSTOP as i32))
    );
    // A stopped command cannot heed a warning unless it is woken for it.
    kept.tell(ToKeeper::Deadline(clock::now().0));
    assert_eq!(kept.receive(), Some(FromKeeper::Killed));
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Killed(9))));
}

/// Writes a program that is the keeper of a user who may change to other users and not signal them,
/// as one is whose command is `sudo`; nothing if the test itself may not.
fn keeper_of_a_lesser_user(directory: &Path) -> Option<PathBuf> {
    let keeper = directory.join("keeper");
    let privileges = "--clear-groups --regid=65534 --inh-caps=-all,+setuid \
                      --ambient-caps=-all,+setuid --bounding-set=-all,+setuid";
    let script = format!(
        "#!/bin/sh\nexec setpriv --reuid=65534 {privileges} {} \"$@\"\n",
        env!("CARGO_BIN_EXE_cotter")
    );
    std::fs::write(&keeper, script).unwrap();
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&keeper, readable.clone()).unwrap();
    std::fs::set_permissions(directory, readable).unwrap();
    let may = std::process::Command::new(&keeper)
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    may.is_ok_and(|status| status.success()).then_some(keeper)
}

#[test]
fn command_that_changed_its_user_is_never_said_to_be_killed_and_is_kept_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let Some(keeper) = keeper_of_a_lesser_user(directory.path()) else {
        // Only root may try; what follows from a refusal is tested by the decision itself as well.
        return;
    };
    let command = ["setpriv", "--reuid=65533", "sleep", "60"];
    let mut kept = Kept::prepare_with(&keeper, &command, OnLost::Term, SHORT, "", directory);
    kept.tell(ToKeeper::Go(clock::now().after(LONG).0));
    let name = format!("/proc/{}/comm", kept.group);
    eventually("the command has changed its user", || {
        std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
    });
    kept.tell(ToKeeper::Signal(Signal::SIGTERM as i32));
    assert_eq!(kept.receive(), Some(FromKeeper::Refused));
    kept.tell(ToKeeper::Deadline(0));
    assert_eq!(kept.receive(), Some(FromKeeper::RanOn));
    // It is tried again and again, without a word and without giving up.
    let later = clock::now().after(Duration::from_millis(400));
    eventually("it was tried often", || clock::now() > later);
    assert!(lives(kept.keeper_id()) && lives(kept.group));
    kill(kept.group, Signal::SIGINT).unwrap();
    let ended = FromKeeper::Ended(Ending::Killed(2));
    assert_eq!(kept.receive_all(), [ended, FromKeeper::Gone]);
}

#[test]
fn keeper_says_which_deadline_it_follows_though_not_every_one_on_the_way() {
    let mut kept = Kept::start("sleep 60", OnLost::Term, SHORT, LONG);
    let base = clock::now().after(LONG).0;
    for step in 0..50 {
        kept.tell(ToKeeper::Deadline(base + step));
    }
    let mut said: Vec<FromKeeper> = Vec::new();
    let mut buffer = [0_u8; 512];
    while said.last() != Some(&FromKeeper::Follows(base + 49)) {
        let count = kept.keeper.socket.read(&mut buffer).unwrap();
        kept.lines.push(&buffer[..count]);
        while let Some(message) = kept.lines.next_message().unwrap() {
            said.push(message);
        }
    }
    assert!(said.len() < 10, "{said:?}");
}

/// Leaves a zombie in the command's group whose living parent has left the group.
const ORPHANED_ZOMBIE: &str = "sh -c 'sleep 0.3 & echo $! > $1/zombie; echo $$ > $1/parent; \
    exec setsid sleep 60' sh $1 > /dev/null 2>&1 & \
    while ! [ -s $1/zombie ] || ! [ -s $1/parent ]; do sleep 0.01; done; \
    read zombie < $1/zombie; read parent < $1/parent; \
    while ! grep -q ') Z ' /proc/$zombie/stat || grep -q \") . [0-9]* $$ \" /proc/$parent/stat; \
    do sleep 0.01; done; exit 3";

#[test]
fn zombie_that_nobody_reaps_does_not_keep_the_lock() {
    let mut kept = Kept::start(ORPHANED_ZOMBIE, OnLost::Term, SHORT, LONG);
    assert_eq!(kept.receive(), Some(FromKeeper::Ended(Ending::Exited(3))));
    assert_eq!(kept.receive_all(), [FromKeeper::Gone]);
    // It still is a member: only the look at the processes tells that nobody lives.
    assert_eq!(killpg(kept.group, None), Ok(()));
    assert!(!lives(kept.process("zombie")));
    let parent = kept.process("parent");
    assert!(lives(parent));
    kill(parent, Signal::SIGKILL).unwrap();
}
