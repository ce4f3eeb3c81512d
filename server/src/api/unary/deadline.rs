//! Until when a gRPC caller waits.

use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// Most digits in a `grpc-timeout`, by the specification.
const DIGITS_MAX: usize = 8;

/// Returns when the caller stops waiting, if it says so; what cannot be read is no deadline, as
/// everywhere in gRPC.
pub(super) fn deadline(metadata: &MetadataMap, arrived: Instant) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    arrived.checked_add(timeout(text)?)
}

/// Reads a `grpc-timeout`: one to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::timeout;
    use std::time::Duration;

    #[test]
    fn timeout_is_digits_and_a_unit() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("3M"), Some(Duration::from_secs(180)));
        assert_eq!(timeout("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(timeout("7u"), Some(Duration::from_micros(7)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        assert!(timeout("99999999H").is_some());
        for wrong in ["", "S", "5", "-1S", "+1S", "1.5S", "123456789m", "1s", "1ä"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
