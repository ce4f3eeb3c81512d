//! How the cell is, as one replica sees it, for people and their programs.

use crate::log::ReplicaLog;
use crate::replica::{Member, Replica};
use cotter_cell::Voter;
use cotter_types::{CellStatus, MemberStatus, Moment, Role};

impl<L: ReplicaLog> Replica<L> {
    /// Tells how the cell is, as this replica sees it.
    #[must_use]
    pub fn status(&self, now: Moment) -> CellStatus {
        let counts = self.cell.counts();
        let mastership = self.cell.mastership();
        CellStatus {
            cell: self.cell.cell_name().to_owned(),
            cell_id: self.cell.cell_id(),
            replica: self.config.id,
            role: if self.is_master() {
                Role::Master
            } else {
                Role::Follower
            },
            master: mastership.master,
            epoch: mastership.epoch,
            revision: self.cell.revision(),
            applied: self.cell.applied(),
            decided: self.cell.chapter().begins_at + self.consensus.decided(),
            digest: format!("{:032x}", self.cell.digest()),
            master_lease_left_ms: self.master.as_ref().map(|m| millis(now, m.lease_until())),
            nodes: counts.nodes,
            sessions: counts.sessions,
            locks_held: counts.locks_held,
            waiters: counts.waiters,
            content_bytes: counts.content_bytes,
            members: self.members(now),
            version: self.config.version.clone(),
            feature_level: self.cell.feature_level(),
            uptime_ms: millis(self.started, now),
        }
    }

    /// Returns the members, and whoever else is connected without a vote.
    fn members(&self, now: Moment) -> Vec<MemberStatus> {
        let status = |member: Member, disk: u64, votes: bool| {
            let own = member.id == self.config.id && disk == self.config.incarnation;
            let peer = self.watchdog.peer(member.id);
            let peer = peer.filter(|peer| peer.incarnation == disk);
            MemberStatus {
                replica: member.id,
                client_address: member.client_address,
                peer_address: member.peer_address,
                connected: own || peer.is_some_and(|peer| peer.connected),
                heard_ms_ago: match own {
                    true => Some(0),
                    false => peer.and_then(|peer| peer.heard).map(|at| millis(at, now)),
                },
                votes,
                disk,
            }
        };
        let voters = &self.cell.chapter().voters;
        let table = self.member_table().into_iter().zip(voters.iter());
        let mut members: Vec<MemberStatus> = table
            .map(|(member, voter)| status(member, voter.incarnation, true))
            .collect();
        let others = self.watchdog.peers().filter(|(id, peer)| {
            let votes = |voter: &Voter| (voter.id, voter.incarnation) == (*id, peer.incarnation);
            peer.connected && !voters.iter().any(votes)
        });
        for (id, peer) in others {
            let (client_address, peer_address) = peer.addresses.clone();
            let member = Member {
                id,
                client_address,
                peer_address,
            };
            members.push(status(member, peer.incarnation, false));
        }
        members
    }
}

fn millis(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
