//! The commands of golden scripts.
//!
//! ```text
//! time 1000                                 cell time is 1000 ms from now on
//! open n1 [lease=MS] [name=N] [principal=P] a session with nonce n1
//! s1 #2 [ack=FLOOR[,FIRST-LAST]…] MUTATION  session 1's request 2
//!   create PATH [contents=TEXT|BYTES*N] [ephemeral|ttl=MS] [parents] [exclusive] [sequential]
//!   set PATH contents=… [generation=N] [instance=N]
//!   delete PATH [recursive] [generation=N] [instance=N]
//!   acquire PATH x|s [wait=MS|forever] [delay=MS] [notice] [create|create=ephemeral] [ttl=MS]
//!   txn PART ; PART …                       each part a create, set or delete as above, or
//!     if PATH exists|absent|instance=N|generation=N|children=N|lock=N|contents=TEXT
//!     N*PART                                so many of it, with % for 1 to N
//!   release PATH #1 · cancel #1 · unhold PATH · close
//! call …                                   the simple interface; see `golden/calls.rs`
//! expire s1 · feature 1
//! takeover r2 seen=N · renew epoch=N attempt=N · resign epoch=N
//! seal epoch=N chapter=N
//! @epoch=N COMMAND · @sequence=N COMMAND    the same in a batch of that epoch or sequence
//! get PATH · stat PATH · list PATH … · explain PATH · locks PATH … · sessions … · check SEQUENCER
//! outcome s1 #2 · place s1 · conflicts s1 · deadline · counts · footprint COMMAND
//! restore cell=N floor=N                    a new cell of this one's state; then takeover
//! repeat N COMMAND                          with {} for 1 to N; shows the last and how many
//! ```
//!
//! Every script begins at time 0 with replica 1 as the master of epoch 1; the first token is 1001.

use crate::{calls, show};
use cotter_cell::{Batch, Cell, Command, Entry, Genesis, Stamp, Voter};
use cotter_types::{
    Acknowledged, Acquire, CellId, CellTime, Compare, Condition, Contents, Create,
    CreateSequential, Delete, Epoch, Instance, Lifetime, LockMode, Mutation, NodeOperation, Nonce,
    OpenSession, Path, Query, ReplicaId, RequestNumber, SessionId, SessionMetadata, Set,
    Transaction, Wait,
};
use std::collections::BTreeMap;

/// A cell and what a script needs to speak to it.
pub(crate) struct Stage {
    cell: Cell,
    time: CellTime,
    sequence: u64,
}

/// The words of a command: those with `=` by name, the others in order.
pub(crate) struct Words {
    pub(crate) plain: Vec<String>,
    pub(crate) named: BTreeMap<String, String>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self {
            plain: Vec::new(),
            named: BTreeMap::new(),
        };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => {
                    words.named.insert(name.to_owned(), value.to_owned());
                }
                None => words.plain.push(word.to_owned()),
            }
        }
        words
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.named.get(name).map(|value| value.parse().unwrap())
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.named.get(name).cloned().unwrap_or_default()
    }

    fn path(&self, at: usize) -> Path {
        self.plain[at].parse().unwrap()
    }
}

/// Reads a number behind one letter: `s1`, `#2`, `r3`, `n4`.
pub(crate) fn after_letter(word: &str) -> u64 {
    word[1..].parse().unwrap()
}

impl Stage {
    pub(crate) fn new() -> Self {
        let genesis = Genesis {
            cell_id: CellId(1),
            cell: "main".to_owned(),
            token_floor: 1_000,
            voters: Vec::new(),
        };
        let mut stage = Self {
            cell: Cell::born(&genesis),
            time: CellTime(0),
            sequence: 0,
        };
        stage.command("takeover r1 seen=0");
        stage
    }

