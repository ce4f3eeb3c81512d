//! Every frame survives the wire; nothing that comes from it can make the decoder panic.

mod mutated;
mod values;

use self::values::Draw;
use crate::v1;
use crate::wire::{WireError, WireProblem};
use cotter_types::limits::{ACKNOWLEDGED_RANGES_MAX, LABEL_BYTES_MAX};
use cotter_types::{
    Acknowledged, ClientFrame, LockMode, Mutation, Nonce, OpenSession, Refusal, ServerFrame,
    SessionMetadata,
};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{collection, prop_assert_eq, sample};
use prost::Message;

fn client_over_the_wire(frame: ClientFrame) -> Result<ClientFrame, WireError> {
    let bytes = v1::ClientFrame::from(frame).encode_to_vec();
    v1::ClientFrame::decode(bytes.as_slice())
        .unwrap()
        .try_into()
}

fn server_over_the_wire(frame: ServerFrame) -> Result<ServerFrame, WireError> {
    let bytes = v1::ServerFrame::from(frame).encode_to_vec();
    v1::ServerFrame::decode(bytes.as_slice())
        .unwrap()
        .try_into()
}

/// Decodes as far as the bytes allow.
fn decode_both(bytes: &[u8]) {
    if let Ok(batch) = v1::ClientBatch::decode(bytes) {
        for frame in batch.frames {
            let _ = ClientFrame::try_from(frame);
        }
    }
    if let Ok(batch) = v1::ServerBatch::decode(bytes) {
        for frame in batch.frames {
            let _ = ServerFrame::try_from(frame);
        }
    }
    if let Ok(frame) = v1::ClientFrame::decode(bytes) {
        let _ = ClientFrame::try_from(frame);
    }
    if let Ok(frame) = v1::ServerFrame::decode(bytes) {
        let _ = ServerFrame::try_from(frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_client_frame_survives_the_wire(seed in any::<u64>()) {
        let frame = Draw(seed).client_frame();
        prop_assert_eq!(client_over_the_wire(frame.clone()), Ok(frame));
    }

    #[test]
    fn every_server_frame_survives_the_wire(seed in any::<u64>()) {
        let frame = Draw(seed).server_frame();
        prop_assert_eq!(server_over_the_wire(frame.clone()), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..512)) {
        decode_both(&bytes);
    }

    #[test]
    fn damaged_client_frames_never_panic(
        seed in any::<u64>(),
        damage in collection::vec((any::<sample::Index>(), any::<u8>()), 1..8),
        keep in any::<sample::Index>(),
    ) {
        let frame = Draw(seed).client_frame();
        damaged(v1::ClientFrame::from(frame).encode_to_vec(), &damage, keep);
    }

    #[test]
    fn damaged_server_frames_never_panic(
        seed in any::<u64>(),
        damage in collection::vec((any::<sample::Index>(), any::<u8>()), 1..8),
        keep in any::<sample::Index>(),
    ) {
        let frame = Draw(seed).server_frame();
        damaged(v1::ServerFrame::from(frame).encode_to_vec(), &damage, keep);
    }
}

/// Decodes a frame with some bytes replaced, and the same cut short.
fn damaged(mut bytes: Vec<u8>, damage: &[(sample::Index, u8)], keep: sample::Index) {
    if bytes.is_empty() {
        return;
    }
    for (at, byte) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    decode_both(&bytes);
    bytes.truncate(keep.index(bytes.len()));
    decode_both(&bytes);
}

#[test]
fn frame_of_no_known_kind_is_named() {
    let error = ClientFrame::try_from(v1::ClientFrame { frame: None }).unwrap_err();
    assert_eq!(error.field, "ClientFrame.frame");
    assert_eq!(error.problem, WireProblem::Missing);
    let error = ServerFrame::try_from(v1::ServerFrame { frame: None }).unwrap_err();
    assert_eq!(error.field, "ServerFrame.frame");
}

#[test]
fn unspecified_mode_of_an_acquire_is_refused() {
    let mut acquire = v1::Acquire {
        path: "/ls/local/a".to_owned(),
        mode: v1::LockMode::from(LockMode::Shared).into(),
        wait: Some(cotter_types::Wait::No.into()),
        ..v1::Acquire::default()
    };
    assert!(cotter_types::Acquire::try_from(acquire.clone()).is_ok());
    for mode in [0, 3, -1, i32::MAX] {
        acquire.mode = mode;
        let error = cotter_types::Acquire::try_from(acquire.clone()).unwrap_err();
        assert_eq!(error.field, "Acquire.mode");
        assert_eq!(error.problem, WireProblem::UnknownValue(mode));
    }
}

#[test]
fn time_to_live_of_another_lifetime_is_refused() {
    let create = |lifetime: v1::Lifetime, ttl_ms| v1::Create {
        path: "/ls/local/a".to_owned(),
        lifetime: lifetime.into(),
        ttl_ms,
        ..v1::Create::default()
    };
    assert!(cotter_types::Create::try_from(create(v1::Lifetime::Ttl, 5_000)).is_ok());
    for lifetime in [v1::Lifetime::Permanent, v1::Lifetime::Ephemeral] {
        assert!(cotter_types::Create::try_from(create(lifetime, 0)).is_ok());
        let error = cotter_types::Create::try_from(create(lifetime, 5_000)).unwrap_err();
        assert_eq!(error.field, "Create.lifetime");
    }
}

#[test]
fn sequential_creation_that_is_exclusive_is_refused() {
    let mut create = v1::Create {
        path: "/ls/local/a".to_owned(),
        lifetime: v1::Lifetime::Permanent.into(),
        sequential: true,
        ..v1::Create::default()
    };
    let read = |create: &v1::Create| {
        Mutation::try_from(v1::Mutation {
            mutation: Some(v1::mutation::Mutation::Create(create.clone())),
        })
    };
    assert!(matches!(read(&create), Ok(Mutation::CreateSequential(_))));
    create.exclusive = true;
    assert_eq!(read(&create).unwrap_err().field, "Create.exclusive");
}

#[test]
fn compare_and_operation_of_no_known_kind_are_named() {
    let compare = v1::Compare {
        path: "/ls/local/a".to_owned(),
        condition: None,
    };
    let error = cotter_types::Compare::try_from(compare).unwrap_err();
    assert_eq!(error.field, "Compare.condition");
    let operation = v1::NodeOperation { operation: None };
    let error = cotter_types::NodeOperation::try_from(operation).unwrap_err();
    assert_eq!(error.field, "NodeOperation.operation");
}

#[test]
fn acquire_without_a_wait_is_refused() {
    let acquire = v1::Acquire {
        path: "/ls/local/a".to_owned(),
        mode: 1,
        ..v1::Acquire::default()
    };
    let error = cotter_types::Acquire::try_from(acquire).unwrap_err();
    assert_eq!(error.field, "Acquire.wait");
}

#[test]
fn bad_path_is_refused_with_its_rule() {
    for bad in [
        "",
        "/",
        "/ls",
        "/ls/",
        "/ls/local/",
        "/ls/local//a",
        "/ls/local/..",
    ] {
        let set = v1::Set {
            path: bad.to_owned(),
            ..v1::Set::default()
        };
        let error = cotter_types::Set::try_from(set).unwrap_err();
        assert_eq!(error.field, "Set.path", "{bad:?}");
        assert!(matches!(error.problem, WireProblem::Path(_)), "{error}");
    }
}

#[test]
fn over_long_label_is_refused() {
    let open = |length| OpenSession {
        nonce: Nonce(7),
        lease_ms: 0,
        metadata: SessionMetadata {
            host: "h".repeat(length),
            ..SessionMetadata::default()
        },
    };
    let longest = ClientFrame::Open(open(LABEL_BYTES_MAX));
    assert_eq!(client_over_the_wire(longest.clone()), Ok(longest));
    let error = client_over_the_wire(ClientFrame::Open(open(LABEL_BYTES_MAX + 1))).unwrap_err();
    assert_eq!(error.field, "SessionMetadata.host");
}

#[test]
fn nonce_of_another_length_is_refused() {
    for length in [0, 15, 17] {
        let open = v1::OpenSession {
            nonce: vec![1; length].into(),
            lease_ms: 0,
            metadata: Some(v1::SessionMetadata::default()),
        };
        let error = OpenSession::try_from(open).unwrap_err();
        assert_eq!(error.field, "OpenSession.nonce");
    }
}

#[test]
fn acknowledged_ranges_out_of_order_are_refused() {
    let read = |floor, ranges: &[(u64, u64)]| {
        let above = ranges
            .iter()
            .map(|&(first, last)| v1::acknowledged::Range { first, last })
            .collect();
        Acknowledged::try_from(v1::Acknowledged { floor, above })
    };
    assert!(read(2, &[(4, 4), (6, 9)]).is_ok());
    assert!(read(u64::MAX, &[]).is_ok());
    for bad in [
        &[(2, 3)][..],
        &[(4, 3)],
        &[(4, 6), (6, 7)],
        &[(8, 9), (4, 5)],
    ] {
        assert_eq!(read(2, bad).unwrap_err().field, "Acknowledged.above");
    }
    let many: Vec<_> = (1..=ACKNOWLEDGED_RANGES_MAX as u64 + 1)
        .map(|n| (10 * n, 10 * n))
        .collect();
    let problem = read(2, &many).unwrap_err().problem;
    assert!(matches!(problem, WireProblem::TooMany { .. }), "{problem}");
}

#[test]
fn token_beyond_its_limit_is_refused() {
    let sequencer = v1::Sequencer {
        path: "/ls/cell/a".to_owned(),
        mode: 1,
        token: 1 << 53,
        instance: 1,
        lock_generation: 1,
    };
    let error = cotter_types::Sequencer::try_from(sequencer).unwrap_err();
    assert_eq!(error.field, "Sequencer.token");
}

#[test]
fn refusal_travels_with_its_text() {
    let message = v1::Refusal::from(Refusal::Cancelled);
    assert_eq!(message.text, "the acquire was cancelled");
}
