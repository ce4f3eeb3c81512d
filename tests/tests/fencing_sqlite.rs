//! What the guard of SQLite tables refuses, and what it lets pass.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::LockMode;
use cotter_client::fencing::FenceError;
use cotter_client::fencing::sqlite::rusqlite::{
    self, Connection, Transaction, TransactionBehavior,
};
use cotter_client::fencing::sqlite::{self, FenceTable};
use cotter_tests::stores::paused::{REFUSED, late_write};
use cotter_tests::stores::{Ledger, sequencer};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LOCK: &str = "/ls/proof/jobs/crawl";
const OTHER: &str = "/ls/proof/jobs/other";

type Refusal = FenceError<rusqlite::Error>;

fn opened(file: &Path) -> (Connection, FenceTable) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS data (number INTEGER PRIMARY KEY, token INTEGER)",
        )
        .unwrap();
    let fence = FenceTable::create(&connection).unwrap();
    (connection, fence)
}

fn in_memory() -> (Connection, FenceTable) {
    opened(Path::new(":memory:"))
}

fn add(transaction: &Transaction<'_>, token: u64) -> Result<(), Refusal> {
    let next = "INSERT INTO data SELECT coalesce(max(number), 0) + 1, ?1 FROM data";
    transaction.execute(next, [token.to_string()])?;
    Ok(())
}

fn write(
    connection: &mut Connection,
    fence: FenceTable,
    path: &str,
    token: u64,
) -> Result<(), Refusal> {
    fence.write(connection, &sequencer(path, token), |transaction| {
        add(transaction, token)
    })
}

fn written(connection: &Connection) -> Vec<u64> {
    let mut statement = connection
        .prepare("SELECT token FROM data ORDER BY number")
        .unwrap();
    let tokens = statement
        .query_map([], |row| row.get::<_, i64>(0))
        .unwrap()
        .map(|token| u64::try_from(token.unwrap()).unwrap());
    tokens.collect()
}

fn seen(connection: &Connection, path: &str) -> i64 {
    connection
        .query_row(sqlite::SEEN, [path], |row| row.get(0))
        .unwrap()
}

#[track_caller]
fn assert_stale(result: Result<(), Refusal>, seen_token: u64, shown_token: u64) {
    match result {
        Err(FenceError::Stale { seen, shown, .. }) => {
            assert_eq!((seen.0, shown.0), (seen_token, shown_token));
        }
        other => panic!("expected to be stale: {other:?}"),
    }
}

#[tokio::test]
async fn late_write_of_a_paused_holder_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::Sqlite(directory.path().join("ledger.db"));
    let ending = late_write(&ledger, true).await;
    assert_eq!(ending.first_code, Some(REFUSED), "{ending:?}");
    let said = format!(
        "refused: shown {}, seen {}",
        ending.first_token, ending.second_token
    );
    assert_eq!(ending.first_said, said);
    assert_eq!(ending.entry.total, 1_100);
    assert_eq!(ending.entry.author, "second");
}

#[tokio::test]
async fn without_the_guard_a_late_write_destroys_what_the_next_holder_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::Sqlite(directory.path().join("ledger.db"));
    let ending = late_write(&ledger, false).await;
    assert_eq!(ending.first_code, Some(0), "{ending:?}");
    assert!(ending.first_token < ending.second_token, "{ending:?}");
    assert_eq!(ending.entry.total, 101, "the 1,000 of the second are lost");
    assert_eq!(ending.entry.author, "first");
}

#[test]
fn smaller_token_is_refused_and_nothing_is_written() {
    let (mut connection, fence) = in_memory();
    write(&mut connection, fence, LOCK, 7).unwrap();
    assert_stale(write(&mut connection, fence, LOCK, 6), 7, 6);
    write(&mut connection, fence, LOCK, 8).unwrap();
    assert_eq!(written(&connection), [7, 8]);
}

#[test]
fn one_holder_writes_as_often_as_it_likes() {
    let (mut connection, fence) = in_memory();
    for _ in 0..3 {
        write(&mut connection, fence, LOCK, 7).unwrap();
    }
    assert_eq!(written(&connection), [7, 7, 7]);
}

