//! The scripts of `cotter txn`: one condition or operation a line.
//!
//! The rules are few and strict, so that a script means what it seems to mean: conditions stand
//! before operations, a word that holds anything but plain characters is quoted, and whatever is
//! left over is an error. A script is read whole before anything is sent.

use cotter_types::{
    Compare, Condition, Contents, Create, Delete, Instance, Lifetime, NodeOperation, Path, Set,
    Transaction,
};

/// A transaction, and in which lines its parts stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The transaction.
    pub transaction: Transaction,
    /// The line of each compare, counted from 1.
    pub compare_lines: Vec<usize>,
    /// The line of each operation, counted from 1.
    pub operation_lines: Vec<usize>,
}

/// Says which line makes no sense, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

/// Reads a script.
///
/// # Errors
/// A [`ScriptError`] for the first line that makes no sense. Whether the whole is too large is the
/// transaction's own to check.
pub fn parse(bytes: &[u8]) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        read_line(line, number, &mut script).map_err(|problem| ScriptError {
            line: number,
            problem,
        })?;
    }
    Ok(script)
}

fn read_line(line: &[u8], number: usize, script: &mut Script) -> Result<(), String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let words = split(line)?;
    let mut words = words.iter();
    let Some(verb) = words.next() else {
        return Ok(());
    };
    let verb = plain(verb)?;
    if verb == "if" {
        if !script.operation_lines.is_empty() {
            return Err("conditions stand before the first operation".to_owned());
        }
        let compare = compare(&mut words)?;
        script.transaction.compares.push(compare);
        script.compare_lines.push(number);
    } else {
        let operation = operation(verb, &mut words)?;
        script.transaction.operations.push(operation);
        script.operation_lines.push(number);
    }
    match words.next() {
        None => Ok(()),
        Some(word) => Err(format!(
            "{:?} is too much",
            String::from_utf8_lossy(&word.bytes)
        )),
    }
}

type Words<'a> = std::slice::Iter<'a, Word>;

fn compare(words: &mut Words<'_>) -> Result<Compare, String> {
    let path = path(words)?;
    let what = words.next().ok_or(CONDITIONS)?;
    let condition = match plain(what)? {
        "exists" => Condition::Exists,
        "absent" => Condition::Absent,
        "instance" => Condition::Instance(Instance(number(words)?)),
        "generation" => Condition::ContentGeneration(number(words)?),
        "child-generation" => Condition::ChildGeneration(number(words)?),
        "lock-generation" => Condition::LockGeneration(number(words)?),
        "contents" => {
            let contents = words.next().ok_or("contents to compare with are missing")?;
            Condition::Contents(Contents::from(contents.bytes.as_slice()))
        }
        other => return Err(format!("{other:?} is no condition; {CONDITIONS}")),
    };
    Ok(Compare { path, condition })
}

const CONDITIONS: &str = "write exists, absent, contents \"…\", or instance, generation, \
                          child-generation or lock-generation and a number";

fn operation(verb: &str, words: &mut Words<'_>) -> Result<NodeOperation, String> {
    let contents = |word: &Word| Contents::from(word.bytes.as_slice());
    Ok(match verb {
        "create" => NodeOperation::Create(Create {
            path: path(words)?,
            contents: words.next().map(contents).unwrap_or_default(),
            lifetime: Lifetime::Permanent,
            parents: false,
            exclusive: true,
        }),
        "set" => NodeOperation::Set(Set {
            path: path(words)?,
            contents: words
                .next()
                .map(contents)
                .ok_or("the contents are missing")?,
            if_content_generation: if_generation(words)?,
            if_instance: None,
        }),
        "delete" => NodeOperation::Delete(Delete {
            path: path(words)?,
            recursive: false,
            if_content_generation: if_generation(words)?,
            if_instance: None,
        }),
        other => {
            let known = "a line begins with if, create, set, delete or #";
            return Err(format!("{other:?} is not known; {known}"));
        }
    })
}

fn if_generation(words: &mut Words<'_>) -> Result<Option<u64>, String> {
    match words.next() {
        None => Ok(None),
        Some(word) if plain(word)? == "if-generation" => Ok(Some(number(words)?)),
        Some(word) => Err(format!(
            "{:?} is too much; contents of several words are quoted",
            String::from_utf8_lossy(&word.bytes)
        )),
    }
}

fn path(words: &mut Words<'_>) -> Result<Path, String> {
    let word = words.next().ok_or("the path is missing")?;
    let text = std::str::from_utf8(&word.bytes).map_err(|_| "the path is not UTF-8".to_owned())?;
    Path::parse(text).map_err(|error| error.to_string())
}

fn number(words: &mut Words<'_>) -> Result<u64, String> {
    let text = plain(words.next().ok_or("a number is missing")?)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("{text:?} is no number"))
}

/// Returns a word that must not be quoted.
fn plain(word: &Word) -> Result<&str, String> {
    let text = std::str::from_utf8(&word.bytes).ok();
    text.filter(|_| !word.quoted).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&word.bytes);
        format!("{shown:?} is quoted where a word of the script should stand")
    })
}

/// Splits a line at its spaces and tabs. A line without words, or that begins with `#`, has none.
fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_matches(BLANKS);
    if rest.starts_with('#') {
        return Ok(words);
    }
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => bare(rest)?,
        };
        words.push(word);
        rest = after.trim_start_matches(BLANKS);
        if rest.len() == after.len() && !rest.is_empty() {
            return Err("a space is missing after a closing quote".to_owned());
        }
    }
    Ok(words)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Takes a word without quotes from the front of a text.
fn bare(text: &str) -> Result<(Word, &str), String> {
    let end = text.find(BLANKS).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let strange =
        |character: char| matches!(character, '"' | '\'' | '\\') || character.is_control();
    if word.starts_with('#') || word.contains(strange) {
        return Err(format!("{word:?} must be written in double quotes"));
    }
    let bytes = word.as_bytes().to_vec();
    let quoted = false;
    Ok((Word { bytes, quoted }, rest))
}

/// Takes a word up to its closing quote from the front of a text.
fn unquote(text: &str) -> Result<(Word, &str), String> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    loop {
        let character = characters.next().ok_or("a closing quote is missing")?;
        match character {
            '"' => break,
            '\\' => bytes.push(escaped(&mut characters)?),
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let quoted = true;
    Ok((Word { bytes, quoted }, characters.as_str()))
}

/// Reads what follows a backslash.
fn escaped(characters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    const KNOWN: &str =
        "after a backslash stands one of \\ \" n r t, or x and two hexadecimal digits";
    Ok(match characters.next() {
        Some('\\') => b'\\',
        Some('"') => b'"',
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('x') => {
            let mut digit = || characters.next().and_then(|digit| digit.to_digit(16));
            let (high, low) = (digit().ok_or(KNOWN)?, digit().ok_or(KNOWN)?);
            u8::try_from(high * 16 + low).map_err(|_| KNOWN)?
        }
        _ => return Err(KNOWN.to_owned()),
    })
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
