//! One turn of a simulated replica.
//!
//! A turn is what the real driver does: drain the inbox, read the clock, handle all, end the turn.
//! Ending it takes time when something had to be flushed, and what the turn produced leaves only
//! then. A machine can die anywhere in between.

use super::disk::FlushDeath;
use super::network::Parcel;
use super::world::{Event, World};
use crate::checkers::{Verdict, Violation};
use cotter_replica::{Fault, Happening, Output};
use cotter_types::Epoch;

/// Inputs that one turn takes at most.
const INPUTS_PER_TURN_MAX: usize = 256;

/// Where in its next turn a replica dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnDeath {
    /// When the inputs are handled and nothing is flushed.
    Handled,
    /// At the flush.
    Flush(FlushDeath),
    /// While a chapter is begun, after so many operations of the disk.
    Beginning(u64),
    /// When all is flushed and nothing is sent.
    Unsent,
}

impl World {
    pub(super) fn host_turn(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life || host.paused {
            if let Some(running) = host.running.as_mut().filter(|_| host.life == life) {
                running.turn_at = u64::MAX;
            }
            return Ok(());
        }
        let Some(running) = &mut host.running else {
            return Ok(());
        };
        if running.turn_at != now {
            return Ok(());
        }
        running.turn_at = u64::MAX;
        if running.busy {
            return Ok(());
        }
        let reading = host.clock.read(now);
        let reigned = running.reigns();
        let taken = running.inbox.len().min(INPUTS_PER_TURN_MAX);
        for input in running.inbox.drain(..taken) {
            running.replica.handle(reading, input);
        }
        if running.death == Some(TurnDeath::Handled) {
            self.kill_host(place, true);
            return Ok(());
        }
        running
            .replica
            .propose(reading, host.wall_offset_ms + now / 1_000);
        let boot = u64::from(host.life);
        let mut early = Vec::new();
        while let Some(output) = running.replica.poll() {
            early.push(output);
        }
        for output in early {
            // It has left, whatever becomes of this turn.
            self.host_output(place, boot, output);
        }
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        match running.death {
            Some(TurnDeath::Flush(death)) => running.logs.die_at_flush(death),
            Some(TurnDeath::Beginning(operations)) => running.logs.die_beginning(operations),
            Some(TurnDeath::Handled | TurnDeath::Unsent) | None => {}
        }
        if let Err(fault) = running.replica.end_turn(reading) {
            return self.host_fault(place, &fault);
        }
        running.logs.live_on();
        self.after_turn(place, reigned, taken)
    }

    fn host_fault(&mut self, place: usize, fault: &Fault) -> Verdict {
        let name = self.host_name(place);
        if matches!(fault, Fault::Differs { .. }) {
            return self.host_differs(place, fault);
        }
        let planned = self.hosts[place].running.as_ref().is_some_and(|running| {
            let death = running.death;
            matches!(death, Some(TurnDeath::Flush(_) | TurnDeath::Beginning(_)))
        });
        if planned {
            self.kill_host(place, true);
            return Ok(());
        }
        Err(Violation::new("fault", format!("{name}: {fault}")))
    }

    /// The state of a replica differs: either that is wrong by itself, since no bug is planted, or the
    /// replica is started again as the driver does it, without trust in its state.
    fn host_differs(&mut self, place: usize, fault: &Fault) -> Verdict {
        let name = self.host_name(place);
        if !self.profile.rebuilds {
            return Err(Violation::new("comparison", format!("{name}: {fault}")));
        }
        self.note(|| format!("{name}: {fault}"));
        self.tally.fault("differing state");
        self.hosts[place].rebuild = true;
        self.kill_host(place, false);
        Ok(())
    }

