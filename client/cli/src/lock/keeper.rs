//! The keeper: a process of its own that owns a command and ends it when the lock may be lost.
//!
//! It exists because the command line can be frozen or killed: a deadline that only the command line
//! watched would pass unnoticed, and the command would run into the next holder's turn. The keeper
//! knows nothing of cells. It is told until when the lock is held, again and again, and if it is not
//! told in time, or the other end of its socket closes, it warns and then kills the command's process
//! group. Were the keeper itself killed, the command gets its parent's death signal, and the command
//! line kills the rest of the group.
//!
//! It must never block on the command line (which may be frozen), must never take a signal meant for
//! somebody else (it blocks all of them), and must never outlive what it owns.
//!
//! ```text
//! command line ──socket── keeper ──gate── trampoline → the command
//! ```

use super::group::{Group, LeaderEvent, Reach};
use super::protocol::{FromKeeper, Lines, ToKeeper, encode, receive_descriptor, send_descriptor};
use super::schedule::{Due, OnLost, Schedule};
use super::trampoline;
use crate::clock;
use cotter_types::Moment;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The first argument with which the program starts itself as a keeper.
pub const VERB: &str = "lock-keeper";

/// The clock is compared with what is due at least this often, whatever the timer says.
const TICK_MS: u8 = 100;

/// Deadlines that follow each other faster than this are not acknowledged one by one.
pub(super) const ACKNOWLEDGE_PAUSE: Duration = Duration::from_millis(200);

/// What is said when a command cannot be signalled.
pub(super) const REFUSED: &str = "the command cannot be signalled, because it has changed its user; \
     it cannot be ended, and the lock is not released, before it ends by itself";

/// What a keeper is started with.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// When to warn and to kill.
    pub schedule: Schedule,
    /// Whether the command's group becomes the foreground group of the terminal.
    pub foreground: bool,
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
}

/// Runs a keeper until nobody of the command's group is left. Standard input is its socket.
///
/// # Errors
/// If the command could not even be prepared; it does not run then.
pub fn run(settings: &KeeperSettings) -> io::Result<()> {
    SigSet::all().thread_block()?;
    prctl::set_name(c"cotter-keeper")?;
    prctl::set_child_subreaper(true)?;
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let input = receive_descriptor(&control)?;
    let (gate, group) = spawn_trampoline(settings)?;
    let mut keeper = Keeper::new(settings.schedule, control, group)?;
    keeper.tell(FromKeeper::Spawned(group.id().as_raw()));
    if !keeper.wait_for_go()? {
        return Ok(());
    }
    send_descriptor(&gate, input.as_fd())?;
    drop((gate, input));
    keeper.keep()
}

/// Starts the trampoline in a process group of its own. It waits at the gate.
fn spawn_trampoline(settings: &KeeperSettings) -> io::Result<(UnixStream, Group)> {
    let (gate, inner) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("cotter")
        .arg(trampoline::VERB)
        .arg(format!("--keeper={}", std::process::id()));
    if settings.foreground {
        command.arg("--foreground");
    }
    if settings.schedule.on_lost == OnLost::Ignore {
        command.arg("--outlive");
    }
    let child = command
        .arg("--")
        .args(&settings.command)
        .stdin(Stdio::from(OwnedFd::from(inner)))
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id())
        .ok()
        .and_then(Group::of)
        .ok_or_else(|| io::Error::other("the kernel gave an impossible process id"))?;
    Ok((gate, group))
}

/// A keeper that has a trampoline or a command.
struct Keeper {
    schedule: Schedule,
    control: UnixStream,
    lines: Lines,
    group: Group,
    children: SignalFd,
    timer: TimerFd,
    /// The end of the belief that the lock is held.
    deadline: Moment,
    /// What the command line was told of it last, and when.
    acknowledged: Option<(Moment, Moment)>,
    /// Since when nothing extends the belief: the command line has died, or the command has ended.
    given_up: Option<Moment>,
    control_closed: bool,
    warned: bool,
    killed: bool,
    /// The command was, or had to be, ended because of the lock, and not because it ended itself.
    losing: bool,
    /// What was said already.
    said_killed: bool,
    said_refused: bool,
    said_ran_on: bool,
    leader_ended: bool,
}