    /// Plays one command and returns what it did, a line for each thing.
    pub(crate) fn command(&mut self, text: &str) -> Vec<String> {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words = Words::of(rest);
        let shown = match first {
            "repeat" => self.repeat(rest),
            "footprint" => {
                let command = command(rest);
                let footprint = match &command {
                    Some(command) => self.cell.footprint(command),
                    None => self.cell.footprint_of_time(CellTime(after_word(rest))),
                };
                show::footprint(&footprint)
            }
            "outcome" => {
                let session = SessionId(after_letter(&words.plain[0]));
                let number = RequestNumber(after_letter(&words.plain[1]));
                vec![show::recorded(&self.cell.outcome(session, number))]
            }
            "conflicts" => {
                let session = SessionId(after_letter(&words.plain[0]));
                let notices = self.cell.conflicts_of(session);
                notices
                    .iter()
                    .map(|notice| show::notice(session, notice))
                    .collect()
            }
            "place" => vec![show::place(
                self.cell.place_of(SessionId(after_letter(&words.plain[0]))),
            )],
            "deadline" => vec![self.cell.next_deadline().map_or_else(
                || "none".to_owned(),
                |deadline| format!("at {}", deadline.0),
            )],
            "counts" => vec![show::counts(&self.cell)],
            "restore" => self.restore(&words),
            _ => match query(first, rest) {
                Some(query) => show::answer(&self.cell.query(&query, self.time)),
                None => self.entry(text),
            },
        };
        if let Err(broken) = self.cell.check() {
            panic!("after {text:?}: {broken}");
        }
        shown
    }

    /// Goes on with the cell that a restore makes of this one.
    fn restore(&mut self, words: &Words) -> Vec<String> {
        let floor = words.number("floor").unwrap();
        let genesis = Genesis {
            cell_id: CellId(words.number("cell").unwrap()),
            cell: "main".to_owned(),
            token_floor: floor,
            voters: Vec::new(),
        };
        let restored = self.cell.restored(&genesis, floor / 1_000);
        match restored {
            Ok(cell) => {
                self.cell = cell;
                self.sequence = 0;
                vec![format!(
                    "restored at revision {}, mastership sequence {}",
                    self.cell.revision(),
                    self.cell.mastership().sequence
                )]
            }
            Err(error) => vec![format!("not restored: {error}")],
        }
    }

    /// Applies what goes through the log.
    fn entry(&mut self, text: &str) -> Vec<String> {
        let words = Words::of(text);
        let entry = match words.plain.first().map(String::as_str) {
            Some("takeover") => Entry::TakeOver {
                replica: ReplicaId(after_letter(&words.plain[1])),
                attempt: (1, 1),
                last_seen: words.number("seen").unwrap(),
            },
            Some("renew") => Entry::Renew {
                epoch: Epoch(words.number("epoch").unwrap()),
                attempt: words.number("attempt").unwrap(),
            },
            Some("resign") => Entry::Resign {
                epoch: Epoch(words.number("epoch").unwrap()),
            },
            Some("seal") => Entry::Seal {
                epoch: words
                    .number("epoch")
                    .map_or(self.cell.mastership().epoch, Epoch),
                next_chapter: words.number("chapter").unwrap_or(2),
                voters: vec![Voter {
                    id: ReplicaId(1),
                    incarnation: 1,
                }],
                addresses: Vec::new(),
            },
            _ => self.batch(text),
        };
        let epoch = self.cell.mastership().epoch;
        let applied = self.cell.apply(&entry);
        if self.cell.mastership().epoch != epoch {
            self.sequence = 0;
        }
        show::applied(&applied)
    }

    fn batch(&mut self, text: &str) -> Entry {
        let mut text = text;
        let mut epoch = self.cell.mastership().epoch;
        let mut sequence = None;
        while let Some((mark, rest)) = text.strip_prefix('@').and_then(|t| t.split_once(' ')) {
            let (name, value) = mark.split_once('=').unwrap();
            let value = value.parse().unwrap();
            match name {
                "epoch" => epoch = Epoch(value),
                "sequence" => sequence = Some(value),
                other => panic!("no such mark: {other}"),
            }
            text = rest;
        }
        let commands = command(text);
        if text.starts_with("time ") {
            self.time = CellTime(after_word(text));
        }
        let sequence = sequence.unwrap_or_else(|| {
            self.sequence += 1;
            self.sequence
        });
        Entry::Batch(Batch {
            epoch,
            sequence,
            stamp: Stamp {
                time: self.time,
                wall_ms: 1_000_000 + self.time.0,
            },
            commands: commands.into_iter().collect(),
        })
    }

