//! How much history is kept, as configured.

use super::file::HistorySection;
use super::number;
use crate::failure::Failure;
use crate::history::HistorySettings;
use std::time::Duration;

/// Least bytes of a history.
const BYTES_MIN: u64 = 64 * 1_024;
/// Most bytes of a history: all of it is read at each start.
const BYTES_MAX: u64 = 4 * 1_024 * 1_024 * 1_024;
/// Longest time for which events can be kept, in days: ten years.
const DAYS_MAX: u64 = 3_650;

/// Checks what the flags say, else what the file says.
///
/// # Errors
/// [`Failure`] that names the key.
pub(super) fn settings(
    file: &HistorySection,
    bytes: Option<&str>,
    days: Option<&str>,
) -> Result<HistorySettings, Failure> {
    let mut settings = HistorySettings::default();
    let given = |key, flag: Option<&str>, file| match flag {
        Some(text) => number(key, text).map(Some),
        None => Ok(file),
    };
    if let Some(bytes) = given("history.bytes", bytes, file.bytes)? {
        if bytes != 0 && !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return Err(Failure::config(format!(
                "history.bytes is {bytes}, but must be {BYTES_MIN} to {BYTES_MAX}, or 0 for no history"
            )));
        }
        settings.bytes_max = bytes;
    }
    if let Some(days) = given("history.days", days, file.days)? {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(Failure::config(format!(
                "history.days is {days}, but must be 1 to {DAYS_MAX}"
            )));
        }
        settings.age_max = Duration::from_secs(days * 86_400);
    }
    Ok(settings)
}

/// Checks what the flags of a development cell say.
///
/// # Errors
/// [`Failure`] that names the key.
pub fn history_settings(
    bytes: Option<&str>,
    days: Option<&str>,
) -> Result<HistorySettings, Failure> {
    settings(&HistorySection::default(), bytes, days)
}
