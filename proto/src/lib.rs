//! The wire: generated messages and services, conversions to and from the pure types, and the one
//! mapping of refusals to gRPC statuses.
//!
//! The pure crates know nothing of protobuf. Here every message becomes a checked value of
//! `cotter-types` (`TryFrom`, strict: what is missing, unknown, too long or malformed is a
//! [`WireError`] that names the field), and every value becomes a message (`From`, which cannot
//! fail). What has been decoded may be trusted to be well-formed; whether it may be *done* is decided
//! elsewhere.
//!
//! This crate must never decide anything about locks or sessions, and decoding must never panic,
//! whatever the bytes.

mod convert;
pub mod status;
mod wire;

pub use wire::{WireError, WireProblem};

/// Generated from `proto/cotter/v1`: what clients speak.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        reason = "generated code"
    )]
    tonic::include_proto!("cotter.v1");
}

/// What replicas speak to each other.
pub mod peer {
    /// Generated from `proto/cotter/peer/v1`.
    pub mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            reason = "generated code"
        )]
        tonic::include_proto!("cotter.peer.v1");
    }
}

/// The encoded `FileDescriptorSet` of every `.proto` file of this crate, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/cotter_descriptors.bin"));

/// The version of the client protocol that `Hello` must name.
pub const PROTOCOL_VERSION: u32 = 1;
