//! What calls come to when the cell does not answer, or cannot be reached.

use super::fake::{Fake, PATIENCE, SESSION};
use crate::shared::CALLS_MAX;
use crate::{
    AcquireError, ChangeError, Client, ClientBuilder, CloseError, ConnectError, Cut, Observer,
    QueryError, Reachability, Reads, ReleaseError, SessionState, Wait,
};
use cotter_types::{ClientFrame, Mutation, Path};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// After how long the cells of these tests count as unreachable.
const BOUND: Duration = Duration::from_millis(300);

fn builder(fake: &Fake) -> ClientBuilder {
    Client::builder()
        .endpoints([fake.address.clone()])
        .unreachable_after(BOUND)
}

async fn connect(fake: &Fake) -> Client {
    builder(fake).connect().await.unwrap()
}

impl Fake {
    /// Breaks all streams, and answers nothing on new ones.
    fn goes_away(&self) {
        self.temper.silent.store(true, Ordering::SeqCst);
        self.push.send(None).unwrap();
    }

    fn comes_back(&self) {
        self.temper.silent.store(false, Ordering::SeqCst);
    }
}

async fn is_unreachable(client: &Client) {
    let mut reachability = client.reachability();
    let unreachable = reachability
        .wait_for(|it| matches!(it, Reachability::Unreachable(report) if report.lasted >= BOUND));
    timeout(PATIENCE, unreachable).await.unwrap().unwrap();
}

async fn is_reachable(client: &Client) {
    let mut reachability = client.reachability();
    let reachable = reachability.wait_for(|it| *it == Reachability::Reachable);
    timeout(PATIENCE, reachable).await.unwrap().unwrap();
}

/// Address where nobody listens.
fn dead_end() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn while_the_cell_is_away_calls_fail_at_once_and_then_work_again_by_themselves() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    let path = Path::parse("/ls/local/x").unwrap();
    fake.goes_away();
    is_unreachable(&client).await;
    // The call timeout is 30 s, and this is more patient than the test.
    let calls = async {
        let error = client.unhold(&path).await.unwrap_err();
        let ChangeError::Unreachable(report) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(report.troubles.len(), 1);
        assert_eq!(report.troubles[0].endpoint, fake.address);
        let text = error.to_string();
        assert!(text.starts_with("nothing was changed: the cell has been unreachable"));
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, QueryError::Unreachable(_)), "{error:?}");
        let request = client.lock("/ls/local/lock").unwrap();
        let error = request.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Unreachable(_)), "{error:?}");
    };
    timeout(PATIENCE, calls).await.unwrap();
    fake.comes_back();
    is_reachable(&client).await;
    client.unhold(&path).await.unwrap();
    assert_eq!(client.session_id(), SESSION);
    assert_eq!(*client.state().borrow(), SessionState::Safe);
}

#[tokio::test]
async fn connecting_to_a_cell_that_is_not_there_names_all_endpoints_and_what_is_wrong() {
    let dead = [dead_end(), dead_end()];
    let connecting = Client::builder()
        .endpoints(dead.clone())
        .unreachable_after(BOUND)
        .connect();
    let error = timeout(PATIENCE, connecting).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    let text = error.to_string();
    for address in &dead {
        assert!(text.contains(address.as_str()), "{text}");
    }
    assert!(text.to_lowercase().contains("refused"), "{text}");
}

#[tokio::test]
async fn who_wants_to_wait_for_ever_connects_to_a_cell_that_comes_late() {
    let fake = Fake::start();
    fake.temper.silent.store(true, Ordering::SeqCst);
    let mut connecting = Box::pin(builder(&fake).without_call_timeout().connect());
    let early = timeout(3 * BOUND, &mut connecting).await;
    assert!(early.is_err());
    fake.comes_back();
    let client = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(client.session_id(), SESSION);
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_sent_again_under_its_own_number() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    fake.temper.stuck.store(true, Ordering::SeqCst);
    let path = Path::parse("/ls/local/x").unwrap();
    let hasty = client.with_call_timeout(Duration::from_millis(200));
    let error = hasty.unhold(&path).await.unwrap_err();
    assert_eq!(error, ChangeError::Unknown(Cut::TimedOut));
    let unholds = |mutation: &Mutation| matches!(mutation, Mutation::Unhold { .. });
    assert_eq!(fake.hears_mutation(unholds).await, 1);
    fake.push.send(None).unwrap();
    assert_eq!(fake.hears_mutation(unholds).await, 1);
    fake.temper.stuck.store(false, Ordering::SeqCst);
    let other = Path::parse("/ls/local/y").unwrap();
    client.unhold(&other).await.unwrap();
    let unholds_other =
        |mutation: &Mutation| matches!(mutation, Mutation::Unhold { path } if *path == other);
    assert_eq!(fake.hears_mutation(unholds_other).await, 2);
}

