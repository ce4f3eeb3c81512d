//! The command line's side of a running command: it pushes the deadline ahead, passes signals on,
//! looks after the terminal, and steps in when the keeper fails.
//!
//! What it watches is a *belief*: a function that says until when the lock is held for certain. It
//! must never report the end of a command while a member of its group may still live, because the
//! lock is released right after.

use super::group::{Group, LeaderEvent, Reach};
use super::keeper::{self, KeeperSettings};
use super::protocol::{Ending, FromKeeper, Lines, ToKeeper, encode, send_descriptor};
use super::schedule::{OnLost, Schedule};
use super::signals::Signals;
use super::terminal;
use crate::clock;
use cotter_types::Moment;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often the belief is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long the keeper gets to follow a deadline that has come nearer, before the command line
/// takes over.
const KEEPER_LAG_MAX: Duration = Duration::from_millis(150);
/// How long the keeper gets at least to say that it follows a deadline. It waits
/// [`keeper::ACKNOWLEDGE_PAUSE`] by itself.
const ACKNOWLEDGE_LAG_MAX: Duration = Duration::from_millis(400);
/// How often a group that was killed is looked at until it is gone.
const REAP_PAUSE: Duration = Duration::from_millis(10);
/// At how many of these looks all processes are looked through, which costs more: every so many.
const CENSUS_EVERY: u32 = 20;

/// A keeper and the socket to it.
#[derive(Debug)]
pub struct KeeperProcess {
    /// The process, a child of the caller.
    pub child: Child,
    /// The caller's end of the socket.
    pub socket: UnixStream,
}

impl KeeperProcess {
    /// Starts a keeper, which prepares the command and waits for [`ToKeeper::Go`]. The command will
    /// read `input`, and find `environment` in its environment.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(
        executable: &Path,
        settings: &KeeperSettings,
        environment: &[(&str, String)],
        input: impl AsFd,
    ) -> io::Result<Self> {
        let (socket, inner) = UnixStream::pair()?;
        let schedule = settings.schedule;
        let mut command = Command::new(executable);
        command
            .arg0("cotter")
            .arg(keeper::VERB)
            .arg(format!("--on-lost={}", schedule.on_lost))
            .arg(format!("--grace-us={}", schedule.grace.as_micros()))
            .arg(format!("--margin-us={}", schedule.margin.as_micros()));
        if settings.foreground {
            command.arg("--foreground");
        }
        let child = command
            .arg("--")
            .args(&settings.command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(inner)))
            .process_group(0)
            .spawn()?;
        drop(command);
        send_descriptor(&socket, input.as_fd())?;
        Ok(Self { child, socket })
    }
}

/// How a command's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the command ended; nothing if that could not be learned, because its keeper died.
    pub ending: Option<Ending>,
    /// Why the command could not have the lock until its own end; nothing if it had.
    pub loss: Option<Loss>,
}

/// Why a command could not have the lock until its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The session was about to end, and the command was told to end in time.
    Warned,
    /// The session was about to end, and the command was killed in time.
    Killed,
    /// The command had to end and could not be signalled, because it has changed its user. It ran on
    /// to its own end, whether the lock was still held or not.
    RanOn,
    /// The session's lease ended while the command ran on (`--on-lost ignore`).
    Ended,
    /// The keeper died or froze, so the command was killed.
    KeeperFailed,
    /// The keeper died or froze and had not said that it let the command begin; what there was of it
    /// was ended.
    KeeperFailedBefore,
    /// The keeper died or froze after the command had ended, so what that left behind was killed.
    KeeperFailedAfter,
}

