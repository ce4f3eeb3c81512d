//! Locks and guards.

use super::fake::{Fake, PATIENCE, conflict};
use crate::{AcquireError, Client, Conflict, FencingToken, Lost, SessionState, Wait};
use cotter_types::Mutation;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

async fn connect(fake: &Fake) -> Client {
    let endpoint = [fake.address.clone()];
    Client::builder()
        .endpoints(endpoint)
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_lock_is_acquired_and_released() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let guard = client
        .lock("/ls/local/lock")
        .unwrap()
        .acquire()
        .await
        .unwrap();
    assert_eq!(guard.token(), FencingToken(1_001));
    assert_eq!(guard.sequencer().unwrap().token, guard.token());
    assert_eq!(guard.waited(), Duration::from_millis(5));
    assert!(guard.remaining() > Duration::from_secs(10));
    guard.release().await.unwrap();
    let released =
        |mutation: &Mutation| matches!(mutation, Mutation::Release { number, .. } if number.0 == 1);
    fake.hears_mutation(released).await;
}

#[tokio::test]
async fn a_dropped_guard_is_released_in_the_background() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let guard = client
        .lock("/ls/local/lock")
        .unwrap()
        .acquire()
        .await
        .unwrap();
    drop(guard);
    fake.hears_mutation(|mutation| matches!(mutation, Mutation::Release { .. }))
        .await;
}

#[tokio::test]
async fn a_dropped_wait_is_cancelled() {
    let mut fake = Fake::start();
    fake.temper.grants.store(false, Ordering::SeqCst);
    let client = connect(&fake).await;
    let mut waiting = Box::pin(client.lock("/ls/local/lock").unwrap().acquire());
    tokio::select! {
        _ = &mut waiting => panic!("it was not granted"),
        _ = fake.hears_mutation(|mutation| matches!(mutation, Mutation::Acquire(_))) => {}
    }
    drop(waiting);
    let cancels =
        |mutation: &Mutation| matches!(mutation, Mutation::Cancel { number } if number.0 == 1);
    fake.hears_mutation(cancels).await;
}

#[tokio::test]
async fn an_acquire_that_is_not_answered_in_time_is_cancelled() {
    let mut fake = Fake::start();
    fake.temper.grants.store(false, Ordering::SeqCst);
    let endpoint = [fake.address.clone()];
    let builder = Client::builder().endpoints(endpoint);
    let client = builder.call_timeout(Duration::from_millis(500)).connect();
    let client = client.await.unwrap();
    let request = client.lock("/ls/local/lock").unwrap().wait(Wait::No);
    let error = request.acquire().await.unwrap_err();
    assert_eq!(error, AcquireError::TimedOut);
    fake.hears_mutation(|mutation| matches!(mutation, Mutation::Cancel { .. }))
        .await;
}

#[tokio::test]
async fn a_wait_survives_a_broken_connection_under_the_same_number() {
    let mut fake = Fake::start();
    fake.temper.grants.store(false, Ordering::SeqCst);
    let client = connect(&fake).await;
    let mut waiting = Box::pin(client.lock("/ls/local/lock").unwrap().acquire());
    let acquires = |mutation: &Mutation| matches!(mutation, Mutation::Acquire(_));
    tokio::select! {
        _ = &mut waiting => panic!("it was not granted"),
        number = fake.hears_mutation(acquires) => assert_eq!(number, 1),
    }
    fake.temper.grants.store(true, Ordering::SeqCst);
    fake.push.send(None).unwrap();
    let guard = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(guard.number().0, 1);
    assert_eq!(fake.hears_mutation(acquires).await, 1);
}

#[tokio::test]
async fn a_guard_says_when_its_lease_has_run_out() {
    let fake = Fake::start();
    fake.temper.lease_ms.store(400, Ordering::SeqCst);
    let endpoint = [fake.address.clone()];
    let builder = Client::builder().endpoints(endpoint);
    let client = builder.grace(Duration::from_millis(300)).connect().await;
    let client = client.unwrap();
    let guard = client
        .lock("/ls/local/lock")
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let lost = guard.lost();
    fake.temper.silent.store(true, Ordering::SeqCst);
    assert_eq!(timeout(PATIENCE, lost).await.unwrap(), Lost::Jeopardy);
    assert!(guard.sequencer().is_err());
    assert_eq!(guard.remaining(), Duration::ZERO);
    let mut state = client.state();
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    timeout(PATIENCE, expired).await.unwrap().unwrap();
    assert_eq!(guard.sequencer(), Err(Lost::SessionEnded));
    assert_eq!(guard.token(), FencingToken(1_001));
}

#[tokio::test]
async fn a_guard_gives_its_sequencer_again_when_the_session_has_survived() {
    let fake = Fake::start();
    fake.temper.lease_ms.store(400, Ordering::SeqCst);
    let client = connect(&fake).await;
    let guard = client
        .lock("/ls/local/lock")
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let (lost, mut state) = (guard.lost(), client.state());
    fake.temper.silent.store(true, Ordering::SeqCst);
    timeout(
        PATIENCE,
        state.wait_for(|state| *state == SessionState::Jeopardy),
    )
    .await
    .unwrap()
    .unwrap();
    fake.temper.silent.store(false, Ordering::SeqCst);
    timeout(
        PATIENCE,
        state.wait_for(|state| *state == SessionState::Safe),
    )
    .await
    .unwrap()
    .unwrap();
    // Whoever waited is told, although all is well again.
    timeout(PATIENCE, lost).await.unwrap();
    assert!(timeout(Duration::ZERO, guard.lost()).await.is_err());
}

#[tokio::test]
async fn a_guard_says_who_waits() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    let request = client.lock("/ls/local/lock").unwrap().conflict_notice(true);
    let guard = request.acquire().await.unwrap();
    let mut waiters = guard.conflict();
    assert_eq!(*waiters.borrow(), Conflict::default());
    fake.push.send(Some(conflict(1, 2))).unwrap();
    let told = waiters.wait_for(|conflict| conflict.waiters == 2);
    timeout(PATIENCE, told).await.unwrap().unwrap();
}
