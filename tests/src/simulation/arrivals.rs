//! What arrives at a simulated replica from its peers and its clients' streams.
//!
//! Everything is for one life of the replica: what was meant for an earlier one never reaches it.

use super::host::HostStream;
use super::network::ConnectionKey;
use super::world::World;
use cotter_replica::{ChapterKey, FEATURE_LEVEL_MAX, Input, Payload, PeerMessage, StreamId};
use cotter_types::{ClientFrame, ReplicaId};
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::{PaxosMessage, PaxosMsg};

impl World {
    /// A proposal of long ago, forwarded late by a peer, reaches whoever leads the log now.
    pub(super) fn stray_proposal(&mut self, from: usize, to: usize, payload: Payload) {
        let paxos = PaxosMessage {
            from: Self::replica_id(from).0,
            to: Self::replica_id(to).0,
            msg: PaxosMsg::ProposalForward(vec![payload]),
        };
        let Some(running) = &self.hosts[to].running else {
            return;
        };
        let chapter = running.replica.cell().chapter();
        let key = ChapterKey {
            chapter: chapter.number,
            membership: chapter.membership(),
        };
        // Only a disk that votes forwards proposals, and a machine that is gone forwards nothing.
        let voter = self.voter(from);
        if self.hosts[from].running.is_none() || !chapter.voters.contains(&voter) {
            return;
        }
        // The entry is one of the last chapter that anybody has begun.
        if chapter.number != self.checkers.history.chapter_at(usize::MAX).0 {
            return;
        }
        let input = Input::Peer {
            from: Self::replica_id(from),
            message: PeerMessage::Paxos {
                key,
                message: Message::SequencePaxos(paxos),
            },
        };
        let life = self.hosts[to].life;
        self.host_input(to, life, input);
    }

    pub(super) fn peer_up(&mut self, place: usize, life: u32, peer: usize, key: ConnectionKey) {
        let host = &mut self.hosts[place];
        if host.life != life || !self.network.connection(key).stands() {
            return;
        }
        let incarnation = self.hosts[peer].disk.incarnation;
        let client_address = self.hosts[peer].client_address().to_owned();
        let peer_address = format!("replica-{}:7500", peer + 1);
        let host = &mut self.hosts[place];
        if let Some(running) = &mut host.running {
            running.links.insert(peer, key);
            let input = Input::PeerConnected {
                peer: Self::replica_id(peer),
                feature_level_max: FEATURE_LEVEL_MAX,
                incarnation,
                client_address,
                peer_address,
            };
            self.host_input(place, life, input);
        }
    }

    pub(super) fn peer_down(&mut self, place: usize, life: u32, peer: usize, key: ConnectionKey) {
        let host = &mut self.hosts[place];
        if host.life != life {
            return;
        }
        if let Some(running) = &mut host.running
            && running.links.get(&peer) == Some(&key)
        {
            running.links.remove(&peer);
            self.host_input(
                place,
                life,
                Input::PeerLost {
                    peer: Self::replica_id(peer),
                },
            );
        }
    }

    pub(super) fn peer_arrives(
        &mut self,
        from: usize,
        to: (usize, u32),
        envelope: (u64, u64),
        message: PeerMessage,
    ) {
        let host = &mut self.hosts[to.0];
        if host.life != to.1 {
            return;
        }
        if let Some(running) = &mut host.running {
            let seen = running.seen.entry(from).or_default();
            // The rule of the links: nothing that is not strictly newer.
            if envelope <= *seen {
                return;
            }
            *seen = envelope;
            let from: ReplicaId = Self::replica_id(from);
            self.host_input(to.0, to.1, Input::Peer { from, message });
        }
    }

    pub(super) fn open_stream(&mut self, place: usize, key: ConnectionKey) -> Option<StreamId> {
        let host = &mut self.hosts[place];
        let life = host.life;
        let running = host.running.as_mut()?;
        let stream = StreamId(running.next_stream);
        running.next_stream += 1;
        running.streams.insert(
            stream,
            HostStream {
                key,
                attached: Vec::new(),
            },
        );
        let principal = "anonymous".to_owned();
        self.host_input(place, life, Input::StreamOpened { stream, principal });
        Some(stream)
    }

    pub(super) fn frame_arrives(
        &mut self,
        host: (usize, u32),
        stream: StreamId,
        frame: ClientFrame,
    ) {
        let known = self.hosts[host.0]
            .running
            .as_ref()
            .is_some_and(|running| running.streams.contains_key(&stream));
        if known && self.hosts[host.0].life == host.1 {
            self.host_input(host.0, host.1, Input::Frame { stream, frame });
        }
    }

    pub(super) fn host_broken(&mut self, place: usize, life: u32, stream: StreamId) {
        let host = &mut self.hosts[place];
        if host.life != life {
            return;
        }
        if let Some(running) = &mut host.running
            && running.streams.remove(&stream).is_some()
        {
            self.host_input(place, life, Input::StreamClosed { stream });
        }
    }
}