/// Runs the command of a started keeper to its end, and until nobody of its group lives.
///
/// `belief` returns the end of the belief that the lock is held; a moment that has passed if the
/// lock is known to be lost. `note` shows a line to the user.
///
/// # Errors
/// If the command could not be started, or the system refuses something basic.
pub async fn supervise(
    keeper: KeeperProcess,
    schedule: Schedule,
    foreground: bool,
    signals: &mut Signals,
    belief: impl Fn() -> Moment,
    note: impl Fn(&str),
) -> io::Result<Report> {
    // Whoever outlives the keeper becomes a child of this process, which can then reap it.
    prctl::set_child_subreaper(true)?;
    keeper.socket.set_nonblocking(true)?;
    let reader = keeper.socket.try_clone()?;
    let mut supervisor = Supervisor {
        child: keeper.child,
        socket: tokio::net::UnixStream::from_std(keeper.socket)?,
        reader,
        lines: Lines::default(),
        schedule,
        group: None,
        prepared_by: belief().before(schedule.margin),
        early: Vec::new(),
        pushed: Moment::NEVER,
        pushed_at: clock::now(),
        begun: false,
        followed: Moment::NEVER,
        unfollowed_since: None,
        in_front: foreground,
        said_refused: false,
        report: Report {
            ending: None,
            loss: None,
        },
        note,
    };
    let report = supervisor.run(signals, &belief).await;
    if supervisor.in_front {
        let _ = terminal::take_foreground();
    }
    report
}

/// Whether to go on after some messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Open,
    Gone,
    Broken,
}

struct Supervisor<N> {
    child: Child,
    socket: tokio::net::UnixStream,
    /// The same socket, read without the runtime.
    reader: UnixStream,
    lines: Lines,
    schedule: Schedule,
    group: Option<Group>,
    /// When the keeper must have prepared the command. It does not move with the belief, which a
    /// healthy session pushes ahead without end.
    prepared_by: Moment,
    /// Signals that came before there was a command. Equal ones merge, as pending signals do.
    early: Vec<Signal>,
    /// The deadline that the keeper was told last, and when.
    pushed: Moment,
    pushed_at: Moment,
    /// The keeper has said that it let the command begin.
    begun: bool,
    /// The deadline that the keeper has said to follow, or the first it was told; and since when it
    /// has been told of another without an answer.
    followed: Moment,
    unfollowed_since: Option<Moment>,
    /// The command's group has the terminal.
    in_front: bool,
    /// The user knows that the command cannot be signalled.
    said_refused: bool,
    report: Report,
    note: N,
}