    fn repeat(&mut self, rest: &str) -> Vec<String> {
        let (times, command) = rest.split_once(' ').unwrap();
        let times: u64 = times.parse().unwrap();
        let mut last = Vec::new();
        for nth in 1..=times {
            last = self.entry(&command.replace("{}", &nth.to_string()));
        }
        last.push(format!("({times} times; the last is shown)"));
        last
    }
}

/// Reads the number behind a word and a space.
fn after_word(text: &str) -> u64 {
    text.split_once(' ').unwrap().1.parse().unwrap()
}

/// Reads a command of a batch; nothing for one that only moves time.
fn command(text: &str) -> Option<Command> {
    let words = Words::of(text);
    let first = words.plain[0].as_str();
    Some(match first {
        "time" => return None,
        "open" => Command::Open {
            open: OpenSession {
                nonce: Nonce(u128::from(after_letter(&words.plain[1]))),
                lease_ms: words.number("lease").unwrap_or(12_000),
                metadata: SessionMetadata {
                    name: expand(&words.text("name")),
                    host: "host".to_owned(),
                    pid: 42,
                    program: "test".to_owned(),
                },
            },
            principal: words
                .named
                .get("principal")
                .map_or_else(|| "anybody".to_owned(), Clone::clone),
        },
        "call" => calls::command(text),
        "expire" => Command::Expire {
            session: SessionId(after_letter(&words.plain[1])),
        },
        "feature" => Command::RaiseFeatureLevel {
            level: words.plain[1].parse().unwrap(),
        },
        _ if first.starts_with('s') => Command::Mutate {
            session: SessionId(after_letter(first)),
            number: RequestNumber(after_letter(&words.plain[1])),
            acknowledged: acknowledged(&words.text("ack")),
            mutation: match rest_of_transaction(text) {
                Some(parts) => Mutation::Transaction(transaction(parts)),
                None => mutation(&words),
            },
        },
        other => panic!("no such command: {other}"),
    })
}

/// Reads `FLOOR,FIRST-LAST,…`.
fn acknowledged(text: &str) -> Acknowledged {
    let mut parts = text.split(',').filter(|part| !part.is_empty());
    let floor = parts.next().map_or(0, |floor| floor.parse().unwrap());
    let above = parts.map(|part| {
        let (first, last) = part.split_once('-').unwrap();
        let number = |text: &str| RequestNumber(text.parse().unwrap());
        (number(first), number(last))
    });
    Acknowledged {
        floor: RequestNumber(floor),
        above: above.collect(),
    }
}

/// Makes `x*3` into `xxx`; other text stays as it is.
fn expand(text: &str) -> String {
    match text.split_once('*') {
        Some((what, times)) => what.repeat(times.parse().unwrap()),
        None => text.to_owned(),
    }
}

/// Returns the parts of a transaction, if that is what `text` is.
pub(crate) fn rest_of_transaction(text: &str) -> Option<&str> {
    let (_, parts) = text.split_once(" txn")?;
    Some(parts)
}

pub(crate) fn transaction(parts: &str) -> Transaction {
    let mut transaction = Transaction::default();
    for part in parts.split(" ; ").map(str::trim) {
        let (times, part) = match part.split_once('*') {
            Some((times, part)) if times.parse::<u64>().is_ok() => (times.parse().unwrap(), part),
            _ => (u64::from(!part.is_empty()), part),
        };
        for nth in 1..=times {
            let part = part.replace('%', &nth.to_string());
            let words = Words::of(&format!("s1 #1 {part}"));
            if words.plain[2] == "if" {
                transaction.compares.push(compare(&words));
                continue;
            }
            transaction.operations.push(match mutation(&words) {
                Mutation::Create(create) => NodeOperation::Create(create),
                Mutation::CreateSequential(create) => NodeOperation::CreateSequential(create),
                Mutation::Set(set) => NodeOperation::Set(set),
                Mutation::Delete(delete) => NodeOperation::Delete(delete),
                other => panic!("not in a transaction: {other:?}"),
            });
        }
    }
    transaction
}

