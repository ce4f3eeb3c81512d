//! The bytes of one record of the log.
//!
//! ```text
//! checksum 4 | previous 4 | length 4 | kind 1 | sequence 8 | flushed 8 | body
//! ```
//!
//! All numbers are little-endian. The checksum is a CRC32C over everything behind it, seeded with
//! the checksum of the record before, so that a block which is whole but stale or misplaced does
//! not fit; `previous` repeats that seed, so that a record can be recognised behind a damaged one.
//! The seed is mixed with a salt made of the log's identity: contents that a client chose cannot
//! pose as a record. `flushed` is the sequence below which everything was durable when the record
//! was written: it is what tells a damaged record from one that was never finished.
//!
//! Reading must never panic, trust a length, or allocate by what the bytes say.

use crc32c::crc32c_append;

/// Bytes before a record's body.
pub(super) const HEADER_BYTES: usize = 29;
/// Largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;

const CHECKSUM_BYTES: usize = 4;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the log stands at; begins each segment.
    State,
    /// The operations of one atomic write.
    Operations,
    /// Nothing: it is written after a sync for the sake of its `flushed`.
    Mark,
}

impl Kind {
    const fn tag(self) -> u8 {
        match self {
            Self::State => 1,
            Self::Operations => 2,
            Self::Mark => 3,
        }
    }

    const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::State),
            2 => Some(Self::Operations),
            3 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// Where a record stands: what has to fit its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Checksum of the record before.
    pub(super) previous: u32,
    /// The record's own number: dense over the whole log.
    pub(super) sequence: u64,
    /// Everything below this sequence was durable when the record was written.
    pub(super) flushed: u64,
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) link: Link,
    pub(super) kind: Kind,
    pub(super) checksum: u32,
    pub(super) body: &'a [u8],
}

impl Record<'_> {
    /// Returns the bytes of the whole record.
    pub(super) fn total_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

/// Appends a record to `out`, its body written by `body`, and returns its checksum.
pub(super) fn append(
    out: &mut Vec<u8>,
    salt: u32,
    link: Link,
    kind: Kind,
    body: impl FnOnce(&mut Vec<u8>),
) -> u32 {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    body(out);
    let length = out.len() - start - HEADER_BYTES;
    assert!(
        length <= BODY_BYTES_MAX,
        "a record of {length} bytes must not reach the log"
    );
    let header = &mut out[start..start + HEADER_BYTES];
    header[4..8].copy_from_slice(&link.previous.to_le_bytes());
    header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    header[12] = kind.tag();
    header[13..21].copy_from_slice(&link.sequence.to_le_bytes());
    header[21..29].copy_from_slice(&link.flushed.to_le_bytes());
    let checksum = crc32c_append(link.previous ^ salt, &out[start + CHECKSUM_BYTES..]);
    out[start..start + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// Reads the record at the beginning of `bytes`, if it is whole in itself. Whether it fits its
/// neighbours is for the caller to compare.
pub(super) fn read(bytes: &[u8], salt: u32) -> Result<Record<'_>, &'static str> {
    let header = bytes
        .get(..HEADER_BYTES)
        .ok_or("the segment ends within a record's header")?;
    let kind = Kind::from_tag(header[12]).ok_or("no record begins here")?;
    let length = number(&header[8..12]) as usize;
    if length > BODY_BYTES_MAX {
        return Err("a record's length is out of bounds");
    }
    let whole = bytes
        .get(..HEADER_BYTES + length)
        .ok_or("a record reaches past the segment's end")?;
    let link = Link {
        previous: number(&header[4..8]) as u32,
        sequence: number(&header[13..21]),
        flushed: number(&header[21..29]),
    };
    if link.flushed > link.sequence {
        return Err("a record claims that it was flushed before it was written");
    }
    let checksum = number(&header[..CHECKSUM_BYTES]) as u32;
    if crc32c_append(link.previous ^ salt, &whole[CHECKSUM_BYTES..]) != checksum {
        return Err("a record's checksum is wrong");
    }
    Ok(Record {
        link,
        kind,
        checksum,
        body: &whole[HEADER_BYTES..],
    })
}

/// Looks in `bytes` for records at any offset which prove that the record `sequence`, expected at
/// their beginning, had been durable; returns the offset and number of the first.
///
/// A record that was merely written behind an unfinished one proves nothing: a disk writes sectors
/// in the order it likes.
pub(super) fn find_proof_of_flush(bytes: &[u8], salt: u32, sequence: u64) -> Option<(usize, u64)> {
    let plausible = sequence..=sequence.saturating_add(bytes.len() as u64);
    (0..bytes.len().saturating_sub(HEADER_BYTES - 1)).find_map(|at| {
        let header = &bytes[at..at + HEADER_BYTES];
        Kind::from_tag(header[12])?;
        if !plausible.contains(&number(&header[13..21])) || number(&header[21..29]) <= sequence {
            return None;
        }
        let record = read(&bytes[at..], salt).ok()?;
        Some((at, record.link.sequence))
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}
