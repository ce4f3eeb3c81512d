//! What can be wrong with a message, and the checks that several conversions share.

use cotter_types::{Contents, Nonce, Path, PathError};
use prost::bytes::Bytes;

/// Says which field of a message is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The message and its field, for example `Create.path`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: WireProblem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireProblem {
    /// It has to be set and is not, or this version does not know what it was set to.
    #[error("missing, or of a kind that this version does not know")]
    Missing,
    /// Its number stands for nothing that this version knows.
    #[error("the value {0} is not known")]
    UnknownValue(i32),
    /// The text is too long.
    #[error("{bytes} bytes are too long, the limit is {limit}")]
    TooLong {
        /// How long it is, in bytes.
        bytes: usize,
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// There are too many elements.
    #[error("{count} elements are too many, the limit is {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The path breaks a rule.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The value breaks another rule.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Returns the error of a field that is not set.
pub(crate) fn missing(field: &'static str) -> WireError {
    wrong(field, WireProblem::Missing)
}

/// Returns the error of an enumeration's field with an unknown number.
pub(crate) fn unknown(field: &'static str, value: i32) -> WireError {
    wrong(field, WireProblem::UnknownValue(value))
}

/// Returns the error of a field.
pub(crate) fn wrong(field: &'static str, problem: WireProblem) -> WireError {
    WireError { field, problem }
}

/// Returns the message that a field has to hold.
pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or_else(|| missing(field))
}

/// Checks a path.
pub(crate) fn path(text: &str, field: &'static str) -> Result<Path, WireError> {
    Path::parse(text).map_err(|error| wrong(field, WireProblem::Path(error)))
}

/// Checks the length of a text.
pub(crate) fn bounded(
    text: String,
    limit: usize,
    field: &'static str,
) -> Result<String, WireError> {
    let bytes = text.len();
    if bytes > limit {
        return Err(wrong(field, WireProblem::TooLong { bytes, limit }));
    }
    Ok(text)
}

/// Reads a nonce: exactly 16 bytes, big-endian.
pub(crate) fn nonce(bytes: &[u8], field: &'static str) -> Result<Nonce, WireError> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| wrong(field, WireProblem::Malformed("must have exactly 16 bytes")))?;
    Ok(Nonce(u128::from_be_bytes(bytes)))
}

/// Writes a nonce.
pub(crate) fn nonce_bytes(nonce: Nonce) -> Bytes {
    Bytes::copy_from_slice(&nonce.0.to_be_bytes())
}

/// Gives a message the contents of a node without copying them.
pub(crate) fn contents_bytes(contents: Contents) -> Bytes {
    struct Shared(Contents);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Shared(contents))
}

/// Reads contents. They are copied once, so that no node keeps a whole received batch alive.
pub(crate) fn contents(bytes: &Bytes) -> Contents {
    Contents::from(bytes.as_ref())
}
