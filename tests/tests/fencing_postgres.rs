//! What the guard of PostgreSQL tables refuses, and what it lets pass, at each isolation level.
//!
//! Needs Debian's package `postgresql`; without it each test says that it was skipped.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::LockMode;
use cotter_client::fencing::FenceError;
use cotter_client::fencing::postgres::{self, FenceTable};
use cotter_tests::stores::paused::{REFUSED, late_write};
use cotter_tests::stores::{Ledger, Postgres, connect, sequencer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, IsolationLevel, Transaction};

const LOCK: &str = "/ls/proof/jobs/crawl";
const OTHER: &str = "/ls/proof/jobs/other";
const LEVELS: [IsolationLevel; 3] = [
    IsolationLevel::ReadCommitted,
    IsolationLevel::RepeatableRead,
    IsolationLevel::Serializable,
];

type Refusal = FenceError<Error>;

/// A database with the table of the fence and one that it guards.
struct Store {
    how: String,
    fence: FenceTable,
    // Stopped when the last test that uses it ends.
    _server: Arc<Postgres>,
}

impl Store {
    async fn new() -> Option<Self> {
        let server = Postgres::shared()?;
        let how = server.database().await;
        let client = connect(&how).await.unwrap();
        client
            .batch_execute("CREATE TABLE data (number BIGINT PRIMARY KEY, token BIGINT NOT NULL)")
            .await
            .unwrap();
        let fence = FenceTable::create(&client).await.unwrap();
        Some(Self {
            how,
            fence,
            _server: server,
        })
    }

    async fn client(&self) -> Client {
        connect(&self.how).await.unwrap()
    }

    async fn write(&self, client: &mut Client, path: &str, token: u64) -> Result<(), Refusal> {
        let shown = sequencer(path, token);
        self.fence
            .write(client, &shown, async |transaction| {
                Ok(add(transaction, token).await?)
            })
            .await
    }

    async fn written(&self) -> Vec<u64> {
        let client = self.client().await;
        let rows = client
            .query("SELECT token FROM data ORDER BY number", &[])
            .await
            .unwrap();
        rows.iter()
            .map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap())
            .collect()
    }

    async fn seen(&self, path: &str) -> i64 {
        let client = self.client().await;
        let row = client.query_one(postgres::SEEN, &[&path]).await.unwrap();
        row.get(0)
    }
}

async fn begin(client: &mut Client, level: IsolationLevel) -> Transaction<'_> {
    let builder = client.build_transaction().isolation_level(level);
    builder.start().await.unwrap()
}

async fn add(transaction: &Transaction<'_>, token: u64) -> Result<(), Error> {
    let next = "INSERT INTO data SELECT coalesce(max(number), 0) + 1, $1 FROM data";
    let token = i64::try_from(token).unwrap();
    transaction.execute(next, &[&token]).await?;
    Ok(())
}

/// Waits until some transaction of the database waits for a lock.
async fn until_somebody_waits(store: &Store) {
    let client = store.client().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let begin = Instant::now();
    loop {
        let count: i64 = client.query_one(waiting, &[]).await.unwrap().get(0);
        if count > 0 {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody waits");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
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

#[track_caller]
fn assert_said(result: &Result<(), Refusal>, code: &SqlState) {
    match result {
        Err(FenceError::Store(error)) => assert_eq!(error.code(), Some(code), "{error:?}"),
        other => panic!("expected {code:?}: {other:?}"),
    }
}

#[tokio::test]
async fn late_write_of_a_paused_holder_is_refused() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let ledger = Ledger::Postgres(server.database().await);
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
    let Some(server) = Postgres::shared() else {
        return;
    };
    let ledger = Ledger::Postgres(server.database().await);
    let ending = late_write(&ledger, false).await;
    assert_eq!(ending.first_code, Some(0), "{ending:?}");
    assert!(ending.first_token < ending.second_token, "{ending:?}");
    assert_eq!(ending.entry.total, 101, "the 1,000 of the second are lost");
    assert_eq!(ending.entry.author, "first");
}

#[tokio::test]
async fn smaller_token_is_refused_and_an_equal_one_passes() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    store.write(&mut client, LOCK, 7).await.unwrap();
    store.write(&mut client, LOCK, 7).await.unwrap();
    assert_stale(store.write(&mut client, LOCK, 6).await, 7, 6);
    store.write(&mut client, OTHER, 3).await.unwrap();
    store.write(&mut client, LOCK, 8).await.unwrap();
    assert_eq!(store.written().await, [7, 7, 3, 8]);
}

#[tokio::test]
async fn rolled_back_transaction_leaves_the_fence_as_it_was() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    store.write(&mut client, LOCK, 5).await.unwrap();
    for level in LEVELS {
        let transaction = begin(&mut client, level).await;
        let shown = sequencer(LOCK, 9);
        store.fence.check(&transaction, &shown).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(store.seen(LOCK).await, 5);
    }
    store.write(&mut client, LOCK, 6).await.unwrap();
    assert_eq!(store.written().await, [5, 6]);
}

