//! `locks.proto`.

use super::lock::mode;
use super::node::optional_lifetime;
use crate::v1;
use crate::wire::{WireError, path};
use cotter_types::{LeasedAcquire, LockMode, SessionMetadata, Wait};

impl TryFrom<v1::AcquireRequest> for LeasedAcquire {
    type Error = WireError;

    /// Reads what to acquire; the request id is read apart.
    fn try_from(message: v1::AcquireRequest) -> Result<Self, WireError> {
        let v1::AcquireRequest {
            path: text,
            request_id: _,
            mode: number,
            wait_ms,
            lease_ms,
            lock_delay_ms,
            create,
            create_ttl_ms,
            holder,
        } = message;
        Ok(Self {
            path: path(&text, "AcquireRequest.path")?,
            mode: match number {
                0 => LockMode::Exclusive,
                number => mode(number, "AcquireRequest.mode")?,
            },
            wait: match wait_ms {
                None => Wait::Forever,
                Some(0) => Wait::No,
                Some(ms) => Wait::Ms(ms),
            },
            lease_ms,
            lock_delay_ms,
            create: optional_lifetime(create, create_ttl_ms, "AcquireRequest.create")?,
            holder: match holder {
                Some(holder) => holder.try_into()?,
                None => SessionMetadata::default(),
            },
        })
    }
}
