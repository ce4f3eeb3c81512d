//! Names and headers of segments.
//!
//! ```text
//! magic 8 | version 4 | zero 4 | cell 8 | chapter 8 | incarnation 8 | number 8
//! | first sequence 8 | previous checksum 4 | checksum 4
//! ```
//!
//! Magic, version, the length of 64 bytes and the place of the checksum stay as they are in every
//! format to come, so that an older daemon can say that the log is newer than it.

use super::log_settings::LogIdentity;
use cotter_types::CellId;
use crc32c::crc32c;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// Version of the format that this daemon writes and reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Name of the segment that is allocated ahead.
pub(super) const RESERVED_NAME: &str = "reserved";

const MAGIC: &[u8; 8] = b"COTTERLG";
const NAME_PREFIX: &str = "segment-";

/// Returns the name of the segment `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("{NAME_PREFIX}{number:08}")
}

/// Returns the number of the segment `name`, if it names one.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(NAME_PREFIX)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) identity: LogIdentity,
    pub(super) number: u64,
    pub(super) first_sequence: u64,
    pub(super) previous_checksum: u32,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    Version(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.cell_id.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.chapter.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.identity.incarnation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.number.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.previous_checksum.to_le_bytes());
        let checksum = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let header = bytes
            .get(..SEGMENT_HEADER_BYTES)
            .ok_or(HeaderFault::Damaged(
                "the segment is shorter than its header",
            ))?;
        if &header[..8] != MAGIC {
            return Err(HeaderFault::Damaged("the segment does not begin as one"));
        }
        if crc32c(&header[..60]).to_le_bytes() != header[60..] {
            return Err(HeaderFault::Damaged(
                "the checksum of the segment's header is wrong",
            ));
        }
        let version = number(&header[8..12]) as u32;
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        Ok(Self {
            identity: LogIdentity {
                cell_id: CellId(number(&header[16..24])),
                chapter: number(&header[24..32]),
                incarnation: number(&header[32..40]),
            },
            number: number(&header[40..48]),
            first_sequence: number(&header[48..56]),
            previous_checksum: number(&header[56..60]) as u32,
        })
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}
