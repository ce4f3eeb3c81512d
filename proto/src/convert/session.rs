//! `session.proto`.

use crate::v1;
use crate::wire::{WireError, bounded, nonce, nonce_bytes, required, unknown};
use cotter_types::limits::LABEL_BYTES_MAX;
use cotter_types::{CellTime, EndReason, OpenSession, SessionId, SessionMetadata, SessionView};

/// Reads why a session ended.
pub(super) fn end_reason(value: i32, field: &'static str) -> Result<EndReason, WireError> {
    match v1::EndReason::try_from(value) {
        Ok(v1::EndReason::Closed) => Ok(EndReason::Closed),
        Ok(v1::EndReason::Expired) => Ok(EndReason::Expired),
        Ok(v1::EndReason::Unspecified) | Err(_) => Err(unknown(field, value)),
    }
}

impl From<EndReason> for v1::EndReason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Closed => Self::Closed,
            EndReason::Expired => Self::Expired,
        }
    }
}

impl From<SessionMetadata> for v1::SessionMetadata {
    fn from(metadata: SessionMetadata) -> Self {
        let SessionMetadata {
            name,
            host,
            pid,
            program,
        } = metadata;
        Self {
            name,
            host,
            pid,
            program,
        }
    }
}

impl TryFrom<v1::SessionMetadata> for SessionMetadata {
    type Error = WireError;

    fn try_from(message: v1::SessionMetadata) -> Result<Self, WireError> {
        let limit = LABEL_BYTES_MAX;
        Ok(Self {
            name: bounded(message.name, limit, "SessionMetadata.name")?,
            host: bounded(message.host, limit, "SessionMetadata.host")?,
            pid: message.pid,
            program: bounded(message.program, limit, "SessionMetadata.program")?,
        })
    }
}

impl From<OpenSession> for v1::OpenSession {
    fn from(open: OpenSession) -> Self {
        let OpenSession {
            nonce,
            lease_ms,
            metadata,
        } = open;
        Self {
            nonce: nonce_bytes(nonce),
            lease_ms,
            metadata: Some(metadata.into()),
        }
    }
}

impl TryFrom<v1::OpenSession> for OpenSession {
    type Error = WireError;

    fn try_from(message: v1::OpenSession) -> Result<Self, WireError> {
        Ok(Self {
            nonce: nonce(&message.nonce, "OpenSession.nonce")?,
            lease_ms: message.lease_ms,
            metadata: required(message.metadata, "OpenSession.metadata")?.try_into()?,
        })
    }
}

impl From<SessionView> for v1::SessionView {
    fn from(view: SessionView) -> Self {
        let SessionView {
            session,
            metadata,
            principal,
            lease_ms,
            opened,
            opened_wall_ms,
            locks,
            waits,
            lease_left_ms,
        } = view;
        Self {
            session: session.0,
            metadata: Some(metadata.into()),
            principal,
            lease_ms,
            opened_ms: opened.0,
            opened_wall_ms,
            locks,
            waits,
            lease_left_ms,
        }
    }
}

impl TryFrom<v1::SessionView> for SessionView {
    type Error = WireError;

    fn try_from(message: v1::SessionView) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(message.session),
            metadata: required(message.metadata, "SessionView.metadata")?.try_into()?,
            principal: message.principal,
            lease_ms: message.lease_ms,
            opened: CellTime(message.opened_ms),
            opened_wall_ms: message.opened_wall_ms,
            locks: message.locks,
            waits: message.waits,
            lease_left_ms: message.lease_left_ms,
        })
    }
}
