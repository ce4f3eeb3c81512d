//! Files of a log changed as no power cut would: pieces moved, doubled, cut out and put elsewhere.
//!
//! Single bits are in `damage`, power cuts in `crash`; here whole pieces change places, so that every
//! piece by itself has a sound checksum. `COTTER_FUZZ_CASES` sets the number of cases (see
//! `docs/TESTING.md`).

use super::{Chance, Model, OpenError, SimFiles, open, sample_history};
use crate::storage::Files;
use cotter_cell::{Batch, Command, Entry, Stamp};
use cotter_replica::{ChapterKey, PeerMessage};
use cotter_types::{
    Acknowledged, Compare, Condition, Contents, Epoch, Mutation, NodeOperation, Path, ReplicaId,
    RequestNumber, SessionId, Set, Transaction,
};
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::{AcceptDecide, Decide, PaxosMessage, PaxosMsg};
use omnipaxos::util::SequenceNumber;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Cases of each target when the environment does not say.
const CASES_DEFAULT: u64 = 1_024;

fn cases() -> u64 {
    let cases = std::env::var("COTTER_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok());
    cases.unwrap_or(CASES_DEFAULT)
}

/// Takes a piece of a file: mostly one that begins and ends where records may.
fn piece(contents: &[u8], chance: &mut Chance) -> (usize, usize) {
    let from = chance.below(contents.len());
    let length = [1, 2, 4, 8, 38, 46, 64, 128, 512][chance.below(9)];
    (from, (from + length).min(contents.len()))
}

/// Changes the files by some means that no disk has.
fn spoil(files: &SimFiles, chance: &mut Chance) {
    let names = files.list().expect("names");
    let name = &names[chance.below(names.len())];
    let other = &names[chance.below(names.len())];
    let contents = files.contents(name).expect("a file");
    let source = files.contents(other).expect("a file");
    if contents.is_empty() || source.is_empty() {
        return;
    }
    let at = chance.below(contents.len());
    let fits = |bytes: &[u8]| bytes[..bytes.len().min(contents.len() - at)].to_vec();
    match chance.below(6) {
        // A piece of this or another file, at the same place or elsewhere.
        0 | 1 => {
            let (from, to) = piece(&source, chance);
            files.overwrite(name, at, &fits(&source[from..to]))
        }
        2 => {
            let (from, to) = piece(&source, chance);
            let room = contents.len().saturating_sub(from);
            let bytes = &source[from..to];
            files.overwrite(
                name,
                from.min(contents.len()),
                &bytes[..bytes.len().min(room)],
            )
        }
        3 => files.overwrite(name, at, &fits(&[0; 64])),
        4 => files.overwrite(name, at, &fits(&[0xff; 8])),
        // Everything behind moves up.
        _ => {
            let (from, to) = piece(&contents, chance);
            let mut bytes = contents[to..].to_vec();
            bytes.resize(contents.len() - from, 0);
            files.overwrite(name, from, &bytes)
        }
    }
    .expect("a place within the file");
}

#[test]
fn a_log_put_together_wrongly_is_refused_or_one_that_was() {
    let (mut refused, mut sound) = (0, 0);
    for case in 0..cases() {
        let mut chance = Chance::new(case);
        let files = SimFiles::new();
        let history = sample_history(&files, 12, case % 64);
        files.kill();
        for _ in 0..=chance.below(3) {
            spoil(&files, &mut chance);
        }
        match open(&files) {
            Err(OpenError::Corrupt { .. } | OpenError::Foreign { .. }) => refused += 1,
            Err(error) => panic!("case {case}: {error}"),
            Ok(log) => {
                let model = Model::of(&log);
                assert!(history.contains(&model), "case {case} has {model:?}");
                sound += 1;
            }
        }
    }
    println!("{refused} refused, {sound} sound");
    assert!(
        refused > cases() / 4 && sound > cases() / 50,
        "{refused}, {sound}"
    );
}

/// Changes bytes with what a decoder of lengths and kinds stumbles over.
fn mutated(mut bytes: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(3)).min(bytes.len());
        let token: &[u8] = [
            &[0][..],
            &[1],
            &[0x7f],
            &[0x80],
            &[0xff],
            &[0x80, 0x80, 0x80, 0x80, 0x10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0xff; 19],
            b"/ls/local",
            b"\xc3\x28",
            &[],
        ][chance.below(11)];
        bytes.splice(at..end, token.iter().copied());
    }
    if chance.below(6) == 0 {
        bytes.truncate(chance.below(bytes.len() + 1));
    }
    bytes
}

