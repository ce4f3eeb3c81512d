//! Frames from hostile hands: bytes that are nearly a message, changed field by field.
//!
//! A valid encoding is taken apart into its fields, nested ones included, changed with a dictionary of
//! what decoders stumble over, and put together again, so that what is changed deep inside is still
//! reached. `COTTER_FUZZ_CASES` sets the number of cases (see `docs/TESTING.md`).

use super::values::Draw;
use crate::wire::WireError;
use crate::{peer, v1};
use cotter_types::{ClientFrame, ServerFrame};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use prost::Message;
use prost::encoding::{decode_varint, encode_varint};
use std::fmt::Debug;

/// Cases of each target when the environment does not say.
const CASES_DEFAULT: u32 = 4_096;

fn config() -> ProptestConfig {
    let cases = std::env::var("COTTER_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(CASES_DEFAULT),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// One field as it stands on the wire.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
    Fixed32(u32),
}

fn taken_apart(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = decode_varint(&mut bytes).ok()?;
        let body = match key & 7 {
            0 => Body::Varint(decode_varint(&mut bytes).ok()?),
            1 => {
                let (body, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Body::Fixed64(u64::from_le_bytes(*body))
            }
            2 => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (body, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Body::Bytes(body.to_vec())
            }
            5 => {
                let (body, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Body::Fixed32(u32::from_le_bytes(*body))
            }
            _ => return None,
        };
        let number = key >> 3;
        fields.push(Field { number, body });
    }
    Some(fields)
}

fn put_together(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        let key = |wire_type: u64, bytes: &mut Vec<u8>| {
            encode_varint(field.number << 3 | wire_type, bytes);
        };
        match &field.body {
            Body::Varint(value) => {
                key(0, &mut bytes);
                encode_varint(*value, &mut bytes);
            }
            Body::Fixed64(value) => {
                key(1, &mut bytes);
                bytes.extend(value.to_le_bytes());
            }
            Body::Bytes(body) => {
                key(2, &mut bytes);
                encode_varint(body.len() as u64, &mut bytes);
                bytes.extend(body);
            }
            Body::Fixed32(value) => {
                key(5, &mut bytes);
                bytes.extend(value.to_le_bytes());
            }
        }
    }
    bytes
}

/// Numbers at which something changes: limits, signs, kinds of enums.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    15,
    16,
    127,
    128,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    (1 << 53) - 1,
    1 << 53,
    1 << 63,
    u64::MAX,
];

fn number(draw: &mut Draw) -> u64 {
    match draw.below(4) {
        0 => draw.number(),
        _ => NUMBERS[draw.below(16) as usize],
    }
}

fn text(draw: &mut Draw) -> Vec<u8> {
    let texts: [&[u8]; 12] = [
        b"",
        b"/ls/local",
        b"/ls/local/a",
        b"/ls/local//a",
        b"/ls/main/..",
        b"/ls/",
        b"\xff\xfe",
        b"\0",
        b"0123456789abcdef",
        b"0123456789abcde",
        &[b'n'; 255],
        &[b'n'; 256],
    ];
    texts[draw.below(12) as usize].to_vec()
}

/// Changes one thing in a message, at any depth.
pub(super) fn changed(bytes: &[u8], draw: &mut Draw) -> Vec<u8> {
    let Some(mut fields) = taken_apart(bytes) else {
        return text(draw);
    };
    if fields.is_empty() || draw.below(12) == 0 {
        let body = match draw.below(3) {
            0 => Body::Varint(number(draw)),
            1 => Body::Fixed64(number(draw)),
            _ => Body::Bytes(text(draw)),
        };
        let number = draw.below(24);
        fields.push(Field { number, body });
        return put_together(&fields);
    }
    let at = draw.below(fields.len() as u64) as usize;
    match draw.below(10) {
        0 => {
            fields.remove(at);
        }
        1 => fields.push(fields[at].clone()),
        2 => fields.swap(0, at),
        3 => {
            fields[at].number =
                [0, 1, 2, 3, 4, 5, 18, 19_000, (1 << 29) - 1][draw.below(9) as usize]
        }
        _ => {
            fields[at].body = match fields[at].body.clone() {
                Body::Bytes(inner) if draw.below(5) > 0 => Body::Bytes(changed(&inner, draw)),
                Body::Bytes(_) if draw.below(3) == 0 => Body::Varint(number(draw)),
                Body::Bytes(_) => Body::Bytes(text(draw)),
                Body::Varint(_) if draw.below(8) == 0 => Body::Bytes(text(draw)),
                Body::Varint(_) => Body::Varint(number(draw)),
                Body::Fixed64(_) => Body::Fixed64(number(draw)),
                Body::Fixed32(_) => Body::Fixed32(number(draw) as u32),
            };
        }
    }
    put_together(&fields)
}

