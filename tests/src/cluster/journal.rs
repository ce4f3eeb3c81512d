//! What the turns on a track have written, and what must be true of it.

use std::path::Path;

/// One turn under the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub name: String,
    /// The process that had it.
    pub process: i32,
    /// Its fencing token.
    pub token: u64,
    /// When it began, in milliseconds of `CLOCK_BOOTTIME`, down to 10 ms.
    pub begin_ms: u64,
    /// When it ended by itself; nothing if it was killed or goes on.
    pub end_ms: Option<u64>,
}

/// All turns on a track, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The turns.
    pub turns: Vec<Turn>,
    /// What the turns themselves have found wrong.
    pub violations: String,
}

impl Journal {
    /// Reads the journal of the track in `directory`.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        let mut journal = Self {
            turns: Vec::new(),
            violations: text("violations"),
        };
        let journal_text = text("journal");
        // A line without its end is being written.
        let whole = journal_text
            .rfind('\n')
            .map_or("", |end| &journal_text[..end]);
        for line in whole.lines() {
            if journal.add(line).is_none() {
                journal
                    .violations
                    .push_str(&format!("unreadable line: {line}\n"));
            }
        }
        journal
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, seconds, token, process, name] = words[..] else {
            return None;
        };
        let at_ms = milliseconds(seconds)?;
        let token = token.parse().ok()?;
        match word {
            "begin" => self.turns.push(Turn {
                name: name.to_owned(),
                process: process.parse().ok()?,
                token,
                begin_ms: at_ms,
                end_ms: None,
            }),
            "end" => {
                let turn = self
                    .turns
                    .iter_mut()
                    .rev()
                    .find(|turn| turn.token == token)?;
                turn.end_ms = Some(at_ms);
            }
            _ => return None,
        }
        Some(())
    }

    /// Returns the turns of `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<&Turn> {
        self.turns.iter().filter(|turn| turn.name == name).collect()
    }

    /// Checks that no two turns overlapped, and that each token is larger than all before it.
    ///
    /// # Panics
    /// If something is wrong.
    #[track_caller]
    pub fn check(&self) {
        assert!(self.violations.is_empty(), "{}", self.violations);
        for pair in self.turns.windows(2) {
            let (earlier, later) = (&pair[0], &pair[1]);
            assert!(
                earlier.token < later.token,
                "tokens not rising: {earlier:?} {later:?}"
            );
            let overlap = earlier.end_ms.is_some_and(|end_ms| end_ms > later.begin_ms);
            assert!(!overlap, "overlap: {earlier:?} {later:?}");
        }
    }

    /// Returns the longest time between the begins of two turns, of which the later one began after
    /// `from_ms` and the earlier one before `to_ms`.
    #[must_use]
    pub fn longest_gap_ms(&self, from_ms: u64, to_ms: u64) -> Option<u64> {
        self.turns
            .windows(2)
            .filter(|pair| pair[1].begin_ms >= from_ms && pair[0].begin_ms < to_ms)
            .map(|pair| pair[1].begin_ms - pair[0].begin_ms)
            .max()
    }
}

/// Parses seconds with two decimals, as `/proc/uptime` has them.
fn milliseconds(seconds: &str) -> Option<u64> {
    let (whole, hundredths) = seconds.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10)
}

#[cfg(test)]
mod tests {
    use super::{Journal, Turn};

    fn turn(token: u64, begin_ms: u64, end_ms: Option<u64>) -> Turn {
        Turn {
            name: "somebody".to_owned(),
            process: 7,
            token,
            begin_ms,
            end_ms,
        }
    }

    fn journal(turns: &[Turn]) -> Journal {
        Journal {
            turns: turns.to_vec(),
            violations: String::new(),
        }
    }

    fn refuses(journal: &Journal) -> bool {
        std::panic::catch_unwind(|| journal.check()).is_err()
    }

    #[test]
    fn lines_become_turns() {
        let directory = tempfile::tempdir().unwrap();
        let lines = "begin 12.50 100 7 somebody\nend 12.61 100 7 somebody\nbegin 13.00 1";
        std::fs::write(directory.path().join("journal"), lines).unwrap();
        let read = Journal::read(directory.path());
        assert_eq!(read.turns, [turn(100, 12_500, Some(12_610))]);
        assert!(read.violations.is_empty());
    }

    #[test]
    fn overlap_and_tokens_that_do_not_rise_are_refused() {
        let first = turn(1, 100, Some(200));
        assert!(!refuses(&journal(&[first.clone(), turn(2, 200, None)])));
        assert!(refuses(&journal(&[first.clone(), turn(2, 190, None)])));
        assert!(refuses(&journal(&[first.clone(), turn(1, 200, None)])));
    }

    #[test]
    fn longest_gap_counts_what_touches_the_window() {
        let turns = [
            turn(1, 0, None),
            turn(2, 10, None),
            turn(3, 500, None),
            turn(4, 510, None),
        ];
        let read = journal(&turns);
        assert_eq!(read.longest_gap_ms(100, 200), Some(490));
        assert_eq!(read.longest_gap_ms(501, 600), Some(10));
        assert_eq!(read.longest_gap_ms(600, 700), None);
    }
}