#[test]
fn locks_do_not_fence_each_other() {
    let (mut connection, fence) = in_memory();
    write(&mut connection, fence, LOCK, 7).unwrap();
    write(&mut connection, fence, OTHER, 3).unwrap();
    assert_stale(write(&mut connection, fence, OTHER, 2), 3, 2);
}

#[test]
fn another_instance_of_the_node_is_fenced_by_the_same_row() {
    let (mut connection, fence) = in_memory();
    let mut recreated = sequencer(LOCK, 8);
    recreated.instance.0 += 1;
    fence
        .write(&mut connection, &recreated, |_| Ok::<_, Refusal>(()))
        .unwrap();
    assert_stale(write(&mut connection, fence, LOCK, 7), 8, 7);
}

#[test]
fn rolled_back_transaction_leaves_the_fence_as_it_was() {
    let (mut connection, fence) = in_memory();
    write(&mut connection, fence, LOCK, 5).unwrap();
    let transaction = connection.transaction().unwrap();
    fence.check(&transaction, &sequencer(LOCK, 9)).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(seen(&connection, LOCK), 5);
    // Also when the work fails after the check.
    let failed = fence.write(&mut connection, &sequencer(LOCK, 9), |transaction| {
        add(transaction, 9)?;
        transaction.execute("INSERT INTO nowhere VALUES (1)", [])?;
        Ok(())
    });
    assert!(matches!(failed, Err(FenceError::Store(_))), "{failed:?}");
    assert_eq!(seen(&connection, LOCK), 5);
    write(&mut connection, fence, LOCK, 6).unwrap();
    assert_eq!(written(&connection), [5, 6]);
}

#[test]
fn later_holder_waits_for_a_transaction_that_was_checked_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.db");
    let (mut connection, fence) = opened(&file);
    let transaction = connection.transaction().unwrap();
    fence.check(&transaction, &sequencer(LOCK, 5)).unwrap();
    let (mut successor, _) = opened(&file);
    successor.busy_timeout(Duration::ZERO).unwrap();
    let busy = write(&mut successor, fence, LOCK, 6);
    let Err(FenceError::Store(error)) = busy else {
        panic!("it was to be busy: {busy:?}");
    };
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
    add(&transaction, 5).unwrap();
    transaction.commit().unwrap();
    write(&mut successor, fence, LOCK, 6).unwrap();
    assert_eq!(written(&successor), [5, 6]);
    assert_stale(write(&mut connection, fence, LOCK, 5), 6, 5);
}

#[test]
fn transaction_that_has_read_an_old_state_cannot_pass() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.db");
    let (mut connection, fence) = opened(&file);
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    let transaction = connection.transaction().unwrap();
    assert_eq!(written(&transaction), [0; 0]);
    let (mut predecessor, _) = opened(&file);
    write(&mut predecessor, fence, LOCK, 5).unwrap();
    let refused = fence.check(&transaction, &sequencer(LOCK, 6));
    assert!(matches!(refused, Err(FenceError::Store(_))), "{refused:?}");
    transaction.rollback().unwrap();
    write(&mut connection, fence, LOCK, 6).unwrap();
    assert_eq!(written(&connection), [5, 6]);
}