#[tokio::test]
async fn later_holder_waits_for_a_transaction_that_was_checked_before() {
    let Some(store) = Store::new().await else {
        return;
    };
    let (mut client, mut successor) = (store.client().await, store.client().await);
    for (level, first) in LEVELS.into_iter().zip([10, 20, 30]) {
        let earlier = begin(&mut client, level).await;
        let shown = sequencer(LOCK, first);
        store.fence.check(&earlier, &shown).await.unwrap();
        let later = begin(&mut successor, level).await;
        let shown = sequencer(LOCK, first + 1);
        let finish = async {
            until_somebody_waits(&store).await;
            add(&earlier, first).await.unwrap();
            earlier.commit().await.unwrap();
        };
        let (checked, ()) = tokio::join!(store.fence.check(&later, &shown), finish);
        if matches!(level, IsolationLevel::ReadCommitted) {
            checked.unwrap();
            let newest = later.query_one("SELECT max(token) FROM data", &[]).await;
            let newest: i64 = newest.unwrap().get(0);
            assert_eq!(newest.unsigned_abs(), first, "it sees what came before it");
            add(&later, first + 1).await.unwrap();
            later.commit().await.unwrap();
        } else {
            // Its snapshot is older than what the earlier one has written.
            assert_said(&checked, &SqlState::T_R_SERIALIZATION_FAILURE);
            later.rollback().await.unwrap();
            store.write(&mut successor, LOCK, first + 1).await.unwrap();
        }
        assert_stale(
            store.write(&mut client, LOCK, first).await,
            first + 1,
            first,
        );
    }
    assert_eq!(store.written().await, [10, 11, 20, 21, 30, 31]);
}

#[tokio::test]
async fn past_holder_that_waited_for_a_later_one_is_refused() {
    let Some(store) = Store::new().await else {
        return;
    };
    let (mut client, mut successor) = (store.client().await, store.client().await);
    for (level, first) in LEVELS.into_iter().zip([10, 20, 30]) {
        for commits in [false, true] {
            let later = begin(&mut successor, level).await;
            let shown = sequencer(LOCK, first + 1);
            store.fence.check(&later, &shown).await.unwrap();
            let earlier = begin(&mut client, level).await;
            let shown = sequencer(LOCK, first);
            let finish = async {
                until_somebody_waits(&store).await;
                if commits {
                    later.commit().await.unwrap();
                } else {
                    later.rollback().await.unwrap();
                }
            };
            let (checked, ()) = tokio::join!(store.fence.check(&earlier, &shown), finish);
            if !commits {
                // Nobody has been here after all.
                checked.unwrap();
                earlier.commit().await.unwrap();
            } else if matches!(level, IsolationLevel::ReadCommitted) {
                assert_stale(checked, first + 1, first);
            } else {
                assert_said(&checked, &SqlState::T_R_SERIALIZATION_FAILURE);
                earlier.rollback().await.unwrap();
                assert_stale(
                    store.write(&mut client, LOCK, first).await,
                    first + 1,
                    first,
                );
            }
        }
    }
}

