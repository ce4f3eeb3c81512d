//! Sessions, calls, observers.

use super::fake::{Fake, PATIENCE, SESSION};
use crate::{ChangeError, Client, ConnectError, Cut, Observer, Reads, SessionState, now};
use cotter_types::{ClientFrame, Mutation, Path, Role};
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

fn observer(fake: &Fake) -> Observer {
    let endpoint = [fake.address.clone()];
    let builder = Client::builder().endpoints(endpoint);
    builder
        .call_timeout(Duration::from_secs(5))
        .observe()
        .unwrap()
}

#[tokio::test]
async fn a_session_is_opened_and_closed() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    assert_eq!(client.session_id(), SESSION);
    assert_eq!(client.lease(), Duration::from_secs(12));
    assert_eq!(*client.state().borrow(), SessionState::Safe);
    let state = client.state();
    client.close().await.unwrap();
    assert_eq!(*state.borrow(), SessionState::Closed);
    fake.hears_mutation(|mutation| *mutation == Mutation::Close)
        .await;
}

#[tokio::test]
async fn a_session_is_closed_when_nobody_has_it_any_more() {
    let mut fake = Fake::start();
    drop(connect(&fake).await);
    fake.hears_mutation(|mutation| *mutation == Mutation::Close)
        .await;
}

#[tokio::test]
async fn a_busy_application_does_not_starve_the_session() {
    let fake = Fake::start();
    fake.temper.lease_ms.store(1_000, Ordering::SeqCst);
    let client = connect(&fake).await;
    let lost = client.lost();
    // The only thread of this runtime does nothing but work, for three leases.
    let end = now().after(Duration::from_secs(3));
    while now() < end {
        std::hint::spin_loop();
    }
    assert!(client.check().is_ok());
    assert!(timeout(Duration::ZERO, lost).await.is_err());
}

#[tokio::test]
async fn a_write_without_an_answer_has_an_unknown_outcome() {
    let fake = Fake::start();
    fake.temper.stuck.store(true, Ordering::SeqCst);
    let endpoint = [fake.address.clone()];
    let builder = Client::builder().endpoints(endpoint);
    let client = builder.call_timeout(Duration::from_millis(500)).connect();
    let client = client.await.unwrap();
    let path = Path::parse("/ls/local/x").unwrap();
    let error = client.unhold(&path).await.unwrap_err();
    assert_eq!(error, ChangeError::Unknown(Cut::TimedOut));
}

#[tokio::test]
async fn a_write_that_never_left_was_not_made() {
    let fake = Fake::start();
    let endpoint = [fake.address.clone()];
    let builder = Client::builder().endpoints(endpoint);
    let client = builder.call_timeout(Duration::from_millis(500)).connect();
    let client = client.await.unwrap();
    fake.temper.silent.store(true, Ordering::SeqCst);
    fake.push.send(None).unwrap();
    let path = Path::parse("/ls/local/x").unwrap();
    let error = loop {
        // Until the client has noticed that its connection is gone, it may still send.
        let error = client.unhold(&path).await.unwrap_err();
        if error != ChangeError::Unknown(Cut::TimedOut) {
            break error;
        }
    };
    assert_eq!(error, ChangeError::NotSent(Cut::TimedOut));
}

#[tokio::test]
async fn an_answer_of_another_kind_is_a_misfit() {
    let fake = Fake::start();
    let client = connect(&fake).await;
    let set = client.set("/ls/local/x", "new").unwrap();
    assert_eq!(set.send().await, Err(ChangeError::Misfit));
}

#[tokio::test]
async fn a_refused_session_says_why() {
    let fake = Fake::start();
    fake.temper.refuses.store(true, Ordering::SeqCst);
    let endpoint = [fake.address.clone()];
    let error = Client::builder().endpoints(endpoint).connect().await;
    assert!(matches!(error, Err(ConnectError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn without_a_master_connecting_ends_and_says_what_it_met() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let builder = Client::builder().endpoints([address.clone()]);
    let client = builder.call_timeout(Duration::from_millis(300)).connect();
    let Err(error @ ConnectError::TimedOut { .. }) = client.await else {
        panic!("there is nobody")
    };
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_observer_asks_without_a_session() {
    let mut fake = Fake::start();
    let observer = observer(&fake);
    assert_eq!(observer.status().await.unwrap().role, Role::Master);
    assert_eq!(observer.status().await.unwrap().nodes, 1);
    let mut asked = 0;
    while asked < 2 {
        let frame = fake.hears(|_| true).await;
        assert!(!matches!(frame, ClientFrame::Open(_)));
        asked += u32::from(matches!(frame, ClientFrame::Query { .. }));
    }
}

#[tokio::test]
async fn an_observer_survives_a_broken_stream() {
    let fake = Fake::start();
    let observer = observer(&fake);
    observer.status().await.unwrap();
    fake.push.send(None).unwrap();
    timeout(PATIENCE, observer.status()).await.unwrap().unwrap();
}

#[tokio::test]
async fn any_replica_tells_its_own_status() {
    let fake = Fake::start();
    fake.temper.is_master.store(false, Ordering::SeqCst);
    let observer = observer(&fake);
    let status = observer.status_of(&fake.address).await.unwrap();
    assert_eq!(status.role, Role::Follower);
}
