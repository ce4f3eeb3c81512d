//! `refusal.proto`.

use crate::status::Unknown;
use crate::v1;
use crate::wire::{WireError, missing};
use cotter_types::{Refusal, ReplicaId, RequestNumber, SessionId, Unavailable};

impl From<Refusal> for v1::Refusal {
    fn from(refusal: Refusal) -> Self {
        use v1::refusal as w;
        let text = refusal.to_string();
        let kind = match refusal {
            Refusal::NotFound { path } => w::Kind::NotFound(w::NotFound { path }),
            Refusal::AlreadyExists { path } => w::Kind::AlreadyExists(w::AlreadyExists { path }),
            Refusal::Changed {
                path,
                content_generation,
                instance,
            } => w::Kind::Changed(w::Changed {
                path,
                content_generation,
                instance,
            }),
            Refusal::HasChildren { path, children } => {
                w::Kind::HasChildren(w::HasChildren { path, children })
            }
            Refusal::TooManyNodes { path, limit } => {
                w::Kind::TooManyNodes(w::TooManyNodes { path, limit })
            }
            Refusal::EphemeralParent { path } => {
                w::Kind::EphemeralParent(w::EphemeralParent { path })
            }
            Refusal::NotEphemeral { path } => w::Kind::NotEphemeral(w::NotEphemeral { path }),
            Refusal::IsRoot { path } => w::Kind::IsRoot(w::IsRoot { path }),
            Refusal::LockInUse { path } => w::Kind::LockInUse(w::LockInUse { path }),
            Refusal::Held {
                path,
                session,
                holder,
            } => w::Kind::Held(w::Held {
                path,
                session: session.0,
                holder,
            }),
            Refusal::LockDelayed { path, left_ms } => {
                w::Kind::LockDelayed(w::LockDelayed { path, left_ms })
            }
            Refusal::WaitTimeout { path, waited_ms } => {
                w::Kind::WaitTimeout(w::WaitTimeout { path, waited_ms })
            }
            Refusal::Cancelled => w::Kind::Cancelled(w::Cancelled {}),
            Refusal::NotHeld { path, number } => w::Kind::NotHeld(w::NotHeld {
                path,
                number: number.0,
            }),
            Refusal::OtherCell { path, cell } => w::Kind::OtherCell(w::OtherCell { path, cell }),
            Refusal::NoSession { session } => {
                w::Kind::NoSession(w::NoSession { session: session.0 })
            }
            Refusal::Acknowledged { number } => {
                w::Kind::Acknowledged(w::Acknowledged { number: number.0 })
            }
            Refusal::Limit { what, limit } => w::Kind::Limit(w::Limit { what, limit }),
            Refusal::Invalid { what } => w::Kind::Invalid(w::Invalid { what }),
            Refusal::TtlParent { path } => w::Kind::TtlParent(w::TtlParent { path }),
            Refusal::TransactionFailed {
                index,
                compare,
                reason,
            } => w::Kind::TransactionFailed(w::TransactionFailed {
                index,
                compare,
                reason,
            }),
            Refusal::LockEnded { path, expired } => {
                w::Kind::LockEnded(w::LockEnded { path, expired })
            }
            Refusal::UnknownLock => w::Kind::UnknownLock(w::UnknownLock {}),
            Refusal::RequestIdReused => w::Kind::RequestIdReused(w::RequestIdReused {}),
            Refusal::StaleSequencer { path, token } => {
                w::Kind::StaleSequencer(w::StaleSequencer { path, token })
            }
            Refusal::NotAdministered { why } => {
                w::Kind::NotAdministered(w::NotAdministered { why })
            }
        };
        Self {
            text,
            kind: Some(kind),
        }
    }
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = WireError;

