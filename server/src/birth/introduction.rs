//! What members tell each other at a birth, in the daemon's own types.

use crate::config::MemberAddress;
use crate::storage::{CellState, Certificate, CertifiedBase, CertifiedMember};
use cotter_proto::peer::v1::{BirthBase, BirthCertificate, BirthMember, BirthState, Introduction};
use cotter_types::limits::{LABEL_BYTES_MAX, NAME_BYTES_MAX, REPLICAS_MAX, TOKEN_LIMIT};
use cotter_types::{CellId, FencingToken, ReplicaId};

/// Who a member is, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduced {
    pub(super) replica: ReplicaId,
    /// Which disk it lives on, or would live on.
    pub(super) incarnation: u64,
    /// The certificate that it holds and whether it is born; nothing if its directory is empty.
    pub(super) held: Option<(Certificate, CellState)>,
    /// Of the members that its configuration names.
    pub(super) fingerprint: u64,
    /// Digest of the file that it restores the cell from, or was; nothing at a birth.
    pub(super) source: Option<u128>,
}

impl Introduced {
    pub(super) fn is_born(&self) -> bool {
        matches!(self.held, Some((_, CellState::Born)))
    }

    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.held.as_ref().map(|(certificate, _)| certificate)
    }

    /// Reads an introduction as it came over the wire.
    pub(super) fn from_wire(wire: Introduction) -> Result<Self, String> {
        let state = BirthState::try_from(wire.state).unwrap_or(BirthState::Unspecified);
        let state = match state {
            BirthState::Empty => None,
            BirthState::Forming => Some(CellState::Forming),
            BirthState::Born => Some(CellState::Born),
            BirthState::Unspecified => return Err("it does not say how far it has come".into()),
        };
        let certificate = wire.certificate.map(certificate_from_wire).transpose()?;
        let source = match wire.source.is_empty() {
            true => None,
            false => Some(digest(&wire.source)?),
        };
        let held = match (certificate, state) {
            (None, None) => None,
            (Some(certificate), Some(state)) => Some((certificate, state)),
            _ => return Err("its certificate contradicts its state".into()),
        };
        Ok(Self {
            replica: ReplicaId(wire.replica),
            incarnation: wire.incarnation,
            held,
            fingerprint: wire.members_fingerprint,
            source,
        })
    }

    /// Writes the introduction for the wire.
    pub(super) fn to_wire(&self) -> Introduction {
        let state = match &self.held {
            None => BirthState::Empty,
            Some((_, CellState::Forming)) => BirthState::Forming,
            Some((_, CellState::Born | CellState::Joined)) => BirthState::Born,
        };
        Introduction {
            replica: self.replica.0,
            incarnation: self.incarnation,
            state: state.into(),
            certificate: self.certificate().map(certificate_to_wire),
            members_fingerprint: self.fingerprint,
            source: self.source.map(wire_digest).unwrap_or_default().into(),
        }
    }
}

/// Reads a certificate as it came over the wire.
pub(super) fn certificate_from_wire(wire: BirthCertificate) -> Result<Certificate, String> {
    let whole = !wire.cell_name.is_empty()
        && wire.cell_name.len() <= NAME_BYTES_MAX
        && wire.token_floor < TOKEN_LIMIT
        && (1..=REPLICAS_MAX).contains(&wire.members.len())
        && wire.members.iter().all(|member| {
            member.client_address.len() <= LABEL_BYTES_MAX
                && member.peer_address.len() <= LABEL_BYTES_MAX
        });
    if !whole {
        return Err("its certificate is malformed".into());
    }
    let base = wire.base.map(base_from_wire).transpose()?;
    let members = wire.members.into_iter().map(|member| CertifiedMember {
        id: ReplicaId(member.replica),
        incarnation: member.incarnation,
        client_address: member.client_address,
        peer_address: member.peer_address,
    });
    Ok(Certificate {
        cell_id: CellId(wire.cell_id),
        cell_name: wire.cell_name,
        token_floor: FencingToken(wire.token_floor),
        members: members.collect(),
        base,
    })
}

fn digest(bytes: &[u8]) -> Result<u128, String> {
    let whole = bytes.try_into().map(u128::from_be_bytes);
    whole.map_err(|_| "it names no digest of what the cell is restored from".to_owned())
}

fn wire_digest(digest: u128) -> Vec<u8> {
    digest.to_be_bytes().to_vec()
}

fn base_from_wire(wire: BirthBase) -> Result<CertifiedBase, String> {
    Ok(CertifiedBase {
        source: digest(&wire.source)?,
        state: digest(&wire.state)?,
    })
}

/// Writes a certificate for the wire.
pub(super) fn certificate_to_wire(certificate: &Certificate) -> BirthCertificate {
    let members = certificate.members.iter().map(|member| BirthMember {
        replica: member.id.0,
        incarnation: member.incarnation,
        client_address: member.client_address.clone(),
        peer_address: member.peer_address.clone(),
    });
    BirthCertificate {
        cell_id: certificate.cell_id.0,
        cell_name: certificate.cell_name.clone(),
        token_floor: certificate.token_floor.0,
        members: members.collect(),
        base: certificate.base.map(|base| BirthBase {
            source: wire_digest(base.source).into(),
            state: wire_digest(base.state).into(),
        }),
    }
}

/// Returns a number by which two member tables can be told apart: it guards against mistakes of
/// people, not against malice.
pub(super) fn fingerprint(members: &[MemberAddress]) -> u64 {
    let mut text = String::new();
    for member in members {
        text.push_str(&format!(
            "{}={},{}\n",
            member.id, member.client, member.peer
        ));
    }
    let low = crc32c::crc32c(text.as_bytes());
    let high = crc32c::crc32c_append(low, b"members");
    (u64::from(high) << 32) | u64::from(low)
}
