//! What to do next at a birth, once all members have said who they are. Pure.

use super::introduction::Introduced;
use crate::storage::{CellState, Certificate};
use cotter_types::ReplicaId;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everybody is empty: draw a certificate.
    Draw,
    /// A birth was interrupted: have those who are empty write this certificate down.
    Propose(Certificate),
    /// Everybody holds it: tell everybody.
    Commit(Certificate),
    /// Everybody is born.
    Done,
}

/// Decides the next step from what all members said, or says why there is none.
pub(super) fn plan(cell: &str, all: &[Introduced]) -> Result<Plan, String> {
    agree(cell, all)?;
    let Some(holder) = all.iter().find(|member| member.held.is_some()) else {
        return Ok(Plan::Draw);
    };
    let Some(certificate) = holder.certificate().cloned() else {
        return Ok(Plan::Draw);
    };
    for member in all {
        if let Some(why) = cannot_live_with(member, &certificate) {
            return Err(why);
        }
    }
    let empty = all.iter().find(|member| member.held.is_none());
    let born = all.iter().find(|member| member.is_born());
    match (empty, born) {
        (Some(empty), Some(born)) => Err(empty_beside_born(empty.replica, born.replica)),
        (Some(_), None) => Ok(Plan::Propose(certificate)),
        (None, Some(_)) if all.iter().all(Introduced::is_born) => Ok(Plan::Done),
        (None, _) => Ok(Plan::Commit(certificate)),
    }
}

/// Checks what one member, `own`, can tell by itself from what another said. What both are may have
/// changed since `other` spoke, so only what can never become right is refused.
pub(super) fn check_pair(cell: &str, own: &Introduced, other: &Introduced) -> Result<(), String> {
    agree(cell, &[own.clone(), other.clone()])?;
    if own.held.is_none() && other.is_born() {
        return Err(empty_beside_born(own.replica, other.replica));
    }
    match (own.certificate(), other.certificate()) {
        (Some(certificate), Some(_)) => cannot_live_with(other, certificate).map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

/// Tells whether `own`, which is forming, may be born because `other` is: then all were forming.
pub(super) fn born_by(own: &Introduced, other: &Introduced) -> bool {
    matches!(&own.held, Some((_, CellState::Forming)))
        && other.is_born()
        && own.certificate() == other.certificate()
}

fn empty_beside_born(empty: ReplicaId, born: ReplicaId) -> String {
    format!(
        "the data directory of replica {empty} is empty, but replica {born} belongs to a cell that \
         was born: replica {empty} has lost its disk or was given a wrong directory, and a replica \
         that forgot must not vote"
    )
}

fn agree(cell: &str, all: &[Introduced]) -> Result<(), String> {
    let Some(first) = all.first() else {
        return Ok(());
    };
    for member in all {
        if member.fingerprint != first.fingerprint {
            return Err(format!(
                "the configurations of replicas {} and {} name different members: make their \
                 members tables equal",
                first.replica, member.replica
            ));
        }
        if member.source != first.source {
            return Err(format!(
                "{}, but {}: run the same command with the same file on all members",
                beginning(first),
                beginning(member)
            ));
        }
        if let Some(certificate) = member.certificate()
            && certificate.cell_name != cell
        {
            return Err(format!(
                "the data directory of replica {} belongs to the cell {:?}, not to {cell:?}",
                member.replica, certificate.cell_name
            ));
        }
    }
    Ok(())
}

/// Says what a member's cell begins with.
fn beginning(member: &Introduced) -> String {
    match member.source {
        Some(source) => format!(
            "replica {} restores the cell from the file with digest {source:032x}",
            member.replica
        ),
        None => format!("replica {} begins an empty cell", member.replica),
    }
}

/// Tells why `member` and a certificate that another holds cannot belong to one cell, if so.
fn cannot_live_with(member: &Introduced, certificate: &Certificate) -> Option<String> {
    let named = certificate
        .members
        .iter()
        .find(|named| named.id == member.replica);
    let Some(named) = named else {
        return Some(format!(
            "the certificate of cell {} does not name replica {}",
            certificate.cell_id, member.replica
        ));
    };
    let own = member.certificate()?;
    if own != certificate {
        return Some(format!(
            "replica {} belongs to cell {}, others to cell {}: their data directories come from \
             different births; empty those that hold nothing of worth and run init again",
            member.replica, own.cell_id, certificate.cell_id
        ));
    }
    (named.incarnation != member.incarnation).then(|| {
        format!(
            "replica {} lives on disk {:016x}, but the certificate names {:016x}",
            member.replica, member.incarnation, named.incarnation
        )
    })
}
