//! Paths: `/ls/<cell>/<name>/…`.

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, SEQUENCE_DIGITS};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A checked path below `/ls/<cell>`.
///
/// Inside the cell every path is *local*: its second part is `local`. [`Path::localized`] makes it
/// so, once, at the door.
///
/// Paths are ordered by depth, then by bytes, so that the children of a node stand side by side and
/// so does each level of a subtree (*The Chubby lock service*, and *Paxos Made Live*, section 3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path {
    text: Arc<str>,
    depth: u8,
}

/// Says what is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not begin with `/ls/<cell>`.
    #[error("path {0:?} must begin with /ls/<cell>, for example /ls/local")]
    Prefix(String),
    /// A name is empty: two slashes in a row, or one at the end.
    #[error("path {0:?} has an empty name (two slashes in a row, or one at the end)")]
    EmptyName(String),
    /// A name is `.` or `..`, which mean nothing here and would surprise.
    #[error("path {0:?} has a name that is . or ..; paths are not relative")]
    Relative(String),
    /// A name is too long.
    #[error("a name in the path has {0} bytes, the limit is {NAME_BYTES_MAX}")]
    NameTooLong(usize),
    /// A name has a control character.
    #[error("path {0:?} has a control character")]
    Control(String),
    /// The path has too many names.
    #[error("path has {0} names below the cell, the limit is {PATH_DEPTH_MAX}")]
    TooDeep(usize),
    /// The path is too long.
    #[error("path has {0} bytes, the limit is {PATH_BYTES_MAX}")]
    TooLong(usize),
}

/// The name that always means the cell one is connected to.
const LOCAL: &str = "local";

impl Path {
    /// Returns `/ls/local`, the root of the cell one is connected to.
    #[must_use]
    pub fn root() -> Self {
        Self {
            text: Arc::from("/ls/local"),
            depth: 0,
        }
    }

    /// Checks `text` and makes a path of it.
    ///
    /// # Errors
    /// A [`PathError`] that names the rule which `text` breaks.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()));
        }
        let below = text
            .strip_prefix("/ls/")
            .ok_or_else(|| PathError::Prefix(text.to_owned()))?;
        let mut names = below.split('/');
        let cell = names.next().unwrap_or_default();
        if cell.is_empty() {
            return Err(PathError::Prefix(text.to_owned()));
        }
        check_name(cell, text)?;
        let mut depth = 0_usize;
        for name in names {
            check_name(name, text)?;
            depth += 1;
        }
        match u8::try_from(depth) {
            Ok(small) if depth <= PATH_DEPTH_MAX => Ok(Self {
                text: Arc::from(text),
                depth: small,
            }),
            _ => Err(PathError::TooDeep(depth)),
        }
    }

    /// Returns the whole path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the number of names below `/ls/<cell>`; the root has none.
    #[must_use]
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Tells whether this is the root of a cell.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.depth == 0
    }

    /// Returns the second part: the cell's name, or `local`.
    #[must_use]
    pub fn cell(&self) -> &str {
        self.text["/ls/".len()..]
            .split('/')
            .next()
            .unwrap_or_default()
    }

    /// Returns the last name, or the cell's name for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the path above, or nothing for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.text.rfind('/')?;
        Some(Self {
            text: Arc::from(&self.text[..end]),
            depth: self.depth - 1,
        })
    }

    /// Returns the path of the child called `name`.
    ///
    /// # Errors
    /// A [`PathError`] if the name or the longer path breaks a rule.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        Self::parse(&format!("{}/{}", self.text, name))
    }

    /// Returns the path with a sequential number after its last name, as in `/ls/local/q/job-` and
    /// `/ls/local/q/job-0000000007`.
    ///
    /// # Errors
    /// A [`PathError`] if the longer path breaks a rule.
    pub fn numbered(&self, number: u64) -> Result<Self, PathError> {
        Self::parse(&format!("{}{number:0SEQUENCE_DIGITS$}", self.text))
    }

    /// Tells whether this path is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.text
            .strip_prefix(&*other.text)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the same path with `local` for the cell, or nothing if it names another cell than
    /// `cell`.
    #[must_use]
    pub fn localized(&self, cell: &str) -> Option<Self> {
        if self.cell() == LOCAL {
            return Some(self.clone());
        }
        (self.cell() == cell).then(|| self.with_cell(LOCAL))
    }

    /// Returns the same path with `cell` in place of its cell, as a sequencer shows it.
    #[must_use]
    pub fn with_cell(&self, cell: &str) -> Self {
        let rest = &self.text["/ls/".len() + self.cell().len()..];
        Self {
            text: Arc::from(format!("/ls/{cell}{rest}")),
            depth: self.depth,
        }
    }
}

/// Checks one name of `whole`, which the error shows.
fn check_name(name: &str, whole: &str) -> Result<(), PathError> {
    if name.is_empty() {
        return Err(PathError::EmptyName(whole.to_owned()));
    }
    if name == "." || name == ".." {
        return Err(PathError::Relative(whole.to_owned()));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(PathError::NameTooLong(name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(PathError::Control(whole.to_owned()));
    }
    Ok(())
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        self.depth
            .cmp(&other.depth)
            .then_with(|| self.text.as_bytes().cmp(other.text.as_bytes()))
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Path {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}
