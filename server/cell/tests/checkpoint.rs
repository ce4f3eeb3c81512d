//! A checkpoint that was damaged is refused, and a whole one loses nothing.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

use cotter_cell::{
    Batch, Cell, Chunk, ChunkDigest, ChunkSum, Command, Entry, Genesis, RebuildError, Stamp,
};
use cotter_types::{
    Acknowledged, CellId, Contents, Create, Epoch, Lifetime, Mutation, Nonce, OpenSession, Path,
    Query, QueryResponse, ReplicaId, RequestNumber, SessionId, SessionMetadata,
};

fn genesis() -> Genesis {
    Genesis {
        cell_id: CellId(3),
        cell: "main".to_owned(),
        token_floor: 5,
        voters: Vec::new(),
    }
}

fn path(nth: u64) -> Path {
    format!("/ls/local/n{nth}").parse().unwrap()
}

/// Makes a cell with some nodes.
fn cell(nodes: u64) -> Cell {
    let mut cell = Cell::born(&genesis());
    cell.apply(&Entry::TakeOver {
        replica: ReplicaId(1),
        attempt: (1, 1),
        last_seen: 0,
    });
    let open = Command::Open {
        open: OpenSession {
            nonce: Nonce(1),
            lease_ms: 12_000,
            metadata: SessionMetadata::default(),
        },
        principal: String::new(),
    };
    let creates = (1..=nodes).map(|nth| Command::Mutate {
        session: SessionId(1),
        number: RequestNumber(nth),
        acknowledged: Acknowledged::default(),
        mutation: Mutation::Create(Create {
            path: path(nth),
            contents: Contents::from(format!("contents {nth}").as_str()),
            lifetime: Lifetime::Ephemeral,
            parents: false,
            exclusive: true,
        }),
    });
    let applied = cell.apply(&Entry::Batch(Batch {
        epoch: Epoch(1),
        sequence: 1,
        stamp: Stamp::default(),
        commands: std::iter::once(open).chain(creates).collect(),
    }));
    assert!(applied.accepted);
    cell
}

fn chunks() -> Vec<Chunk> {
    cell(10).walk(100).collect()
}

#[test]
fn rebuilt_cell_has_contents_and_digest() {
    let original = cell(10);
    let rebuilt = Cell::rebuild(&genesis(), original.walk(100)).unwrap();
    assert_eq!(rebuilt.digest(), original.digest());
    rebuilt.check().unwrap();
    let query = Query::Get { path: path(7) };
    let answer = rebuilt.query(&query, rebuilt.time()).unwrap();
    let QueryResponse::Node { contents, .. } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(contents.as_bytes(), b"contents 7");
}

#[test]
fn chunks_are_about_as_large_as_asked_for() {
    assert!(chunks().len() > 10);
    assert!(chunks().iter().all(|chunk| chunk.bytes.len() < 400));
}

#[test]
fn lost_chunk_shows_in_the_digest_or_in_the_header() {
    let whole = cell(10).digest();
    let all = chunks();
    for lost in 0..all.len() {
        let mut rest = all.clone();
        rest.remove(lost);
        let rebuilt = Cell::rebuild(&genesis(), rest);
        assert!(rebuilt.is_err() || rebuilt.unwrap().digest() != whole);
    }
}

#[test]
fn flipped_byte_shows_in_the_digest_or_is_refused() {
    let whole = cell(10).digest();
    let all = chunks();
    for damaged in 0..all.len() {
        for at in 0..all[damaged].bytes.len() {
            let mut chunks = all.clone();
            chunks[damaged].bytes[at] ^= 0x10;
            let rebuilt = Cell::rebuild(&genesis(), chunks);
            assert!(
                rebuilt.is_err() || rebuilt.unwrap().digest() != whole,
                "byte {at} of chunk {damaged}"
            );
        }
    }
}