impl Keeper {
    fn new(schedule: Schedule, control: UnixStream, group: Group) -> io::Result<Self> {
        let mut child_signal = SigSet::empty();
        child_signal.add(Signal::SIGCHLD);
        control.set_nonblocking(true)?;
        Ok(Self {
            schedule,
            control,
            lines: Lines::default(),
            group,
            children: SignalFd::with_flags(
                &child_signal,
                SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
            )?,
            timer: TimerFd::new(
                ClockId::CLOCK_BOOTTIME,
                TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
            )?,
            deadline: Moment::NEVER,
            acknowledged: None,
            given_up: None,
            control_closed: false,
            warned: false,
            killed: false,
            losing: false,
            said_killed: false,
            said_refused: false,
            said_ran_on: false,
            leader_ended: false,
        })
    }

    /// Waits until the command may begin. Returns false if it must not: the command line has died,
    /// or the lock is as good as lost already.
    fn wait_for_go(&mut self) -> io::Result<bool> {
        loop {
            self.wait(Moment::NEVER)?;
            self.receive();
            // Only one message is taken: a signal that came along with it is for `keep`.
            if let Some(message) = self.lines.next_message()? {
                let ToKeeper::Go(deadline) = message else {
                    return Err(io::Error::other("expected the word to begin"));
                };
                self.deadline = Moment(deadline);
                return Ok(clock::now() < self.schedule.while_held(self.deadline).kill);
            }
            if self.control_closed {
                return Ok(false);
            }
            if !self.group.reap_all().is_empty() {
                return Err(io::Error::other("the command could not be prepared"));
            }
        }
    }

    /// Keeps the command until nobody of its group is left.
    fn keep(&mut self) -> io::Result<()> {
        loop {
            self.receive();
            while let Some(message) = self.lines.next_message()? {
                self.handle(message);
            }
            self.observe_children();
            if self.is_done() {
                self.tell(FromKeeper::Gone);
                return Ok(());
            }
            let again = self.acknowledge();
            let due = self.due();
            self.act(due);
            let next = match (self.warned, self.killed) {
                (_, true) => Moment::NEVER,
                (true, false) => due.kill,
                (false, false) => due.warn.min(due.kill),
            };
            self.wait(next.min(again))?;
        }
    }