/// Decodes bytes, and checks that what comes of them can be encoded and decoded again to the same.
/// Returns whether anything came of them.
fn judge<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(value) = postcard::from_bytes::<T>(bytes) else {
        return false;
    };
    let first = postcard::to_stdvec(&value).expect("a value");
    let again: T = postcard::from_bytes(&first).expect("what was encoded is decoded");
    assert_eq!(postcard::to_stdvec(&again).expect("a value"), first);
    true
}

fn entries() -> Vec<Entry> {
    let session = SessionId(7);
    let path = |text: &str| Path::parse(text).expect("a path");
    let mutate = |number, mutation| Command::Mutate {
        session,
        number: RequestNumber(number),
        acknowledged: Acknowledged::default(),
        mutation,
    };
    let set = Set {
        path: path("/ls/local/a"),
        contents: Contents::from("some contents"),
        if_content_generation: Some(3),
        if_instance: None,
    };
    let transaction = Transaction {
        compares: vec![Compare {
            path: path("/ls/local/b"),
            condition: Condition::Contents(Contents::from("x")),
        }],
        operations: vec![NodeOperation::Set(set.clone())],
    };
    let commands = vec![
        Command::Expire { session },
        mutate(1, Mutation::Set(set)),
        mutate(u64::MAX, Mutation::Transaction(transaction)),
        Command::RaiseFeatureLevel { level: 2 },
    ];
    vec![
        Entry::Batch(Batch {
            epoch: Epoch(3),
            sequence: 1 << 40,
            stamp: Stamp::default(),
            commands,
        }),
        Entry::TakeOver {
            replica: ReplicaId(2),
            attempt: (5, 6),
            last_seen: 300,
        },
        Entry::Renew {
            epoch: Epoch(3),
            attempt: 9,
        },
    ]
}

#[test]
fn mutated_entries_are_refused_or_whole() {
    let entries: Vec<Vec<u8>> = entries()
        .iter()
        .map(|entry| postcard::to_stdvec(entry).expect("an entry"))
        .collect();
    let mut whole = 0;
    let cases = 8 * cases();
    for case in 0..cases {
        let mut chance = Chance::new(case);
        let bytes = entries[chance.below(entries.len())].clone();
        whole += u64::from(judge::<Entry>(&mutated(bytes, &mut chance)));
    }
    println!("{whole} of {cases} were entries");
    assert!(whole > cases / 20 && whole < cases - cases / 20, "{whole}");
}

#[test]
fn mutated_messages_between_replicas_are_refused_or_whole() {
    let message = |msg| {
        let paxos = PaxosMessage {
            from: 1,
            to: 2,
            msg,
        };
        PeerMessage::Paxos {
            key: ChapterKey {
                chapter: 1,
                membership: 7,
            },
            message: Message::SequencePaxos(paxos),
        }
    };
    let decided = PaxosMsg::Decide(Decide {
        n: super::ballot(4),
        seq_num: SequenceNumber::default(),
        decided_idx: 300,
    });
    let accept = PaxosMsg::AcceptDecide(AcceptDecide {
        n: super::ballot(4),
        seq_num: SequenceNumber::default(),
        decided_idx: 300,
        entries: super::payloads(&[b"first".to_vec(), vec![7; 200]]),
    });
    let messages = [message(decided), message(accept)]
        .map(|message| postcard::to_stdvec(&message).expect("a message"));
    let mut whole = 0;
    let cases = 8 * cases();
    for case in 0..cases {
        let mut chance = Chance::new(case);
        let bytes = messages[chance.below(messages.len())].clone();
        whole += u64::from(judge::<PeerMessage>(&mutated(bytes, &mut chance)));
    }
    println!("{whole} of {cases} were messages");
    assert!(whole > cases / 20 && whole < cases - cases / 20, "{whole}");
}