#[test]
fn unknown_table_and_leftover_bytes_are_refused() {
    let mut all = chunks();
    all[1].table = 99;
    let refused = Cell::rebuild(&genesis(), all).map(|cell| cell.digest());
    assert_eq!(refused, Err(RebuildError::UnknownTable(99)));
    let mut all = chunks();
    all[1].bytes.push(0);
    let table = all[1].table;
    let refused = Cell::rebuild(&genesis(), all).map(|cell| cell.digest());
    assert_eq!(refused, Err(RebuildError::Row(table)));
}

fn sum(chunks: &[Chunk]) -> Result<ChunkSum, RebuildError> {
    let mut digest = ChunkDigest::new();
    for chunk in chunks {
        digest.add(chunk)?;
    }
    digest.finish()
}

#[test]
fn digest_of_chunks_is_that_of_the_cell_without_rebuilding_it() {
    let original = cell(10);
    let all = chunks();
    let counted = sum(&all).unwrap();
    assert_eq!(counted.digest, original.digest());
    assert_eq!(counted.applied, original.applied());
    assert_eq!(counted.revision, original.revision());
    assert_eq!(
        counted.rows,
        all.iter().map(|c| u64::from(c.rows)).sum::<u64>()
    );
}

#[test]
fn digest_of_chunks_shows_what_is_lost_doubled_or_changed() {
    let whole = cell(10).digest();
    let all = chunks();
    let spoilt = |chunks: &[Chunk]| sum(chunks).map_or(true, |sum| sum.digest != whole);
    for at in 0..all.len() {
        let mut lost = all.clone();
        lost.remove(at);
        assert!(spoilt(&lost), "lost {at}");
        let mut doubled = all.clone();
        doubled.insert(at, all[at].clone());
        assert!(spoilt(&doubled), "doubled {at}");
        for byte in 0..all[at].bytes.len() {
            let mut changed = all.clone();
            changed[at].bytes[byte] ^= 0x10;
            assert!(spoilt(&changed), "byte {byte} of chunk {at}");
        }
    }
}

#[test]
fn rows_and_tables_out_of_order_are_refused() {
    let all = chunks();
    let nodes: Vec<usize> = (0..all.len()).filter(|at| all[*at].table == 2).collect();
    let mut swapped = all.clone();
    swapped.swap(nodes[0], nodes[1]);
    let refused = Cell::rebuild(&genesis(), swapped).map(|cell| cell.digest());
    assert_eq!(refused, Err(RebuildError::Order(2)));
    let mut late = all.clone();
    late.rotate_left(1);
    let refused = Cell::rebuild(&genesis(), late).map(|cell| cell.digest());
    assert_eq!(refused, Err(RebuildError::Order(1)), "the header is first");
}

#[test]
fn state_for_a_backup_does_not_tell_who_may_speak_for_a_session() {
    let mut original = cell(10);
    let secret = Nonce(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
    let open = OpenSession {
        nonce: secret,
        lease_ms: 12_000,
        metadata: SessionMetadata::default(),
    };
    let applied = original.apply(&Entry::Batch(Batch {
        epoch: Epoch(1),
        sequence: 2,
        stamp: Stamp::default(),
        commands: vec![Command::Open {
            open,
            principal: String::new(),
        }],
    }));
    assert!(applied.accepted);
    let encoded = postcard_of(secret);
    let holds = |cell: &Cell| {
        let mut chunks = cell.walk(1_000);
        chunks.any(|chunk| {
            chunk
                .bytes
                .windows(encoded.len())
                .any(|part| part == encoded)
        })
    };
    assert!(holds(&original), "the test has lost its teeth");
    let public = original.without_secrets();
    assert!(!holds(&public));
    public.check().unwrap();
    assert_eq!(public.session_by_nonce(secret), None);
    assert_eq!(public.counts(), original.counts());
    assert_eq!(original.session_by_nonce(secret), Some(SessionId(2)));
}

/// Returns a nonce as rows hold it: seven bits a byte, the lowest first.
fn postcard_of(nonce: Nonce) -> Vec<u8> {
    let mut rest = nonce.0;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}
