//! What goes wrong in the safety phase, and how it ends.

use super::disk::FlushDeath;
use super::host::random_rate;
use super::network::Machine;
use super::turn::TurnDeath;
use super::world::{Event, World};
use crate::checkers::Verdict;
use cotter_replica::Input;

/// What injects one kind of fault.
type Inject = fn(&mut World);

/// How a fault ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// These ways are whole again.
    Mend(Vec<(Machine, Machine)>),
    /// These ways are as fast as before.
    Calm(Vec<(Machine, Machine)>),
    /// The network delivers everything once on these ways.
    Single(Vec<(Machine, Machine)>),
    /// The disk is as fast as before.
    Fast(usize),
}

impl World {
    pub(super) fn fault(&mut self) -> Verdict {
        if self.healed {
            return Ok(());
        }
        let pace = self.profile.fault_pace_us;
        let pause = 1 + self.random.around(pace);
        self.agenda.after(pause, Event::Fault);
        let weights = &self.profile.weights;
        let kinds: [(u64, &'static str, Inject); 16] = [
            (weights.crash, "crash", Self::crash),
            (weights.blackout, "blackout", Self::blackout),
            (weights.pause, "pause", Self::pause),
            (weights.retire, "retire", Self::retire),
            (weights.partition, "partition", Self::partition),
            (weights.one_way, "one-way cut", Self::one_way),
            (weights.reset, "reset", Self::reset),
            (weights.flap, "flapping link", Self::flap),
            (weights.stray, "stray proposal", Self::stray),
            (weights.loss, "loss", Self::loss),
            (weights.spike, "spike", Self::spike),
            (weights.duplicate, "duplicates", Self::duplicates),
            (weights.slow_disk, "slow disk", Self::slow_disk),
            (weights.clock, "clock rate", Self::clock_rate),
            (weights.guest_pause, "client pause", Self::guest_pause),
            (weights.guest_crash, "client crash", Self::guest_crash),
        ];
        let total = kinds.iter().map(|(weight, _, _)| weight).sum();
        let mut drawn = self.random.below(total);
        for (weight, kind, inject) in kinds {
            if drawn < weight {
                self.tally.fault(kind);
                self.note(|| format!("fault: {kind}"));
                self.mark(20, drawn);
                inject(self);
                break;
            }
            drawn -= weight;
        }
        Ok(())
    }

    /// Ends all faults for good: the liveness phase begins.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.note(|| "everything is healed".to_owned());
        let machines = self.hosts.len() + self.guests.len() + self.callers.len();
        for from in 0..machines {
            for to in 0..machines {
                let wire = self.network.wire_mut(from, to);
                wire.spike_us = 0;
                wire.duplicates_per_mille = 0;
                wire.loss_per_mille = 0;
                while self.network.wire(from, to).cuts > 0 {
                    self.mend(from, to);
                }
            }
        }
        for place in 0..self.hosts.len() {
            let host = &mut self.hosts[place];
            host.slow_flush_us = 0;
            let life = host.life;
            if let Some(running) = &mut host.running {
                running.death = None;
                if running.retired {
                    self.kill_host(place, false);
                } else {
                    self.agenda
                        .after(0, Event::HostResume { host: place, life });
                }
            }
            self.agenda.after(1_000, Event::HostStart { host: place });
        }
        for place in 0..self.callers.len() {
            self.callers[place].drain();
            self.caller_later(place, 1_000);
        }
        for place in 0..self.guests.len() {
            let life = self.guests[place].life;
            self.agenda
                .after(0, Event::GuestResume { guest: place, life });
            self.guests[place].program.drain();
        }
    }

    pub(super) fn fault_ends(&mut self, ending: &Ending) {
        if self.healed {
            return;
        }
        match ending {
            Ending::Mend(ways) => {
                for (from, to) in ways {
                    self.mend(*from, *to);
                }
            }
            Ending::Calm(ways) => {
                for (from, to) in ways {
                    self.network.wire_mut(*from, *to).spike_us = 0;
                }
            }
            Ending::Single(ways) => {
                for (from, to) in ways {
                    let wire = self.network.wire_mut(*from, *to);
                    wire.duplicates_per_mille = 0;
                    wire.loss_per_mille = 0;
                }
            }
            Ending::Fast(host) => self.hosts[*host].slow_flush_us = 0,
        }
    }

    fn mend(&mut self, from: Machine, to: Machine) {
        let arrivals = self.network.mend(self.now(), from, to);
        self.schedule(arrivals);
    }

    /// Prefers the master, since that is where it hurts.
    fn any_host(&mut self) -> usize {
        let master = self.hosts.iter().position(super::host::Host::is_master);
        match master {
            Some(master) if self.random.chance(400) => master,
            _ => self.random.index(self.hosts.len()),
        }
    }

    fn any_guest(&mut self) -> usize {
        self.random.index(self.profile.guests)
    }

