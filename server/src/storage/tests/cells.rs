//! Cells for tests of what is kept of them on disk.

use cotter_cell::{Batch, Cell, Command, Entry, Genesis, Stamp};
use cotter_types::{
    Acknowledged, Acquire, CellId, CellTime, Contents, Create, Epoch, Lifetime, LockMode, Mutation,
    Nonce, OpenSession, ReplicaId, RequestNumber, SessionId, SessionMetadata, Wait,
};

/// What the cells of the tests are born with.
pub(super) fn genesis(cell_id: u64) -> Genesis {
    Genesis {
        cell_id: CellId(cell_id),
        cell: "west".to_owned(),
        token_floor: 1_700_000_000_000_000,
        voters: Vec::new(),
    }
}

/// A cell and the entries that made it.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) cell: Cell,
    pub(super) entries: Vec<Entry>,
    batch: u64,
}

impl Made {
    pub(super) fn new(cell_id: u64) -> Self {
        let mut made = Self {
            cell: Cell::born(&genesis(cell_id)),
            entries: Vec::new(),
            batch: 0,
        };
        made.apply(Entry::TakeOver {
            replica: ReplicaId(1),
            attempt: (1, 1),
            last_seen: 0,
        });
        made
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        assert!(self.cell.apply(&entry).accepted);
        self.entries.push(entry);
    }

    /// Applies commands at a cell time.
    pub(super) fn batch(&mut self, time: u64, commands: Vec<Command>) {
        self.batch += 1;
        self.apply(Entry::Batch(Batch {
            epoch: Epoch(1),
            sequence: self.batch,
            stamp: Stamp {
                time: CellTime(time),
                wall_ms: 1_700_000_000_000 + time,
            },
            commands,
        }));
    }

    /// Adds nodes, locks and sessions: something in every table.
    pub(super) fn busy(cell_id: u64, nodes: u64) -> Self {
        let mut made = Self::new(cell_id);
        made.batch(1, (1..=3).map(open).collect());
        let creates = (1..=nodes).map(|nth| {
            let lifetime = match nth % 3 {
                0 => Lifetime::Permanent,
                1 => Lifetime::Ephemeral,
                _ => Lifetime::Ttl { ms: 60_000 },
            };
            let path = format!("/ls/local/n{nth}");
            create(1, nth, &path, Contents::from(path.as_str()), lifetime)
        });
        made.batch(2, creates.collect());
        // One holds, one waits, one has held and expired: a lock-delay and a change of hands.
        made.batch(3, vec![acquire(2, 1, "a"), acquire(3, 1, "a")]);
        made.batch(4, vec![acquire(3, 2, "b")]);
        made.batch(
            5,
            vec![
                Command::Expire {
                    session: SessionId(2),
                },
                open(4),
            ],
        );
        made.cell.check().unwrap();
        made
    }
}

pub(super) fn open(nonce: u64) -> Command {
    Command::Open {
        open: OpenSession {
            nonce: Nonce(u128::from(nonce)),
            lease_ms: 12_000,
            metadata: SessionMetadata {
                name: format!("session {nonce}"),
                host: "somewhere".to_owned(),
                ..SessionMetadata::default()
            },
        },
        principal: String::new(),
    }
}

fn mutate(session: u64, number: u64, mutation: Mutation) -> Command {
    Command::Mutate {
        session: SessionId(session),
        number: RequestNumber(number),
        acknowledged: Acknowledged::default(),
        mutation,
    }
}

pub(super) fn create(
    session: u64,
    number: u64,
    path: &str,
    contents: Contents,
    lifetime: Lifetime,
) -> Command {
    let create = Create {
        path: path.parse().unwrap(),
        contents,
        lifetime,
        parents: true,
        exclusive: true,
    };
    mutate(session, number, Mutation::Create(create))
}

pub(super) fn acquire(session: u64, number: u64, name: &str) -> Command {
    let acquire = Acquire {
        path: format!("/ls/local/locks/{name}").parse().unwrap(),
        mode: LockMode::Exclusive,
        wait: Wait::Forever,
        lock_delay_ms: 2_000,
        conflict_notice: true,
        create: Some(Lifetime::Permanent),
    };
    mutate(session, number, Mutation::Acquire(acquire))
}