impl<N: Fn(&str)> Supervisor<N> {
    async fn run(
        &mut self,
        signals: &mut Signals,
        belief: &impl Fn() -> Moment,
    ) -> io::Result<Report> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut broken = false;
            tokio::select! {
                ready = self.socket.readable() => broken = ready.is_err(),
                signal = signals.next() => self.pass_on(signal),
                _ = tick.tick() => {}
            }
            // Everything that the keeper has said comes before any judgement of the keeper.
            match self.receive(belief) {
                Stream::Gone => {
                    // It has nothing left to do, and frozen it would never end by itself.
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Ok(self.report);
                }
                Stream::Broken => return self.take_over(signals, belief).await,
                // The command may run by now: an error must not leave it to be ended by somebody
                // else, since the lock is released after this.
                Stream::Open if broken => return self.take_over(signals, belief).await,
                Stream::Open => {}
            }
            self.push(belief());
            if self.keeper_is_late(belief()) || self.keeper_is_silent() {
                return self.take_over(signals, belief).await;
            }
        }
    }

    /// Reads what there is, without waiting, and handles it.
    ///
    /// The runtime answers a read from what it knew when it last looked. Where this process was
    /// frozen it has not looked since, and the keeper's last words would be missed; so the socket is
    /// then read once more, by the system itself.
    fn receive(&mut self, belief: &impl Fn() -> Moment) -> Stream {
        let known = read_all(&mut self.lines, |buffer| self.socket.try_read(buffer));
        let unknown = read_all(&mut self.lines, |buffer| (&self.reader).read(buffer));
        let end = if known.is_ok() && unknown.is_ok() {
            Stream::Open
        } else {
            Stream::Broken
        };
        loop {
            match self.lines.next_message() {
                Ok(Some(FromKeeper::Gone)) => return Stream::Gone,
                Ok(Some(message)) => self.handle(message, belief),
                Ok(None) => return end,
                Err(_) => return Stream::Broken,
            }
        }
    }

    fn handle(&mut self, message: FromKeeper, belief: &impl Fn() -> Moment) {
        match message {
            FromKeeper::Spawned(leader) => {
                self.group = Group::of(leader);
                self.pushed = belief();
                self.pushed_at = clock::now();
                self.followed = self.pushed;
                self.unfollowed_since = Some(self.pushed_at);
                self.tell(ToKeeper::Go(self.pushed.0));
                for signal in std::mem::take(&mut self.early) {
                    self.pass_on(signal);
                }
            }
            FromKeeper::Follows(deadline) => {
                self.begun = true;
                self.followed = Moment(deadline);
                self.unfollowed_since = (self.followed != self.pushed).then(clock::now);
            }
            FromKeeper::Warned => {
                self.report.loss.get_or_insert(Loss::Warned);
                (self.note)("the lock is about to be lost; the command was told to end");
            }
            FromKeeper::Killed => {
                if self.report.loss != Some(Loss::RanOn) {
                    self.report.loss = Some(Loss::Killed);
                }
            }
            FromKeeper::Refused => self.tell_refusal(),
            FromKeeper::RanOn => self.report.loss = Some(Loss::RanOn),
            FromKeeper::Stopped(signal) => self.command_stopped(signal),
            FromKeeper::Ended(ending) => {
                self.report.ending = Some(ending);
                if belief() <= clock::now() {
                    self.report.loss.get_or_insert(Loss::Ended);
                }
            }
            FromKeeper::Gone => {}
        }
    }

    /// Tells the user, once, that the command cannot be signalled.
    fn tell_refusal(&mut self) {
        if !std::mem::replace(&mut self.said_refused, true) {
            (self.note)(keeper::REFUSED);
        }
    }

    /// Tells the keeper the end of the belief if it has moved.
    fn push(&mut self, deadline: Moment) {
        let now = clock::now();
        if self.group.is_some() && deadline != self.pushed {
            self.pushed = deadline;
            self.pushed_at = now;
            self.unfollowed_since.get_or_insert(now);
            self.tell(ToKeeper::Deadline(deadline.0));
        }
        if self.group.is_some() && deadline <= now && self.report.loss.is_none() {
            self.report.loss = Some(Loss::Ended);
            if self.schedule.on_lost == OnLost::Ignore && self.report.ending.is_none() {
                (self.note)("the lock is lost; the command runs on without it");
            }
        }
    }

    /// Tells whether the command should be dead by now, had the keeper done its work. Half of the
    /// margin is left then. Before there is a command, tells whether it should be prepared by now.
    fn keeper_is_late(&self, deadline: Moment) -> bool {
        if self.group.is_none() {
            let safe = deadline.before(self.schedule.margin);
            return clock::now() >= self.prepared_by.min(safe);
        }
        if self.report.loss == Some(Loss::RanOn) {
            // It has tried, and this process may signal no more than the keeper.
            return false;
        }
        let kill = self.schedule.while_held(self.pushed).kill;
        let late = kill
            .after(self.schedule.margin / 2)
            .max(self.pushed_at.after(KEEPER_LAG_MAX));
        kill != Moment::NEVER && self.group.is_some() && clock::now() >= late
    }

    /// Tells whether the keeper has let the deadline that it follows come near without a word about
    /// the later one that it was told. Were it not frozen it would have answered long ago; a healthy
    /// session would let it hold the lock for nothing, before the command begins or after its end.
    /// It is judged a margin before it would itself kill the command.
    fn keeper_is_silent(&self) -> bool {
        self.unfollowed_since.is_some_and(|since| {
            let near = self.followed.before(self.schedule.margin * 2);
            clock::now() >= near.max(since.after(ACKNOWLEDGE_LAG_MAX))
        })
    }

    /// Sends a message; one that does not fit is dropped, since the keeper is frozen or dead then
    /// and the command line takes over in time.
    fn tell(&mut self, message: ToKeeper) {
        if let Ok(line) = encode(&message) {
            let _ = self.socket.try_write(&line);
        }
    }

    /// Passes a signal on to the command; one that comes before the keeper was told to begin, which
    /// is what it must hear first, waits for that.
    fn pass_on(&mut self, signal: Signal) {
        if self.group.is_none() {
            if !self.early.contains(&signal) {
                self.early.push(signal);
            }
            return;
        }
        self.tell(ToKeeper::Signal(signal as i32));
        if signal == Signal::SIGTSTP {
            // The terminal stops the whole job, of which the command's group is no part.
            self.pause();
        }
    }

    /// Follows a command that was stopped at the terminal, as a shell's job would be.
    fn command_stopped(&mut self, signal: i32) {
        let Some(group) = self.group else { return };
        let wants_terminal = signal == Signal::SIGTTIN as i32 || signal == Signal::SIGTTOU as i32;
        if wants_terminal && terminal::in_foreground() {
            self.in_front = terminal::give_foreground(group.id()).is_ok();
            self.tell(ToKeeper::Signal(Signal::SIGCONT as i32));
        } else if self.in_front {
            self.pause();
        }
    }

    /// Stops together with the command, and continues it afterwards.
    fn pause(&mut self) {
        let was_in_front = std::mem::take(&mut self.in_front);
        if was_in_front {
            let _ = terminal::take_foreground();
        }
        if self.schedule.on_lost != OnLost::Ignore {
            let end = self.schedule.while_held(self.pushed).kill;
            (self.note)(&format!(
                "stopped; continue within {} s, or the lock is lost and the command killed",
                end.since(clock::now()).as_secs()
            ));
        }
        terminal::pause(was_in_front);
        // What the keeper has said meanwhile is not read yet.
        self.unfollowed_since = self.unfollowed_since.map(|_| clock::now());
        if was_in_front
            && terminal::in_foreground()
            && let Some(group) = self.group
        {
            self.in_front = terminal::give_foreground(group.id()).is_ok();
        }
        self.tell(ToKeeper::Signal(Signal::SIGCONT as i32));
    }

    /// Does the keeper's work when the keeper is dead or frozen: ends it, and with it the command,
    /// and reaps whoever is left. Under *ignore* the command runs on, as a child of this process.
    async fn take_over(
        &mut self,
        signals: &mut Signals,
        belief: &impl Fn() -> Moment,
    ) -> io::Result<Report> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let Some(group) = self.group else {
            return Err(io::Error::other(
                "its keeper could not start, or not in time",
            ));
        };
        let spare = self.schedule.on_lost == OnLost::Ignore;
        if self.report.loss != Some(Loss::RanOn) {
            let failed = match (self.begun, self.report.ending) {
                (false, None) => Some(Loss::KeeperFailedBefore),
                (true, None) if spare => self.report.loss,
                (true, None) => Some(Loss::KeeperFailed),
                (_, Some(_)) if spare => self.report.loss,
                (_, Some(_)) => self.report.loss.or(Some(Loss::KeeperFailedAfter)),
            };
            self.report.loss = failed;
        }
        let mut looks = 0_u32;
        loop {
            self.push(belief());
            if !spare && group.signal(Signal::SIGKILL) == Reach::Refused {
                self.report.loss = Some(Loss::RanOn);
                self.tell_refusal();
            }
            self.reap(group);
            looks = looks.wrapping_add(1);
            let gone = if looks.is_multiple_of(CENSUS_EVERY) {
                group.is_gone()
            } else {
                group.is_empty()
            };
            if gone || (spare && self.report.ending.is_some()) {
                // A leader that was a zombie a moment ago still has its ending to tell.
                self.reap(group);
                return Ok(self.report);
            }
            tokio::select! {
                () = tokio::time::sleep(REAP_PAUSE) => {}
                signal = signals.next() => {
                    if group.signal(signal) == Reach::Refused {
                        self.tell_refusal();
                    }
                }
            }
        }
    }

    fn reap(&mut self, group: Group) {
        for event in group.reap_members() {
            if let LeaderEvent::Ended(ending) = event {
                self.report.ending.get_or_insert(ending);
            }
        }
    }
}

/// Reads until there is no more for now.
fn read_all(
    lines: &mut Lines,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut buffer = [0_u8; 4_096];
    loop {
        match read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => lines.push(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