#[tokio::test]
async fn snapshot_older_than_the_last_checked_write_cannot_pass() {
    let Some(store) = Store::new().await else {
        return;
    };
    let (mut client, mut predecessor) = (store.client().await, store.client().await);
    for level in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        store.write(&mut predecessor, LOCK, 5).await.unwrap();
        let transaction = begin(&mut client, level).await;
        transaction.query("SELECT * FROM data", &[]).await.unwrap();
        // The same token as before: the row says the same, and has another version all the same.
        store.write(&mut predecessor, LOCK, 5).await.unwrap();
        let checked = store.fence.check(&transaction, &sequencer(LOCK, 6)).await;
        assert_said(&checked, &SqlState::T_R_SERIALIZATION_FAILURE);
        transaction.rollback().await.unwrap();
    }
    store.write(&mut client, LOCK, 6).await.unwrap();
}

/// Not a test of chance: whatever the order in which they come, what is written is in the order of
/// tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_write_in_the_order_of_their_tokens() {
    const TOKENS: u64 = 120;
    let Some(store) = Store::new().await else {
        return;
    };
    let (store, next) = (Arc::new(store), Arc::new(AtomicU64::new(1)));
    let mut writers = Vec::new();
    for number in 0..6 {
        let (store, next, level) = (Arc::clone(&store), Arc::clone(&next), LEVELS[number % 3]);
        writers.push(tokio::spawn(async move {
            let mut client = store.client().await;
            let default = format!(
                "SET default_transaction_isolation = '{}'",
                match level {
                    IsolationLevel::Serializable => "serializable",
                    IsolationLevel::RepeatableRead => "repeatable read",
                    _ => "read committed",
                }
            );
            client.batch_execute(&default).await.unwrap();
            let mut done = 0;
            loop {
                let token = next.fetch_add(1, Ordering::Relaxed);
                if token > TOKENS {
                    return done;
                }
                // One token may be tried often, as 40001 wants it; a bound, not a wish.
                for attempt in 0.. {
                    assert!(attempt < 1_000, "token {token} never has its turn");
                    match store.write(&mut client, LOCK, token).await {
                        Err(FenceError::Store(error))
                            if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
                        Ok(()) | Err(FenceError::Stale { .. }) => break,
                        Err(other) => panic!("{other}"),
                    }
                }
                done += 1;
            }
        }));
    }
    let mut done = 0;
    for writer in writers {
        done += writer.await.unwrap();
    }
    assert_eq!(done, TOKENS);
    let tokens = store.written().await;
    assert!(tokens.is_sorted(), "{tokens:?}");
    assert_eq!(tokens.last(), Some(&TOKENS));
}

#[tokio::test]
async fn shared_lock_passes_only_where_that_is_said() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    let transaction = begin(&mut client, IsolationLevel::ReadCommitted).await;
    let mut shared = sequencer(LOCK, 5);
    shared.mode = LockMode::Shared;
    let refused = store.fence.check(&transaction, &shared).await;
    assert!(
        matches!(refused, Err(FenceError::Shared { .. })),
        "{refused:?}"
    );
    let fence = store.fence;
    fence.check_shared(&transaction, &shared).await.unwrap();
    fence.check_shared(&transaction, &shared).await.unwrap();
    let exclusive = sequencer(LOCK, 6);
    fence.check(&transaction, &exclusive).await.unwrap();
    assert_stale(fence.check_shared(&transaction, &shared).await, 6, 5);
}