    fn crash(&mut self) {
        let place = self.any_host();
        let death = match self.random.below(10) {
            0 => TurnDeath::Handled,
            1 => TurnDeath::Flush(FlushDeath::Before),
            2 => TurnDeath::Flush(FlushDeath::After),
            3 => TurnDeath::Flush(FlushDeath::Within(self.random.below(4))),
            4 => TurnDeath::Unsent,
            5 | 6 => TurnDeath::Beginning(self.random.below(16)),
            7 | 8 => return self.kill_host(place, true),
            _ => return self.kill_host(place, false),
        };
        if let Some(running) = &mut self.hosts[place].running {
            running.death = Some(death);
        }
    }

    /// Takes the power from all replicas: at once, or from each in its next flush, when what has left
    /// already may rest on what is lost.
    fn blackout(&mut self) {
        let in_flush = self.random.chance(400);
        let power = self.random.chance(700);
        for place in 0..self.hosts.len() {
            match &mut self.hosts[place].running {
                Some(running) if in_flush => {
                    running.death = Some(TurnDeath::Flush(FlushDeath::Before));
                }
                _ => self.kill_host(place, power),
            }
        }
    }

    fn pause(&mut self) {
        let place = self.any_host();
        let length = match self.random.below(3) {
            0 => self.random.between(1_000, 400_000),
            1 => self.random.between(300_000, 1_500_000),
            _ => self.random.between(1_000_000, 10_000_000),
        };
        let host = &mut self.hosts[place];
        if host.running.is_some() && !host.paused {
            host.paused = true;
            let life = host.life;
            self.agenda
                .after(length, Event::HostResume { host: place, life });
        }
    }

    fn retire(&mut self) {
        let place = self.any_host();
        let life = self.hosts[place].life;
        if let Some(running) = &mut self.hosts[place].running
            && !running.retired
        {
            running.retired = true;
            self.host_input(place, life, Input::Retire);
            if self.random.chance(500) {
                // It may still reach its clients, and must not speak to them any more.
                let delay = self.random.between(1_000, 60_000);
                self.agenda.after(delay, Event::Isolate { host: place });
            }
        } else {
            self.kill_host(place, false);
        }
    }

    fn partition(&mut self) {
        let machines = self.hosts.len() + self.guests.len() + self.callers.len();
        let sides: Vec<bool> = (0..machines).map(|_| self.random.chance(500)).collect();
        let one_way = self.random.chance(250);
        let mut ways = Vec::new();
        for from in 0..machines {
            for to in 0..machines {
                if sides[from] != sides[to] && (!one_way || sides[from]) {
                    ways.push((from, to));
                }
            }
        }
        self.cut(ways);
    }

    fn one_way(&mut self) {
        let from = self.any_host();
        let others = self.hosts.len() + self.guests.len() + self.callers.len();
        let to = self.random.index(others);
        if from != to {
            let ways = match self.random.below(3) {
                0 => vec![(from, to)],
                1 => vec![(to, from)],
                _ => vec![(from, to), (to, from)],
            };
            self.cut(ways);
        }
    }

    fn cut(&mut self, ways: Vec<(Machine, Machine)>) {
        let length = match self.random.below(3) {
            0 => self.random.between(10_000, 400_000),
            1 => self.random.between(300_000, 2_000_000),
            _ => self.random.between(1_000_000, 8_000_000),
        };
        let noticed = self.random.chance(500);
        for (from, to) in &ways {
            self.network.wire_mut(*from, *to).cuts += 1;
            if noticed {
                for key in self.network.connections_between(*from, *to) {
                    let delay = self.random.around(1_000_000);
                    self.agenda.after(delay, Event::Starve { key });
                }
            }
        }
        self.agenda
            .after(length, Event::FaultEnds(Ending::Mend(ways)));
    }

    fn reset(&mut self) {
        let machine = self
            .random
            .index(self.hosts.len() + self.guests.len() + self.callers.len());
        for key in self.network.connections_of(machine) {
            if self.random.chance(500) {
                let grace = self.random.around(2_000);
                let notice = if self.random.chance(200) {
                    self.random.around(2_000_000)
                } else {
                    0
                };
                self.break_connection(key, grace, notice);
            }
        }
    }

    /// Cuts a replica off from its peers, and only from them.
    pub(super) fn isolate(&mut self, place: usize) {
        if self.healed {
            return;
        }
        let ways = (0..self.hosts.len())
            .filter(|other| *other != place)
            .flat_map(|other| [(place, other), (other, place)])
            .collect();
        self.cut(ways);
    }

