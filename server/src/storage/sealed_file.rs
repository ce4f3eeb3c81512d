//! Small files that are replaced as a whole and checked as a whole.
//!
//! ```text
//! magic 8 | version 4 | length 4 | checksum 4 | body
//! ```
//!
//! A new version is written aside, synced, given the name of the old one, and the directory synced:
//! at each moment one whole version is there. Magic, version and the checksum's place stay as they
//! are in every format to come.

use super::Files;
use crc32c::{crc32c, crc32c_append};
use std::io;

/// Version of the format of everything in a data directory but the log's segments.
pub(super) const DIRECTORY_FORMAT_VERSION: u32 = 1;
/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1_024;
const HEADER_BYTES: usize = 20;
const MAGIC: &[u8; 8] = b"COTTERDD";
const ASIDE_SUFFIX: &str = ".new";

/// Why a sealed file cannot be used.
#[derive(Debug)]
pub(super) enum SealedFault {
    Damaged(&'static str),
    Version(u32),
    Disk(io::Error),
}

impl From<io::Error> for SealedFault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Reads a sealed file's body; `None` when there is no such file.
pub(super) fn read_sealed<F: Files>(files: &F, name: &str) -> Result<Option<Vec<u8>>, SealedFault> {
    let file = match files.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    files.sync_data(&file)?;
    let length = files.length(&file)?;
    if length > (HEADER_BYTES + BODY_BYTES_MAX) as u64 {
        return Err(SealedFault::Damaged("it is longer than it can be"));
    }
    let mut bytes = vec![0; length as usize];
    files.read_exact_at(&file, 0, &mut bytes)?;
    unseal(name, &bytes).map(Some)
}

/// Replaces a sealed file, durably.
pub(super) fn write_sealed<F: Files>(files: &F, name: &str, body: &[u8]) -> io::Result<()> {
    let bytes = seal(name, body)?;
    let aside = format!("{name}{ASIDE_SUFFIX}");
    match files.remove(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&aside)?;
    files.write_at(&file, 0, &bytes)?;
    files.sync_data(&file)?;
    files.rename(&aside, name)?;
    files.sync_directory()
}

fn seal(name: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    if body.len() > BODY_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&DIRECTORY_FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(name, &bytes, body).to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn unseal(name: &str, bytes: &[u8]) -> Result<Vec<u8>, SealedFault> {
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(SealedFault::Damaged("it is shorter than its header"));
    };
    let number = |at: usize| {
        header[at..at + 4]
            .iter()
            .rev()
            .fold(0, |value: u32, byte| (value << 8) | u32::from(*byte))
    };
    if &header[..8] != MAGIC {
        return Err(SealedFault::Damaged("it does not begin as such a file"));
    }
    if checksum(name, &header[..16], body) != number(16) {
        return Err(SealedFault::Damaged("its checksum is wrong"));
    }
    if number(8) != DIRECTORY_FORMAT_VERSION {
        return Err(SealedFault::Version(number(8)));
    }
    if number(12) as usize != body.len() {
        return Err(SealedFault::Damaged("its length is wrong"));
    }
    Ok(body.to_vec())
}

/// The name is part of the sum, so that one file cannot pass for another.
fn checksum(name: &str, header: &[u8], body: &[u8]) -> u32 {
    crc32c_append(crc32c_append(crc32c(name.as_bytes()), header), body)
}