fn compare(words: &Words) -> Compare {
    let condition = if words.has("exists") {
        Condition::Exists
    } else if words.has("absent") {
        Condition::Absent
    } else if let Some(instance) = words.number("instance") {
        Condition::Instance(Instance(instance))
    } else if let Some(generation) = words.number("generation") {
        Condition::ContentGeneration(generation)
    } else if let Some(generation) = words.number("children") {
        Condition::ChildGeneration(generation)
    } else if let Some(generation) = words.number("lock") {
        Condition::LockGeneration(generation)
    } else {
        Condition::Contents(Contents::from(expand(&words.text("contents")).as_str()))
    };
    let path = words.path(3);
    Compare { path, condition }
}

/// Reads how long a node shall live.
fn lifetime(words: &Words) -> Lifetime {
    match (words.number("ttl"), words.has("ephemeral")) {
        (Some(ms), _) => Lifetime::Ttl { ms },
        (None, true) => Lifetime::Ephemeral,
        (None, false) => Lifetime::Permanent,
    }
}

pub(crate) fn mutation(words: &Words) -> Mutation {
    let contents = || Contents::from(expand(&words.text("contents")).as_str());
    match words.plain[2].as_str() {
        "create" if words.has("sequential") => Mutation::CreateSequential(CreateSequential {
            path: words.path(3),
            contents: contents(),
            lifetime: lifetime(words),
            parents: words.has("parents"),
        }),
        "create" => Mutation::Create(Create {
            path: words.path(3),
            contents: contents(),
            lifetime: lifetime(words),
            parents: words.has("parents"),
            exclusive: words.has("exclusive"),
        }),
        "set" => Mutation::Set(Set {
            path: words.path(3),
            contents: contents(),
            if_content_generation: words.number("generation"),
            if_instance: words.number("instance").map(Instance),
        }),
        "delete" => Mutation::Delete(Delete {
            path: words.path(3),
            recursive: words.has("recursive"),
            if_content_generation: words.number("generation"),
            if_instance: words.number("instance").map(Instance),
        }),
        "acquire" => Mutation::Acquire(acquire(words)),
        "release" => Mutation::Release {
            path: words.path(3),
            number: RequestNumber(after_letter(&words.plain[4])),
        },
        "cancel" => Mutation::Cancel {
            number: RequestNumber(after_letter(&words.plain[3])),
        },
        "unhold" => Mutation::Unhold {
            path: words.path(3),
        },
        "close" => Mutation::Close,
        other => panic!("no such mutation: {other}"),
    }
}

pub(crate) fn acquire(words: &Words) -> Acquire {
    Acquire {
        path: words.path(3),
        mode: match words.plain[4].as_str() {
            "x" => LockMode::Exclusive,
            "s" => LockMode::Shared,
            other => panic!("no such mode: {other}"),
        },
        wait: match words.text("wait").as_str() {
            "" => Wait::No,
            "forever" => Wait::Forever,
            ms => Wait::Ms(ms.parse().unwrap()),
        },
        lock_delay_ms: words.number("delay").unwrap_or(0),
        conflict_notice: words.has("notice"),
        create: match (words.has("create"), words.text("create").as_str()) {
            (true, _) => Some(lifetime(words)),
            (_, "ephemeral") => Some(Lifetime::Ephemeral),
            _ => None,
        },
    }
}

fn query(first: &str, rest: &str) -> Option<Query> {
    let words = Words::of(rest);
    let limit = u32::try_from(words.number("limit").unwrap_or(0)).unwrap();
    Some(match first {
        "get" => Query::Get {
            path: words.path(0),
        },
        "stat" => Query::Stat {
            path: words.path(0),
        },
        "list" => Query::List {
            path: words.path(0),
            after: words.text("after"),
            limit,
        },
        "explain" => Query::Explain {
            path: words.path(0),
        },
        "locks" => Query::Locks {
            within: words.path(0),
            after: words.named.get("after").map(|after| after.parse().unwrap()),
            limit,
        },
        "sessions" => Query::Sessions {
            after: SessionId(words.number("after").unwrap_or(0)),
            limit,
        },
        "check" => Query::CheckSequencer {
            sequencer: words.plain[0].parse().unwrap(),
        },
        _ => return None,
    })
}