#[tokio::test]
async fn a_wait_for_ever_keeps_its_place_through_an_outage() {
    let mut fake = Fake::start();
    fake.temper.grants.store(false, Ordering::SeqCst);
    let client = connect(&fake).await;
    let mut waiting = Box::pin(client.lock("/ls/local/lock").unwrap().acquire());
    let acquires = |mutation: &Mutation| matches!(mutation, Mutation::Acquire(_));
    tokio::select! {
        _ = &mut waiting => panic!("it was not granted"),
        number = fake.hears_mutation(acquires) => assert_eq!(number, 1),
    }
    fake.goes_away();
    tokio::select! {
        ended = &mut waiting => panic!("the wait ended: {ended:?}"),
        () = is_unreachable(&client) => {}
    }
    fake.temper.grants.store(true, Ordering::SeqCst);
    fake.comes_back();
    let guard = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(guard.number().0, 1);
}

#[tokio::test]
async fn an_acquire_that_does_not_wait_fails_and_is_cancelled_when_the_cell_is_back() {
    let mut fake = Fake::start();
    fake.temper.grants.store(false, Ordering::SeqCst);
    let client = connect(&fake).await;
    let request = client.lock("/ls/local/lock").unwrap().wait(Wait::No);
    let mut acquiring = Box::pin(request.acquire());
    let acquires = |mutation: &Mutation| matches!(mutation, Mutation::Acquire(_));
    tokio::select! {
        _ = &mut acquiring => panic!("nobody has answered"),
        _ = fake.hears_mutation(acquires) => {}
    }
    fake.goes_away();
    let error = timeout(PATIENCE, acquiring).await.unwrap().unwrap_err();
    assert!(matches!(error, AcquireError::Unreachable(_)), "{error:?}");
    fake.comes_back();
    let cancels =
        |mutation: &Mutation| matches!(mutation, Mutation::Cancel { number } if number.0 == 1);
    fake.hears_mutation(cancels).await;
}

#[tokio::test]
async fn who_wants_to_wait_for_ever_waits_through_an_outage() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    fake.goes_away();
    is_unreachable(&client).await;
    let patient = client.without_call_timeout();
    let mut asking = Box::pin(patient.status());
    assert!(timeout(BOUND, &mut asking).await.is_err());
    fake.comes_back();
    timeout(PATIENCE, asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_release_in_an_outage_is_told_and_done_later() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let lock = client.lock("/ls/local/lock").unwrap();
    let guard = lock.acquire().await.unwrap();
    fake.goes_away();
    is_unreachable(&client).await;
    let error = timeout(PATIENCE, guard.release()).await.unwrap();
    let error = error.unwrap_err();
    assert!(matches!(error, ReleaseError::Unreachable(_)), "{error:?}");
    fake.comes_back();
    fake.hears_mutation(|mutation| matches!(mutation, Mutation::Release { .. }))
        .await;
}

#[tokio::test]
async fn a_close_in_an_outage_is_not_waited_for() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    fake.goes_away();
    is_unreachable(&client).await;
    let error = timeout(PATIENCE, client.close()).await.unwrap();
    assert!(
        matches!(error, Err(CloseError::Unreachable(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_house_does_not_keep_a_call_from_failing_fast() {
    let mut fake = Fake::start();
    fake.temper.stuck.store(true, Ordering::SeqCst);
    let client = connect(&fake).await;
    let path = Path::parse("/ls/local/x").unwrap();
    let patient = client.without_call_timeout();
    let mut house = tokio::task::JoinSet::new();
    for _ in 0..CALLS_MAX {
        let (patient, path) = (patient.clone(), path.clone());
        house.spawn(async move { patient.unhold(&path).await });
    }
    fake.hears_mutation(|mutation| matches!(mutation, Mutation::Unhold { .. }))
        .await;
    fake.goes_away();
    is_unreachable(&client).await;
    let error = timeout(PATIENCE, client.status()).await.unwrap();
    assert!(
        matches!(error, Err(QueryError::Unreachable(_))),
        "{error:?}"
    );
}

fn observer(fake: &Fake) -> Observer {
    builder(fake).observe().unwrap()
}

#[tokio::test]
async fn an_observer_fails_fast_and_works_again_by_itself() {
    let mut fake = Fake::start();
    let observer = observer(&fake);
    observer.status().await.unwrap();
    fake.goes_away();
    for _ in 0..3 {
        let error = timeout(PATIENCE, observer.status()).await.unwrap();
        let Err(QueryError::Unreachable(report)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(report.troubles[0].endpoint, fake.address);
    }
    fake.comes_back();
    let asking = async {
        while let Err(error) = observer.status().await {
            assert!(matches!(error, QueryError::Unreachable(_)), "{error:?}");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
    // What has come before the outage and in it was heard; the last question was answered.
    fake.hears(|frame| matches!(frame, ClientFrame::Query { .. }))
        .await;
}

#[tokio::test]
async fn an_observer_that_may_wait_for_ever_waits_through_an_outage() {
    let fake = Fake::start();
    fake.temper.silent.store(true, Ordering::SeqCst);
    let observer = observer(&fake).without_call_timeout();
    let mut asking = Box::pin(observer.status());
    assert!(timeout(3 * BOUND, &mut asking).await.is_err());
    fake.comes_back();
    timeout(PATIENCE, asking).await.unwrap().unwrap();
}