    fn after_turn(&mut self, place: usize, reigned: Option<Epoch>, taken: usize) -> Verdict {
        let now = self.now();
        let life = self.hosts[place].life;
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        let reigns = running.reigns();
        let speaks_for = reigns.or(reigned);
        let mut outbox = Vec::new();
        let mut replaced = None;
        while let Some(output) = running.replica.poll() {
            if let Output::Log(Happening::StateReplaced { applied }) = &output {
                // The way there was not by this replica's log.
                running.observed = *applied as usize;
                replaced = Some(running.replica.cell().chapter().number);
            }
            outbox.push(output);
        }
        let flushes = running.logs.take_flushes();
        if let Some(chapter) = replaced {
            self.hosts[place].disk.was_fetched(chapter);
        }
        self.mark(
            3,
            (place as u64) << 32 | (taken as u64) << 16 | outbox.len() as u64,
        );
        self.observe_host(place)?;
        self.check_statements(place, speaks_for, &outbox)?;
        self.observe_proposals(place, speaks_for);
        if let Some(epoch) = reigns {
            let name = self.host_name(place);
            self.checkers.masters.may_speak(&name, epoch, now);
        }
        let time = self.hosts[place].flush_time(flushes);
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        running.outbox = outbox;
        running.busy = true;
        if time == 0 {
            return self.host_release(place, life);
        }
        self.agenda
            .at(now + time, Event::HostRelease { host: place, life });
        Ok(())
    }

    pub(super) fn host_release(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life || host.paused {
            return Ok(());
        }
        let Some(running) = &mut host.running else {
            return Ok(());
        };
        if !running.busy {
            return Ok(());
        }
        if running.death == Some(TurnDeath::Unsent) {
            self.kill_host(place, true);
            return Ok(());
        }
        running.busy = false;
        let boot = u64::from(host.life);
        let outbox = std::mem::take(&mut running.outbox);
        let more = !running.inbox.is_empty();
        let wake = host.clock.when(running.replica.next_wake(), now);
        for output in outbox {
            self.host_output(place, boot, output);
        }
        // Never twice at the same moment: a replica that asks to be woken at once gets a microsecond.
        self.schedule_turn(place, if more { now + 1 } else { wake.max(now + 1) });
        Ok(())
    }

    fn host_output(&mut self, place: usize, boot: u64, output: Output) {
        let Some(running) = &mut self.hosts[place].running else {
            return;
        };
        match output {
            Output::Peer { to, message } => {
                let peer = (to.0 - 1) as usize;
                if let Some(key) = running.links.get(&peer).copied() {
                    let sequence = running.sent.entry(peer).or_default();
                    *sequence += 1;
                    let parcel = Parcel::Peer {
                        boot,
                        sequence: *sequence,
                        message,
                    };
                    self.send(key, usize::from(place > peer), parcel);
                }
            }
            Output::Frame { stream, frame } => {
                if let Some(key) = running.streams.get(&stream).map(|stream| stream.key) {
                    self.note(|| format!("replica {} to {stream:?}: {frame:?}", place + 1));
                    self.send(key, 1, Parcel::Down(frame));
                }
            }
            Output::CloseStream { stream } => {
                if let Some(gone) = running.streams.remove(&stream) {
                    self.send(gone.key, 1, Parcel::End);
                }
            }
            Output::CallAnswer { call, answer } => {
                let gone = running.calls.remove(&call);
                self.note(|| format!("replica {} answers {call:?}: {answer:?}", place + 1));
                if let Some((key, _)) = gone {
                    self.send(key, 1, Parcel::Told(answer));
                }
            }
            Output::WriteCheckpoint { cell, source } => self.write_checkpoint(place, cell, source),
            Output::Discard { below } => self.discard(place, below),
            Output::Rebuilt { below } => self.rebuilt(place, below),
            // The history is no part of what is simulated.
            Output::Past(_) => {}
            // Everybody is linked with everybody.
            Output::Peers { .. } => {}
            Output::Log(happening) => {
                self.tally.happened(&happening);
                self.note(|| format!("replica {}: {happening:?}", place + 1));
            }
        }
    }
}
