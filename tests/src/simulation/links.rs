//! How connections come and go: links between replicas, streams of clients.

use super::network::ConnectionKey;
use super::world::{Event, Purpose, World};
use cotter_session::ConnectionId;

impl World {
    pub(super) fn dial_pair_later(&mut self, low: usize, high: usize, least: u64) {
        let place = self.pair(low, high);
        if !self.pairs[place].dialling {
            self.pairs[place].dialling = true;
            let delay = least + self.random.between(0, 150_000);
            self.agenda.after(delay, Event::PairDial { low, high });
        }
    }

    pub(super) fn dial_pair(&mut self, low: usize, high: usize) {
        let place = self.pair(low, high);
        self.pairs[place].dialling = false;
        if self.pairs[place]
            .current
            .is_some_and(|key| self.network.connection(key).stands())
        {
            return;
        }
        let both_run = self.hosts[low].running.is_some() && self.hosts[high].running.is_some();
        if !both_run || self.network.is_cut(low, high) {
            self.dial_pair_later(low, high, 30_000);
            return;
        }
        let now = self.now();
        let low_at = now + self.network.travel(high, low);
        let high_at = now + self.network.travel(low, high);
        let key = self.network.open(low, high, low_at, high_at);
        let lives = (self.hosts[low].life, self.hosts[high].life);
        self.purposes.push(Purpose::Peers {
            low: (low, lives.0),
            high: (high, lives.1),
        });
        self.pairs[place].current = Some(key);
        self.agenda.at(
            low_at,
            Event::PeerUp {
                host: low,
                life: lives.0,
                peer: high,
                key,
            },
        );
        self.agenda.at(
            high_at,
            Event::PeerUp {
                host: high,
                life: lives.1,
                peer: low,
                key,
            },
        );
    }

    pub(super) fn dial(&mut self, guest: usize, life: u32, connection: ConnectionId, host: usize) {
        let now = self.now();
        let machine = self.guests[guest].machine;
        let back = self.network.travel(host, machine);
        if self.network.is_cut(machine, host) {
            // Nothing says no: the client's connect timeout has to.
            let delay = back + self.random.between(200_000, 1_500_000);
            self.agenda.after(
                delay,
                Event::Dialled {
                    guest,
                    life,
                    connection,
                    key: None,
                },
            );
            return;
        }
        if self.hosts[host].running.is_none() {
            self.agenda.after(
                back,
                Event::Dialled {
                    guest,
                    life,
                    connection,
                    key: None,
                },
            );
            return;
        }
        let key = self.network.open(machine, host, now + back, now);
        let Some(stream) = self.open_stream(host, key) else {
            return;
        };
        self.purposes.push(Purpose::Stream {
            guest: (guest, life),
            connection,
            host: (host, self.hosts[host].life),
            stream,
        });
        self.agenda.after(
            back,
            Event::Dialled {
                guest,
                life,
                connection,
                key: Some(key),
            },
        );
    }

    /// Breaks a connection. What arrives within `grace` is not lost; the ends notice `notice`
    /// microseconds later at the earliest.
    pub(super) fn break_connection(&mut self, key: ConnectionKey, grace: u64, notice: u64) {
        let now = self.now();
        if !self.network.break_connection(now, key, grace) {
            return;
        }
        let first = now + notice + self.random.between(100, 20_000);
        let second = now + notice + self.random.between(100, 20_000);
        match self.purposes[key.0] {
            Purpose::Peers { low, high } => {
                self.agenda.at(
                    first,
                    Event::PeerDown {
                        host: low.0,
                        life: low.1,
                        peer: high.0,
                        key,
                    },
                );
                self.agenda.at(
                    second,
                    Event::PeerDown {
                        host: high.0,
                        life: high.1,
                        peer: low.0,
                        key,
                    },
                );
                // The next connection can stand before the end of the last one is noticed.
                self.dial_pair_later(low.0, high.0, 1_000);
            }
            Purpose::Stream {
                guest,
                connection,
                host,
                stream,
            } => {
                self.agenda.at(
                    first,
                    Event::GuestBroken {
                        guest: guest.0,
                        life: guest.1,
                        connection,
                    },
                );
                self.agenda.at(
                    second,
                    Event::HostBroken {
                        host: host.0,
                        life: host.1,
                        stream,
                    },
                );
            }
            Purpose::Call { caller, .. } => {
                self.agenda.at(
                    first,
                    Event::CallerWake {
                        caller: caller.0,
                        turn: caller.1,
                    },
                );
            }
        }
    }

    /// A way has been cut for long; if it still is, the ends give the connection up.
    pub(super) fn starve(&mut self, key: ConnectionKey) {
        let pipe = &self.network.connection(key).pipes[0];
        if self.network.is_cut(pipe.from, pipe.to) {
            self.break_connection(key, 0, 0);
        }
    }

    fn pair(&self, low: usize, high: usize) -> usize {
        low * self.profile.replicas + high
    }
}