    fn handle(&mut self, message: ToKeeper) {
        match message {
            ToKeeper::Go(deadline) | ToKeeper::Deadline(deadline) => {
                self.deadline = Moment(deadline);
            }
            ToKeeper::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number)
                    && !self.leader_ended
                {
                    let reach = self.group.signal(signal);
                    self.tell_refusal(reach);
                }
            }
        }
    }

    /// Says which deadline is followed, if that has not been said. Returns when to do so again.
    fn acknowledge(&mut self) -> Moment {
        let now = clock::now();
        if let Some((deadline, at)) = self.acknowledged {
            let next = at.after(ACKNOWLEDGE_PAUSE);
            if deadline == self.deadline || now < next {
                return if deadline == self.deadline {
                    Moment::NEVER
                } else {
                    next
                };
            }
        }
        // What a frozen command line has no room for is said at another turn.
        if self.tell(FromKeeper::Follows(self.deadline.0)) {
            self.acknowledged = Some((self.deadline, now));
        }
        Moment::NEVER
    }

    fn observe_children(&mut self) {
        for event in self.group.reap_all() {
            match event {
                LeaderEvent::Stopped(signal) => {
                    self.tell(FromKeeper::Stopped(signal));
                }
                LeaderEvent::Ended(ending) => {
                    self.leader_ended = true;
                    // What the command left behind in its group must not run on without the lock,
                    // which is about to be released. It is asked with TERM whatever the policy's
                    // own signal is: that one may mean anything to the command.
                    self.given_up.get_or_insert_with(clock::now);
                    if self.schedule.on_lost.warning().is_some() {
                        let reach = self.group.ask_to_end(Signal::SIGTERM);
                        self.tell_refusal(reach);
                        self.warned = true;
                    }
                    self.tell(FromKeeper::Ended(ending));
                }
            }
        }
        if self.control_closed {
            self.given_up.get_or_insert_with(clock::now);
        }
    }

    fn due(&self) -> Due {
        match self.given_up {
            None => self.schedule.while_held(self.deadline),
            Some(since) => self.schedule.after_giving_up(since, self.deadline),
        }
    }

    fn act(&mut self, due: Due) {
        let now = clock::now();
        if now >= due.kill {
            self.losing |= self.given_up.is_none();
            self.killed = true;
            // Again at every turn, not only once: a member that was just being forked, or that
            // changed its user id for a moment, gets it the next time.
            let reach = self.group.signal(Signal::SIGKILL);
            self.tell_refusal(reach);
            match reach {
                Reach::Reached if self.given_up.is_none() && !self.said_killed => {
                    self.said_killed = true;
                    self.tell(FromKeeper::Killed);
                }
                // Also when others were killed before: whoever is left runs on.
                Reach::Refused => self.tell_ran_on(),
                Reach::Reached | Reach::Nobody => {}
            }
        } else if now >= due.warn && !self.warned {
            self.losing |= self.given_up.is_none();
            self.warned = true;
            let reach = match self.schedule.on_lost.warning() {
                Some(signal) => self.group.ask_to_end(signal),
                None => Reach::Nobody,
            };
            self.tell_refusal(reach);
            if reach == Reach::Refused {
                self.tell_ran_on();
            } else if self.given_up.is_none() {
                self.tell(FromKeeper::Warned);
            }
        }
    }

    /// Tells, once, that the command cannot be signalled. Without a command line there is nobody but
    /// the user to tell it to.
    fn tell_refusal(&mut self, reach: Reach) {
        if reach != Reach::Refused || self.said_refused {
            return;
        }
        self.said_refused = true;
        if self.control_closed {
            let _ = writeln!(io::stderr(), "cotter: {REFUSED}");
        } else {
            self.tell(FromKeeper::Refused);
        }
    }

    fn tell_ran_on(&mut self) {
        if self.losing && !self.said_ran_on {
            self.said_ran_on = true;
            self.tell(FromKeeper::RanOn);
        }
    }

    /// Under *ignore* the keeper leaves what lives on alone; otherwise it stays until all are gone.
    fn is_done(&self) -> bool {
        if self.schedule.on_lost == OnLost::Ignore {
            return self.leader_ended || self.control_closed;
        }
        self.leader_ended && self.group.is_gone()
    }

    /// Tells the command line, if it listens; returns whether it could be told. A frozen one does not
    /// listen, and must not freeze the keeper.
    fn tell(&mut self, message: FromKeeper) -> bool {
        encode(&message).is_ok_and(|line| self.control.write(&line).is_ok())
    }

    /// Reads what the command line has said, without waiting.
    fn receive(&mut self) {
        let mut buffer = [0_u8; 4_096];
        while !self.control_closed {
            match self.control.read(&mut buffer) {
                Ok(0) => self.control_closed = true,
                Ok(count) => self.lines.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.control_closed = true,
            }
        }
    }

    /// Sleeps until the command line speaks, a child changes, `next` has come, or a tick has passed.
    fn wait(&mut self, next: Moment) -> io::Result<()> {
        self.set_timer(next)?;
        let mut descriptors = vec![
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        if !self.control_closed {
            descriptors.push(PollFd::new(self.control.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut descriptors, PollTimeout::from(TICK_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Ok(Some(_)) = self.children.read_signal() {}
        Ok(())
    }

    /// Arms the timer: unlike the time-out of `poll`, it counts the time of a suspended machine.
    fn set_timer(&mut self, next: Moment) -> io::Result<()> {
        if next == Moment::NEVER {
            return Ok(self.timer.unset()?);
        }
        let at = Duration::from_micros(next.0.max(1));
        let nanoseconds = i64::try_from(at.as_nanos()).unwrap_or(i64::MAX);
        self.timer.set(
            Expiration::OneShot(TimeSpec::nanoseconds(nanoseconds)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )?;
        Ok(())
    }
}
