//! A client of the cell: takes locks and holds them, writes nodes of its own, reads everybody's.

use crate::chance::Chance;
use crate::record::Shared;
use cotter_client::{ChangeError, Client, Guard, Reads, Wait};
use std::time::Duration;

/// Locks for which the clients contend.
pub(crate) const LOCKS: [&str; 3] = ["/ls/local/lock-0", "/ls/local/lock-1", "/ls/local/lock-2"];
/// Longest time for one call of a client.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Shortest lease that a cell gives.
const LEASE: Duration = Duration::from_secs(2);

/// Where the cell is.
pub(crate) fn endpoints() -> [String; 3] {
    [1, 2, 3].map(|id| format!("replica-{id}:7400"))
}

/// Lives until its host does not: opens one session after the other.
pub(crate) async fn live(guest: usize, seed: u64, life: u64, record: Shared) {
    let mut chance = Chance::new(seed, 1_000 * (guest as u64 + 1) + life);
    let mut session = 0;
    loop {
        let connecting = Client::builder()
            .endpoints(endpoints())
            .name(format!("guest-{guest}"))
            .lease(LEASE)
            .grace(Duration::from_secs(10))
            .call_timeout(CALL_TIMEOUT)
            .connect();
        match connecting.await {
            Ok(client) => {
                record.borrow_mut().opened(guest, &client);
                let id = client.session_id();
                record
                    .borrow_mut()
                    .line(&format!("guest-{guest} opens {id}"));
                session += 1;
                let node = format!("/ls/local/own-{guest}-{life}-{session}");
                work(guest, &client, node, &mut chance, &record).await;
                record.borrow_mut().line(&format!("guest-{guest} is over"));
                record.borrow_mut().over(guest);
            }
            Err(error) => {
                let text = format!("guest-{guest} cannot connect: {error}");
                record.borrow_mut().line(&text);
            }
        }
        tokio::time::sleep(chance.ms(10, 500)).await;
    }
}

/// Works until the session has ended.
async fn work(guest: usize, client: &Client, first: String, chance: &mut Chance, record: &Shared) {
    let mut node = first.clone();
    let mut lost_nodes = 0;
    while !client.state().borrow().is_over() {
        match chance.below(4) {
            0 => lock(guest, client, chance, record).await,
            1 | 2 => {
                if !write(client, &node, record).await {
                    // It may yet be done, so nothing can be said of this node any more.
                    lost_nodes += 1;
                    node = format!("{first}-{lost_nodes}");
                }
            }
            _ => read(guest, client, chance, record).await,
        }
        tokio::time::sleep(chance.ms(1, 200)).await;
    }
}

async fn lock(guest: usize, client: &Client, chance: &mut Chance, record: &Shared) {
    let path = LOCKS[chance.below(LOCKS.len() as u64) as usize];
    let wait = match chance.below(3) {
        0 => Wait::No,
        _ => Wait::Ms(chance.below(4_000)),
    };
    let Ok(request) = client.lock(path) else {
        return;
    };
    match request.wait(wait).acquire().await {
        Ok(guard) => {
            record.borrow_mut().holds(guest, &guard);
            hold(&guard, chance.ms(1, 800)).await;
            record.borrow_mut().gives_back(&guard);
            let released = guard.release().await;
            let text = format!("guest-{guest} released: {released:?}");
            record.borrow_mut().line(&text);
        }
        Err(error) => {
            let text = format!("guest-{guest} has no lock: {error}");
            record.borrow_mut().line(&text);
        }
    }
}

/// Holds a lock for a while, or until it may be lost.
async fn hold(guard: &Guard, time: Duration) {
    tokio::select! {
        _ = guard.lost() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// Writes the next value; returns whether the outcome is known.
async fn write(client: &Client, node: &str, record: &Shared) -> bool {
    let value = record.borrow_mut().sends(node);
    let contents = value.to_string().into_bytes();
    let stat = if value == 1 {
        let Ok(request) = client.create(node) else {
            return false;
        };
        request
            .contents(contents)
            .send()
            .await
            .map(|made| made.stat)
    } else {
        let Ok(request) = client.set(node, contents) else {
            return false;
        };
        request.send().await
    };
    match stat {
        Ok(stat) => {
            let generation = stat.content_generation;
            record.borrow_mut().acknowledged(node, value, generation);
            true
        }
        Err(error) => {
            record
                .borrow_mut()
                .line(&format!("{node} is not {value}: {error}"));
            // What was not sent is not done, but the values would have a gap.
            matches!(error, ChangeError::NotSent(_) | ChangeError::Unreachable(_)) && value > 1
        }
    }
}

async fn read(guest: usize, client: &Client, chance: &mut Chance, record: &Shared) {
    let Some((node, floor)) = record.borrow().some_node(chance.any()) else {
        return;
    };
    if floor == 0 {
        return;
    }
    match client.get(&node).await {
        Ok(found) => {
            let text = String::from_utf8_lossy(found.contents.as_bytes()).into_owned();
            let value = text.parse().unwrap_or(0);
            record.borrow_mut().found(guest, &node, floor, value);
        }
        Err(error) => {
            let text = format!("guest-{guest} finds nothing in {node}: {error}");
            record.borrow_mut().line(&text);
        }
    }
}

/// Takes every lock once, after everything was healed.
pub(crate) async fn probe(record: Shared, wait_ms: u64) -> turmoil::Result {
    let client = Client::builder()
        .endpoints(endpoints())
        .name("probe")
        .call_timeout(Duration::from_millis(wait_ms))
        .connect()
        .await?;
    for path in LOCKS {
        let request = client.lock(path)?.wait(Wait::Ms(wait_ms));
        let guard = request.acquire().await?;
        let text = format!("probe holds {}", guard.sequencer()?);
        record.borrow_mut().grantable += 1;
        record.borrow_mut().line(&text);
        guard.release().await?;
    }
    Ok(())
}
