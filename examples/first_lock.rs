//! Takes a lock, works while it is certain to hold it, and gives it back.
//!
//! Start a cell with `cotterd dev`, then run this in two terminals:
//! the second one waits until the first has finished.
//!
//! ```text
//! cargo run -p cotter-examples --example first_lock
//! ```

use cotter_client::{Client, Sequencer, Wait};
use std::error::Error;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::builder()
        .endpoints_from_env() // COTTER_ENDPOINTS, or 127.0.0.1:7400
        .name("first lock")
        .connect()
        .await?;

    println!("waiting for the lock");
    let guard = client
        .lock("/ls/local/examples/first-lock")?
        .wait(Wait::Ms(60_000))
        .acquire()
        .await?;

    // The sequencer is for those who do what the lock protects: they refuse an older one.
    let sequencer = guard.sequencer()?;
    println!("holding the lock, token {}", guard.token());

    tokio::select! {
        // Resolves before anybody else can be granted the lock.
        lost = guard.lost() => return Err(lost.into()),
        () = work(&sequencer) => {}
    }

    guard.release().await?;
    println!("released the lock");
    client.close().await?;
    Ok(())
}

/// Stands for whatever only one process may do at a time.
async fn work(sequencer: &Sequencer) {
    println!("working as {sequencer}");
    tokio::time::sleep(Duration::from_secs(1)).await;
}