/// Changes some things in a message, and now and then the bytes themselves: lengths that lie, an end
/// that is missing, bytes that are no field at all.
pub(super) fn mutated(mut bytes: Vec<u8>, draw: &mut Draw) -> Vec<u8> {
    for _ in 0..=draw.below(3) {
        bytes = changed(&bytes, draw);
    }
    if bytes.is_empty() {
        return bytes;
    }
    let at = draw.below(bytes.len() as u64) as usize;
    match draw.below(12) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << draw.below(8),
        2 => {
            let mut huge = Vec::new();
            encode_varint(number(draw), &mut huge);
            bytes.splice(at..=at, huge);
        }
        3 => {
            // A group, which nobody has sent for twenty years, opened many times.
            bytes.splice(at..at, std::iter::repeat_n(0x0b, draw.below(300) as usize));
        }
        _ => {}
    }
    bytes
}

/// Checks what becomes of bytes: no message, an error that names its field, or a value that the wire
/// gives back: exactly, but for the text of a refusal, which is for people and written anew. Returns
/// whether it was a value.
fn judge<M, T>(bytes: &[u8], exact: bool) -> Result<bool, TestCaseError>
where
    M: Message + Clone + Debug + Default + From<T> + PartialEq,
    T: TryFrom<M, Error = WireError> + Clone + Debug + PartialEq,
{
    let Ok(message) = M::decode(bytes) else {
        return Ok(false);
    };
    match T::try_from(message.clone()) {
        Err(error) => {
            prop_assert!(error.field.contains('.'), "{:?}", error);
            Ok(false)
        }
        Ok(value) => {
            // Nothing was passed over, and nothing made up.
            if exact {
                prop_assert_eq!(M::from(value.clone()), message);
            }
            let bytes = M::from(value.clone()).encode_to_vec();
            let again = M::decode(bytes.as_slice()).map(T::try_from);
            prop_assert_eq!(again, Ok(Ok(value)));
            Ok(true)
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_mutated_client_frame_is_refused_or_means_what_it_says(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let bytes = v1::ClientFrame::from(draw.client_frame()).encode_to_vec();
        judge::<v1::ClientFrame, ClientFrame>(&mutated(bytes, &mut draw), true)?;
    }

    #[test]
    fn a_mutated_server_frame_is_refused_or_means_what_it_says(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let bytes = v1::ServerFrame::from(draw.server_frame()).encode_to_vec();
        judge::<v1::ServerFrame, ServerFrame>(&mutated(bytes, &mut draw), false)?;
    }

    #[test]
    fn a_mutated_batch_has_no_more_frames_than_its_bytes_allow(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let frames = (0..draw.below(5)).map(|_| draw.client_frame().into()).collect();
        let bytes = mutated(v1::ClientBatch { frames }.encode_to_vec(), &mut draw);
        if let Ok(batch) = v1::ClientBatch::decode(bytes.as_slice()) {
            prop_assert!(2 * batch.frames.len() <= bytes.len());
            for frame in batch.frames {
                judge::<v1::ClientFrame, ClientFrame>(&frame.encode_to_vec(), true)?;
            }
        }
    }

    #[test]
    fn mutated_messages_between_replicas_are_read_as_they_were_meant(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let envelope = peer::v1::PeerEnvelope {
            cell_id: draw.number(),
            sender: draw.number(),
            body: text(&mut draw).into(),
            ..peer::v1::PeerEnvelope::default()
        };
        let batch = peer::v1::PeerBatch { envelopes: vec![envelope; 2] };
        let message = peer::v1::LinkMessage {
            message: Some(peer::v1::link_message::Message::Batch(batch)),
        };
        let bytes = mutated(message.encode_to_vec(), &mut draw);
        if let Ok(message) = peer::v1::LinkMessage::decode(bytes.as_slice()) {
            let again = message.encode_to_vec();
            prop_assert_eq!(peer::v1::LinkMessage::decode(again.as_slice()), Ok(message));
        }
    }
}

/// The mutations would show nothing if all of them ended at the first look, or none.
#[test]
fn mutations_reach_the_conversions_and_pass_them_too() {
    let (mut decoded, mut accepted) = (0, 0);
    for seed in 0..2_000 {
        let mut draw = Draw(seed);
        let bytes = v1::ClientFrame::from(draw.client_frame()).encode_to_vec();
        let bytes = mutated(bytes, &mut draw);
        decoded += u32::from(v1::ClientFrame::decode(bytes.as_slice()).is_ok());
        let judged = judge::<v1::ClientFrame, ClientFrame>(&bytes, true);
        accepted += u32::from(judged.expect("a frame that is refused or whole"));
    }
    println!("{decoded} of 2000 were messages, {accepted} of them frames");
    assert!(decoded > 800 && accepted > 200, "{decoded}, {accepted}");
    assert!(accepted + 200 < decoded, "{decoded}, {accepted}");
}