    fn flap(&mut self) {
        if self.hosts.len() < 2 {
            return;
        }
        let one = self.any_host();
        let other = self.random.index(self.hosts.len());
        if one == other {
            return;
        }
        let times = self.random.between(3, 20);
        self.flap_on(one.min(other), one.max(other), times);
        let length = self.random.between(500_000, 4_000_000);
        if self.random.chance(700) {
            // Slow enough for inputs to pile up in one turn, and mostly not so slow that the
            // leadership goes elsewhere.
            let most = *self
                .random
                .pick(&[15_000, 30_000, 60_000, 300_000, 900_000]);
            self.hosts[one].slow_flush_us = most;
            self.agenda
                .after(length, Event::FaultEnds(Ending::Fast(one)));
        }
        if self.random.chance(500) {
            let ways = vec![(one, other), (other, one)];
            for (from, to) in &ways {
                self.network.wire_mut(*from, *to).loss_per_mille = 300;
            }
            self.agenda
                .after(length, Event::FaultEnds(Ending::Single(ways)));
        }
    }

    pub(super) fn flap_on(&mut self, low: usize, high: usize, left: u64) {
        if self.healed || left == 0 {
            return;
        }
        for key in self.network.connections_between(low, high) {
            self.break_connection(key, 0, 0);
        }
        let pause = self.random.between(5_000, 300_000);
        if self.random.chance(700) {
            // Entries that come between the messages of a resynchronisation are what it is about.
            for _ in 0..self.random.between(1, 16) {
                let to = if self.random.chance(500) { low } else { high };
                let delay = self.random.below(pause);
                self.agenda.after(delay, Event::Stray { to });
            }
        }
        let left = left - 1;
        self.agenda.after(pause, Event::Flap { low, high, left });
    }

    fn stray(&mut self) {
        let to = self.any_host();
        self.stray_to(to);
    }

    pub(super) fn stray_to(&mut self, to: usize) {
        let length = self.checkers.history.length();
        if self.healed || length == 0 || self.hosts.len() < 2 {
            return;
        }
        // Those of a chapter that has ended bear its key, and never reach the next.
        let (_, begins, _) = self.checkers.history.chapter_at(length);
        let back = self.random.around(100) as usize;
        let index = length.saturating_sub(1 + back).max(begins);
        let from = (to + 1 + self.random.index(self.hosts.len() - 1)) % self.hosts.len();
        if let Some(payload) = self.checkers.history.entry(index).cloned() {
            self.stray_proposal(from, to, payload);
        }
    }

    fn some_ways(&mut self) -> Vec<(Machine, Machine)> {
        let machines = self.hosts.len() + self.guests.len() + self.callers.len();
        let share = *self.random.pick(&[100, 300, 1_000]);
        let mut ways = Vec::new();
        for from in 0..machines {
            for to in 0..machines {
                if from != to && self.random.chance(share) {
                    ways.push((from, to));
                }
            }
        }
        ways
    }

    fn spike(&mut self) {
        let ways = self.some_ways();
        let most = *self.random.pick(&[20_000, 200_000, 1_500_000]);
        for (from, to) in &ways {
            let spike_us = self.random.between(0, most);
            self.network.wire_mut(*from, *to).spike_us = spike_us;
        }
        let length = self.random.between(100_000, 4_000_000);
        self.agenda
            .after(length, Event::FaultEnds(Ending::Calm(ways)));
    }

    fn loss(&mut self) {
        let ways = self.some_ways();
        let share = *self.random.pick(&[20, 100, 300]);
        for (from, to) in &ways {
            self.network.wire_mut(*from, *to).loss_per_mille = share;
        }
        let length = self.random.between(500_000, 4_000_000);
        self.agenda
            .after(length, Event::FaultEnds(Ending::Single(ways)));
    }

    fn duplicates(&mut self) {
        let ways = self.some_ways();
        for (from, to) in &ways {
            self.network.wire_mut(*from, *to).duplicates_per_mille = 200;
        }
        let length = self.random.between(500_000, 4_000_000);
        self.agenda
            .after(length, Event::FaultEnds(Ending::Single(ways)));
    }

    fn slow_disk(&mut self) {
        let place = self.any_host();
        let most = *self.random.pick(&[5_000, 50_000, 600_000, 3_000_000]);
        self.hosts[place].slow_flush_us = most;
        let length = self.random.between(100_000, 3_000_000);
        self.agenda
            .after(length, Event::FaultEnds(Ending::Fast(place)));
    }

    fn clock_rate(&mut self) {
        let now = self.now();
        let place = self.random.index(self.hosts.len() + self.profile.guests);
        let rate = random_rate(&mut self.random);
        if let Some(host) = self.hosts.get_mut(place) {
            host.clock.set_rate(now, rate);
        } else {
            let place = place - self.hosts.len();
            self.guests[place].clock.set_rate(now, rate);
        }
    }

    fn guest_pause(&mut self) {
        let place = self.any_guest();
        let guest = &mut self.guests[place];
        if guest.process.is_some() && !guest.paused {
            guest.paused = true;
            let life = guest.life;
            let most = *self.random.pick(&[300_000, 4_000_000, 12_000_000]);
            let length = self.random.between(0, most);
            self.agenda
                .after(length, Event::GuestResume { guest: place, life });
        }
    }

    fn guest_crash(&mut self) {
        let place = self.any_guest();
        self.kill_guest(place);
    }
}