/// Not a test of chance: whatever the order in which they come, what is written is in the order of
/// tokens.
#[test]
fn concurrent_writers_write_in_the_order_of_their_tokens() {
    const WRITERS: usize = 4;
    const TOKENS: u64 = 60;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.db");
    let (connection, _) = opened(&file);
    let next = AtomicU64::new(1);
    let refused = AtomicU64::new(0);
    let gate = std::sync::Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let (mut connection, fence) = opened(&file);
                gate.wait();
                loop {
                    let token = next.fetch_add(1, Ordering::Relaxed);
                    if token > TOKENS {
                        return;
                    }
                    match write(&mut connection, fence, LOCK, token) {
                        Ok(()) => {}
                        Err(FenceError::Stale { .. }) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    let tokens = written(&connection);
    assert!(tokens.is_sorted(), "{tokens:?}");
    let all = tokens.len() as u64 + refused.load(Ordering::Relaxed);
    assert_eq!(all, TOKENS);
    assert_eq!(tokens.last(), Some(&TOKENS));
}

#[test]
fn shared_lock_passes_only_where_that_is_said() {
    let (mut connection, fence) = in_memory();
    let mut shared = sequencer(LOCK, 5);
    shared.mode = LockMode::Shared;
    let transaction = connection.transaction().unwrap();
    let refused = fence.check(&transaction, &shared);
    assert!(
        matches!(refused, Err(FenceError::Shared { .. })),
        "{refused:?}"
    );
    fence.check_shared(&transaction, &shared).unwrap();
    fence.check_shared(&transaction, &shared).unwrap();
    fence.check(&transaction, &sequencer(LOCK, 6)).unwrap();
    assert_stale(fence.check_shared(&transaction, &shared), 6, 5);
}

#[test]
fn sequencers_that_no_cell_gives_are_refused() {
    let (mut connection, fence) = in_memory();
    for (path, token) in [
        (LOCK, 0),
        (LOCK, 1 << 53),
        (LOCK, u64::MAX),
        ("/ls/local/jobs", 5),
    ] {
        let refused = write(&mut connection, fence, path, token);
        assert!(
            matches!(refused, Err(FenceError::Invalid { .. })),
            "{refused:?}"
        );
    }
    write(&mut connection, fence, LOCK, (1 << 53) - 1).unwrap();
    assert_eq!(written(&connection), [(1 << 53) - 1]);
}

#[test]
fn statement_that_ends_the_transaction_is_noticed() {
    let (mut connection, fence) = in_memory();
    let ended = fence.write(&mut connection, &sequencer(LOCK, 5), |transaction| {
        add(transaction, 5)?;
        // The whole transaction is rolled back, and the program goes on as if nothing had been.
        let _ = transaction.execute("INSERT OR ROLLBACK INTO data VALUES (1, 5)", []);
        Ok::<_, Refusal>(())
    });
    assert!(matches!(ended, Err(FenceError::NoTransaction)), "{ended:?}");
    assert_eq!(written(&connection), [0; 0]);
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch("ROLLBACK").unwrap();
    let refused = fence.check(&transaction, &sequencer(LOCK, 5));
    assert!(
        matches!(refused, Err(FenceError::NoTransaction)),
        "{refused:?}"
    );
}

#[test]
fn other_programs_cannot_store_what_would_shut_out_or_evade() {
    let (connection, _) = in_memory();
    connection.execute(sqlite::CHECK, (LOCK, "9")).unwrap();
    assert_eq!(seen(&connection, LOCK), 9, "text of digits is a number");
    let late = connection.execute(sqlite::CHECK, (LOCK, "10")).unwrap();
    assert_eq!(late, 1, "compared as numbers");
    let late = connection.execute(sqlite::CHECK, (LOCK, "9")).unwrap();
    assert_eq!(late, 0);
    for token in ["", "none", "-1", "0", "9007199254740992"] {
        assert!(
            connection.execute(sqlite::CHECK, (LOCK, token)).is_err(),
            "{token}"
        );
    }
    assert!(
        connection
            .execute(sqlite::CHECK, (LOCK.as_bytes(), 5))
            .is_err()
    );
    for path in ["/ls/local/jobs/crawl", "jobs", ""] {
        assert!(
            connection.execute(sqlite::CHECK, (path, 5)).is_err(),
            "{path}"
        );
    }
    // Not even without the cast.
    let raw = "INSERT INTO cotter_fences (path, token) VALUES (?1, ?2)";
    assert!(connection.execute(raw, (OTHER, "none")).is_err());
}

#[test]
fn write_waits_for_its_turn_before_the_work_and_not_within() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.db");
    let (mut connection, fence) = opened(&file);
    let blocking = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let (mut other, _) = opened(&file);
    other.busy_timeout(Duration::ZERO).unwrap();
    let mut worked = false;
    let busy = fence.write(&mut other, &sequencer(LOCK, 5), |_| {
        worked = true;
        Ok::<_, Refusal>(())
    });
    assert!(busy.is_err());
    assert!(!worked);
    blocking.rollback().unwrap();
}
