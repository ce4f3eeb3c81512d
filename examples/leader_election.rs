//! Elects a leader: whoever holds the lock leads, and writes its name into the lock's file.
//!
//! Start a cell with `cotterd dev`, then run this in several terminals, each with another name.
//! One of them leads; stop it with Ctrl-C, and another one does.
//!
//! ```text
//! cargo run -p cotter-examples --example leader_election -- alice
//! ```

use cotter_client::{Client, Guard, Reads};
use std::error::Error;

/// The lock, and the file that names the leader: every node is both.
const LEADER: &str = "/ls/local/examples/leader";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or("anonymous".to_owned());
    let client = Client::builder()
        .endpoints_from_env() // COTTER_ENDPOINTS, or 127.0.0.1:7400
        .name(&name)
        .connect()
        .await?;

    println!("{name}: standing for election");
    let guard = tokio::select! {
        // The queue is in the cell: nobody polls. Dropping the future leaves it.
        guard = client.lock(LEADER)?.acquire() => guard?,
        _ = tokio::signal::ctrl_c() => {
            client.close().await?;
            return Ok(());
        }
    };
    announce(&client, &guard, &name).await?;

    tokio::select! {
        lost = guard.lost() => println!("{name}: not certain to lead any more: {lost}"),
        _ = tokio::signal::ctrl_c() => {
            guard.release().await?;
            println!("{name}: stepped down");
        }
    }
    client.close().await?;
    Ok(())
}

/// Writes the leader's name and sequencer into the file.
///
/// Compare-and-set: if a later leader has written meanwhile, this write of the past is refused.
async fn announce(client: &Client, guard: &Guard, name: &str) -> Result<(), Box<dyn Error>> {
    let before = client.get(LEADER).await?;
    let predecessor = String::from_utf8_lossy(before.contents.as_bytes());
    if !predecessor.is_empty() {
        println!("{name}: succeeding {predecessor}");
    }
    // Asked for after reading: a process that stood still in between learns it here.
    let sequencer = guard.sequencer()?;
    client
        .set(LEADER, format!("{name} {sequencer}").as_str())?
        .if_unchanged(&before.stat)
        .send()
        .await?;
    println!("{name}: leading, token {}", guard.token());
    Ok(())
}
