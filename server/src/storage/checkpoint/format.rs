//! The bytes of a checkpoint file.
//!
//! ```text
//! file   = header, chunk records, end record
//! header = magic 8 | version 4 | length 4 | checksum 4 | meta
//! record = checksum 4 | kind 1 | table 1 | rows 4 | length 4 | body
//! ```
//!
//! All numbers are little-endian. The header's checksum covers everything else of the header; its
//! place, the magic and the version stay as they are in every format to come. A record's checksum is
//! a CRC32C over everything behind it, seeded with the checksum before: a record that is whole but
//! stands in another place, or comes from another checkpoint, does not fit. The end record holds an
//! XXH3 of all bytes before it, and the counts of chunks and rows; nothing may follow it.
//!
//! Reading must never panic, trust a length, or allocate more than the named bounds by what the
//! bytes say.

use super::{CheckpointMeta, damage};
use cotter_cell::Chunk;
use crc32c::{crc32c, crc32c_append};

/// Version of the format that this program writes.
pub const CHECKPOINT_FORMAT_VERSION: u32 = 1;
/// Bytes of a header before the meta.
pub(super) const HEADER_BYTES: usize = 20;
/// Most bytes of an encoded meta.
pub(super) const META_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of a record before its body.
pub(super) const RECORD_BYTES: usize = 14;
/// Most bytes of a record's body: a chunk of the usual size with one largest row behind it, amply.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Bytes of the end record's body.
const END_BYTES: usize = 32;

const MAGIC: &[u8; 8] = b"COTTERCP";
const CHECKSUM_BYTES: usize = 4;
const CHUNK: u8 = 1;
const END: u8 = 2;

/// Why the beginning of a file is not that of a checkpoint of this format.
#[derive(Debug)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    Version(u32),
}

/// The fixed part of a header, as far as it can be believed before the meta is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderStart {
    pub(super) meta_bytes: usize,
    version: u32,
    checksum: u32,
    covered: u32,
}

/// Writes a header; returns it with its checksum, or nothing if the meta is too large.
pub(super) fn encode_header(meta: &CheckpointMeta) -> Option<(Vec<u8>, u32)> {
    let body = postcard::to_stdvec(meta).ok()?;
    if body.len() > META_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&CHECKPOINT_FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let checksum = crc32c_append(crc32c(&bytes), &body);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&body);
    Some((bytes, checksum))
}

/// Reads the fixed part of a header.
pub(super) fn decode_header_start(bytes: &[u8; HEADER_BYTES]) -> Result<HeaderStart, HeaderFault> {
    if &bytes[..8] != MAGIC {
        return Err(HeaderFault::Damaged("it does not begin as a checkpoint"));
    }
    let start = HeaderStart {
        version: u32_at(bytes, 8),
        meta_bytes: u32_at(bytes, 12) as usize,
        checksum: u32_at(bytes, 16),
        covered: crc32c(&bytes[..16]),
    };
    if start.meta_bytes > META_BYTES_MAX {
        return Err(HeaderFault::Damaged("its header's length is out of bounds"));
    }
    Ok(start)
}

/// Reads the meta behind the fixed part; returns it with the header's checksum.
pub(super) fn decode_meta(
    start: HeaderStart,
    body: &[u8],
) -> Result<(CheckpointMeta, u32), HeaderFault> {
    if crc32c_append(start.covered, body) != start.checksum {
        return Err(HeaderFault::Damaged("its header's checksum is wrong"));
    }
    // Only a header that is whole can be believed to be of a newer format.
    if start.version != CHECKPOINT_FORMAT_VERSION {
        return Err(HeaderFault::Version(start.version));
    }
    match postcard::take_from_bytes(body) {
        Ok((meta, [])) => Ok((meta, start.checksum)),
        _ => Err(HeaderFault::Damaged("its header is malformed")),
    }
}

/// What the end record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) digest: u128,
    pub(super) chunks: u64,
    pub(super) rows: u64,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordStart {
    pub(super) body_bytes: usize,
    bytes: [u8; RECORD_BYTES],
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Record {
    Chunk(Chunk),
    End(End),
}

/// Writes a chunk's record behind `previous` into `out`, in place of what was there; returns its
/// checksum.
pub(super) fn encode_chunk(chunk: &Chunk, previous: u32, out: &mut Vec<u8>) -> u32 {
    encode(CHUNK, chunk.table, chunk.rows, &chunk.bytes, previous, out)
}

/// Writes the end record behind `previous` into `out`, in place of what was there.
pub(super) fn encode_end(end: End, previous: u32, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(END_BYTES);
    body.extend_from_slice(&end.digest.to_le_bytes());
    body.extend_from_slice(&end.chunks.to_le_bytes());
    body.extend_from_slice(&end.rows.to_le_bytes());
    encode(END, 0, 0, &body, previous, out);
}

fn encode(kind: u8, table: u8, rows: u32, body: &[u8], previous: u32, out: &mut Vec<u8>) -> u32 {
    out.clear();
    out.resize(CHECKSUM_BYTES, 0);
    out.push(kind);
    out.push(table);
    out.extend_from_slice(&rows.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    let checksum = crc32c_append(previous, &out[CHECKSUM_BYTES..]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// Reads the fixed part of a record.
pub(super) fn decode_record_start(
    bytes: [u8; RECORD_BYTES],
) -> Result<RecordStart, damage::Reason> {
    let start = RecordStart {
        body_bytes: u32_at(&bytes, 10) as usize,
        bytes,
    };
    match start.body_bytes > BODY_BYTES_MAX {
        true => Err("a record's length is out of bounds"),
        false => Ok(start),
    }
}

/// Reads a record with its body; returns it with its checksum.
pub(super) fn decode_record(
    start: RecordStart,
    body: Vec<u8>,
    previous: u32,
) -> Result<(Record, u32), damage::Reason> {
    let bytes = &start.bytes;
    let checksum = u32_at(bytes, 0);
    if crc32c_append(crc32c_append(previous, &bytes[CHECKSUM_BYTES..]), &body) != checksum {
        return Err("a record's checksum is wrong, or it does not follow the one before");
    }
    let record = match bytes[4] {
        CHUNK => Record::Chunk(Chunk {
            table: bytes[5],
            rows: u32_at(bytes, 6),
            bytes: body,
        }),
        END => Record::End(decode_end(&body).ok_or("the end record is malformed")?),
        _ => return Err("a record is of an unknown kind"),
    };
    Ok((record, checksum))
}

fn decode_end(body: &[u8]) -> Option<End> {
    if body.len() != END_BYTES {
        return None;
    }
    Some(End {
        digest: u128::from_le_bytes(*body.first_chunk()?),
        chunks: u64::from_le_bytes(*body[16..].first_chunk()?),
        rows: u64::from_le_bytes(*body[24..].first_chunk()?),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | u32::from(*byte))
}
