//! The segment that is allocated ahead, and how it becomes one of the log.
//!
//! A segment's beginning is written while it is still called `reserved`, and is durable before it
//! gets its number; so a numbered segment without a sound beginning is damaged, never unfinished.

use super::Files;
use super::entry_index::EntryIndex;
use super::operation::encode_state;
use super::record::{self, Kind, Link};
use super::segment::{RESERVED_NAME, SegmentHeader, segment_name};
use std::io;

/// Writes the beginning of a segment into a file allocated for it, and gives it its name, durably.
/// Returns where its next record goes, and the checksum that record follows.
pub(super) fn begin_segment<F: Files>(
    files: &F,
    file: &F::File,
    header: &SegmentHeader,
    index: &EntryIndex,
) -> io::Result<(u64, u32)> {
    if header.number > u64::from(u32::MAX) {
        return Err(io::Error::other("the log has too many segments"));
    }
    let mut bytes = header.encode().to_vec();
    let link = Link {
        previous: header.previous_checksum,
        sequence: header.first_sequence,
        flushed: header.first_sequence,
    };
    let state = index.state();
    let salt = header.identity.salt();
    let checksum = record::append(&mut bytes, salt, link, Kind::State, |out| {
        encode_state(&state, out)
    });
    files.write_at(file, 0, &bytes)?;
    files.sync_data(file)?;
    files.rename(RESERVED_NAME, &segment_name(header.number))?;
    files.sync_directory()?;
    Ok((bytes.len() as u64, checksum))
}

/// Allocates the next segment, durably; `None` when there is no room.
pub(super) fn reserve<F: Files>(files: &F, segment_bytes: u64) -> io::Result<Option<F::File>> {
    let is_full = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    };
    let file = match files.create(RESERVED_NAME) {
        Err(error) if is_full(&error) => return Ok(None),
        file => file?,
    };
    match files.allocate(&file, segment_bytes) {
        Err(error) if is_full(&error) => {
            files.remove(RESERVED_NAME)?;
            return Ok(None);
        }
        allocated => allocated?,
    }
    files.sync_data(&file)?;
    files.sync_directory()?;
    Ok(Some(file))
}

/// Takes over the segment that an earlier life allocated, if it was never written to.
pub(super) fn adopt_reserved<F: Files>(
    files: &F,
    segment_bytes: u64,
) -> io::Result<Option<F::File>> {
    let file = match files.open(RESERVED_NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    files.sync_data(&file)?;
    if files.length(&file)? == segment_bytes {
        let mut bytes = vec![0; segment_bytes as usize];
        files.read_exact_at(&file, 0, &mut bytes)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Some(file));
        }
    }
    discard_reserved(files)?;
    Ok(None)
}

pub(super) fn discard_reserved<F: Files>(files: &F) -> io::Result<()> {
    match files.remove(RESERVED_NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed?;
            files.sync_directory()
        }
    }
}
