//! A session that fragments its acknowledgements beyond their bound loses nothing by it.

use cotter_cell::{Batch, Cell, Command, Effect, Entry, Genesis, Stamp};
use cotter_types::limits::ACKNOWLEDGED_RANGES_MAX;
use cotter_types::{
    Acknowledged, CellId, CellTime, Mutation, Nonce, OpenSession, Path, ReplicaId, RequestNumber,
    Response, SessionId, SessionMetadata,
};

fn batch(sequence: u64, commands: Vec<Command>) -> Entry {
    Entry::Batch(Batch {
        epoch: cotter_types::Epoch(1),
        sequence,
        stamp: Stamp {
            time: CellTime(sequence),
            wall_ms: 0,
        },
        commands,
    })
}

fn request(number: u64, above: Vec<(u64, u64)>) -> Command {
    let range = |(first, last)| (RequestNumber(first), RequestNumber(last));
    Command::Mutate {
        session: SessionId(1),
        number: RequestNumber(number),
        acknowledged: Acknowledged {
            floor: RequestNumber(0),
            above: above.into_iter().map(range).collect(),
        },
        mutation: Mutation::Cancel {
            number: RequestNumber(1_000_000),
        },
    }
}

#[test]
fn request_does_not_suffer_for_the_acknowledgement_that_it_carries() {
    let mut cell = Cell::born(&Genesis {
        cell_id: CellId(1),
        cell: "test".to_owned(),
        token_floor: 1,
        voters: Vec::new(),
    });
    cell.apply(&Entry::TakeOver {
        replica: ReplicaId(1),
        attempt: (1, 1),
        last_seen: 0,
    });
    let open = OpenSession {
        nonce: Nonce(1),
        lease_ms: 12_000,
        metadata: SessionMetadata::default(),
    };
    let principal = String::new();
    cell.apply(&batch(1, vec![Command::Open { open, principal }]));

    // Every second number is acknowledged: as many ranges as there may be.
    let most = ACKNOWLEDGED_RANGES_MAX as u64;
    let full = (1..=most).map(|nth| (10 * nth, 10 * nth)).collect();
    cell.apply(&batch(2, vec![request(500_001, full)]));
    // Another range has no room any more; the request that carries it is executed all the same.
    let applied = cell.apply(&batch(3, vec![request(500_003, vec![(5, 5)])]));
    let done = Effect::Answered {
        session: SessionId(1),
        number: RequestNumber(500_003),
        result: Ok(Response::Done),
    };
    assert_eq!(applied.effects, [done]);
    // What was acknowledged before is still known to be.
    let late = cell.outcome(SessionId(1), RequestNumber(10 * most));
    assert_eq!(late, cotter_cell::Recorded::Acknowledged);
    assert_eq!(cell.check(), Ok(()));
    assert!(
        cell.query(
            &cotter_types::Query::Stat { path: Path::root() },
            CellTime(3)
        )
        .is_ok()
    );
}
