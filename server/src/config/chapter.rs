//! When a chapter of the log is sealed, as configured.

use super::file::ChapterSection;
use super::{number, span_of_time};
use crate::failure::Failure;
use cotter_replica::ChapterPolicy;

/// Least bytes of a chapter: what a cell writes in a moment.
const BYTES_MIN: u64 = 64 * 1_024;
/// Most bytes of a chapter: a replica that was away is sent that much of it in one message.
const BYTES_MAX: u64 = 1_024 * 1_024 * 1_024;

/// Checks what the flags say, else what the file says.
///
/// # Errors
/// [`Failure`] that names the key.
pub(super) fn policy(
    file: &ChapterSection,
    bytes: Option<&str>,
    age: Option<&str>,
) -> Result<ChapterPolicy, Failure> {
    let mut policy = ChapterPolicy::default();
    let bytes = match bytes {
        Some(text) => Some(number("chapter.bytes", text)?),
        None => file.bytes,
    };
    if let Some(bytes) = bytes {
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return Err(Failure::config(format!(
                "chapter.bytes is {bytes}, but must be {BYTES_MIN} to {BYTES_MAX}"
            )));
        }
        policy.bytes_max = bytes;
    }
    if let Some(age) = age.or(file.age.as_deref()) {
        policy.age_max = span_of_time("chapter.age", age)?;
    }
    Ok(policy)
}

/// Checks what the flags of a development cell say.
///
/// # Errors
/// [`Failure`] that names the key.
pub fn chapter_policy(bytes: Option<&str>, age: Option<&str>) -> Result<ChapterPolicy, Failure> {
    policy(&ChapterSection::default(), bytes, age)
}