    fn try_from(message: v1::Refusal) -> Result<Self, WireError> {
        use v1::refusal as w;
        Ok(match message.kind.ok_or_else(|| missing("Refusal.kind"))? {
            w::Kind::NotFound(w::NotFound { path }) => Self::NotFound { path },
            w::Kind::AlreadyExists(w::AlreadyExists { path }) => Self::AlreadyExists { path },
            w::Kind::Changed(w::Changed {
                path,
                content_generation,
                instance,
            }) => Self::Changed {
                path,
                content_generation,
                instance,
            },
            w::Kind::HasChildren(w::HasChildren { path, children }) => {
                Self::HasChildren { path, children }
            }
            w::Kind::TooManyNodes(w::TooManyNodes { path, limit }) => {
                Self::TooManyNodes { path, limit }
            }
            w::Kind::EphemeralParent(w::EphemeralParent { path }) => Self::EphemeralParent { path },
            w::Kind::NotEphemeral(w::NotEphemeral { path }) => Self::NotEphemeral { path },
            w::Kind::IsRoot(w::IsRoot { path }) => Self::IsRoot { path },
            w::Kind::LockInUse(w::LockInUse { path }) => Self::LockInUse { path },
            w::Kind::Held(w::Held {
                path,
                session,
                holder,
            }) => Self::Held {
                path,
                session: SessionId(session),
                holder,
            },
            w::Kind::LockDelayed(w::LockDelayed { path, left_ms }) => {
                Self::LockDelayed { path, left_ms }
            }
            w::Kind::WaitTimeout(w::WaitTimeout { path, waited_ms }) => {
                Self::WaitTimeout { path, waited_ms }
            }
            w::Kind::Cancelled(w::Cancelled {}) => Self::Cancelled,
            w::Kind::NotHeld(w::NotHeld { path, number }) => Self::NotHeld {
                path,
                number: RequestNumber(number),
            },
            w::Kind::OtherCell(w::OtherCell { path, cell }) => Self::OtherCell { path, cell },
            w::Kind::NoSession(w::NoSession { session }) => Self::NoSession {
                session: SessionId(session),
            },
            w::Kind::Acknowledged(w::Acknowledged { number }) => Self::Acknowledged {
                number: RequestNumber(number),
            },
            w::Kind::Limit(w::Limit { what, limit }) => Self::Limit { what, limit },
            w::Kind::Invalid(w::Invalid { what }) => Self::Invalid { what },
            w::Kind::TtlParent(w::TtlParent { path }) => Self::TtlParent { path },
            w::Kind::TransactionFailed(w::TransactionFailed {
                index,
                compare,
                reason,
            }) => Self::TransactionFailed {
                index,
                compare,
                reason,
            },
            w::Kind::LockEnded(w::LockEnded { path, expired }) => Self::LockEnded { path, expired },
            w::Kind::UnknownLock(w::UnknownLock {}) => Self::UnknownLock,
            w::Kind::RequestIdReused(w::RequestIdReused {}) => Self::RequestIdReused,
            w::Kind::StaleSequencer(w::StaleSequencer { path, token }) => {
                Self::StaleSequencer { path, token }
            }
            w::Kind::NotAdministered(w::NotAdministered { why }) => Self::NotAdministered { why },
        })
    }
}

impl From<Unavailable> for v1::Unavailable {
    fn from(unavailable: Unavailable) -> Self {
        use v1::unavailable as w;
        let text = unavailable.to_string();
        let kind = match unavailable {
            Unavailable::NotMaster { master, address } => w::Kind::NotMaster(w::NotMaster {
                master: master.map(|id| id.0),
                address,
            }),
            Unavailable::Overloaded { retry_after_ms } => {
                w::Kind::Overloaded(w::Overloaded { retry_after_ms })
            }
            Unavailable::DiskFull => w::Kind::DiskFull(w::DiskFull {}),
            Unavailable::Condemned => w::Kind::Condemned(w::Condemned {}),
        };
        Self {
            text,
            kind: Some(kind),
        }
    }
}

impl TryFrom<v1::Unavailable> for Unavailable {
    type Error = WireError;

    fn try_from(message: v1::Unavailable) -> Result<Self, WireError> {
        use v1::unavailable as w;
        Ok(
            match message.kind.ok_or_else(|| missing("Unavailable.kind"))? {
                w::Kind::NotMaster(w::NotMaster { master, address }) => Self::NotMaster {
                    master: master.map(ReplicaId),
                    address,
                },
                w::Kind::Overloaded(w::Overloaded { retry_after_ms }) => {
                    Self::Overloaded { retry_after_ms }
                }
                w::Kind::DiskFull(w::DiskFull {}) => Self::DiskFull,
                w::Kind::Condemned(w::Condemned {}) => Self::Condemned,
            },
        )
    }
}

impl From<Unknown> for v1::Unknown {
    fn from(unknown: Unknown) -> Self {
        Self {
            text: unknown.to_string(),
            repeatable: unknown.repeatable,
            late: unknown.late,
        }
    }
}

impl From<v1::Unknown> for Unknown {
    fn from(message: v1::Unknown) -> Self {
        Self {
            repeatable: message.repeatable,
            late: message.late,
        }
    }
}