#[tokio::test]
async fn sequencers_that_no_cell_gives_are_refused() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    for (path, token) in [
        (LOCK, 0),
        (LOCK, 1 << 53),
        (LOCK, u64::MAX),
        ("/ls/local/jobs", 5),
    ] {
        let refused = store.write(&mut client, path, token).await;
        assert!(
            matches!(refused, Err(FenceError::Invalid { .. })),
            "{refused:?}"
        );
    }
    store.write(&mut client, LOCK, (1 << 53) - 1).await.unwrap();
    // Nor can a program in another language store one.
    for (path, token) in [
        (OTHER, 0),
        (OTHER, 1_i64 << 53),
        ("/ls/local/jobs", 5),
        ("jobs", 5),
    ] {
        let refused = client.execute(postgres::CHECK, &[&path, &token]).await;
        let code = refused.unwrap_err().code().cloned();
        assert_eq!(code, Some(SqlState::CHECK_VIOLATION), "{path} {token}");
    }
}

#[tokio::test]
async fn work_that_did_not_happen_is_not_called_done() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    let shown = sequencer(LOCK, 5);
    let ignored = store.fence.write(&mut client, &shown, async |transaction| {
        add(transaction, 5).await?;
        // PostgreSQL would confirm the commit that follows, and have rolled everything back.
        let _ = transaction
            .execute("INSERT INTO nowhere VALUES (1)", &[])
            .await;
        Ok(())
    });
    assert_said(&ignored.await, &SqlState::IN_FAILED_SQL_TRANSACTION);
    let ended = store.fence.write(&mut client, &shown, async |transaction| {
        transaction.batch_execute("COMMIT; BEGIN").await?;
        Ok::<_, Refusal>(())
    });
    let ended = ended.await;
    assert!(matches!(ended, Err(FenceError::NoTransaction)), "{ended:?}");
    assert_eq!(store.written().await, [0; 0]);
}

#[tokio::test]
async fn commit_without_an_answer_is_called_unknown() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    // A deferred trigger runs within the commit, and ends the connection there.
    let trigger = "\
        CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON data
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hang_up();";
    client.batch_execute(trigger).await.unwrap();
    let unknown = store.write(&mut client, LOCK, 5).await;
    assert!(
        matches!(unknown, Err(FenceError::Unconfirmed(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn table_that_requires_a_fence_refuses_who_forgets_the_check() {
    let Some(store) = Store::new().await else {
        return;
    };
    let mut client = store.client().await;
    client.batch_execute(postgres::REQUIRE_FENCE).await.unwrap();
    let trigger = format!(
        "CREATE TRIGGER fenced BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON data \
         FOR EACH STATEMENT EXECUTE FUNCTION cotter_require_fence('{LOCK}')"
    );
    client.batch_execute(&trigger).await.unwrap();
    let forbidden = [
        "INSERT INTO data VALUES (1, 5)",
        "UPDATE data SET token = 0",
        "DELETE FROM data",
        "TRUNCATE data",
    ];
    store.write(&mut client, LOCK, 5).await.unwrap();
    for statement in forbidden {
        let refused = client.batch_execute(statement).await.unwrap_err();
        let code = Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        assert_eq!(refused.code(), code, "{statement}");
    }
    // The token of another lock does not count.
    let other = store.write(&mut client, OTHER, 9).await;
    assert_said(&other, &SqlState::INSUFFICIENT_PRIVILEGE);
    // A savepoint after the check is no hindrance, and an equal token is as good as a larger one.
    for level in LEVELS {
        let mut transaction = begin(&mut client, level).await;
        let shown = sequencer(LOCK, 5);
        store.fence.check(&transaction, &shown).await.unwrap();
        let savepoint = transaction.transaction().await.unwrap();
        add(&savepoint, 5).await.unwrap();
        savepoint.commit().await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(store.written().await, [5, 5, 5, 5]);
}

#[tokio::test]
async fn table_can_be_created_by_many_at_one_moment() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let how = server.database().await;
    let mut creators = Vec::new();
    for _ in 0..8 {
        let client = connect(&how).await.unwrap();
        creators.push(tokio::spawn(async move {
            FenceTable::create(&client).await.map(|_| ())
        }));
    }
    for creator in creators {
        creator.await.unwrap().unwrap();
    }
}
