//! Writes into an SQLite database that refuses the late writes of past holders.
//!
//! Start a cell with `cotterd dev`, then run this, as often and in as many terminals as you like:
//!
//! ```text
//! cargo run -p cotter-examples --example fenced_writes -- ledger.db
//! ```

use cotter_client::fencing::FenceError;
use cotter_client::fencing::sqlite::{FenceTable, rusqlite};
use cotter_client::{Client, Guard, Sequencer, Wait};
use rusqlite::Connection;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).unwrap_or("ledger.db".to_owned());
    let mut ledger = Connection::open(&file)?;
    ledger
        .execute_batch("CREATE TABLE IF NOT EXISTS runs (token INTEGER PRIMARY KEY, note TEXT)")?;
    // The table of the largest tokens seen. It belongs into the database that it guards.
    let fence = FenceTable::create(&ledger)?;

    let client = Client::builder()
        .endpoints_from_env() // COTTER_ENDPOINTS, or 127.0.0.1:7400
        .name("fenced writes")
        .connect()
        .await?;

    let first = acquire(&client).await?;
    // A sequencer can be of the past as soon as it is in hand; only the store can tell.
    let first_sequencer = first.sequencer()?;
    add(&mut ledger, fence, &first_sequencer, "in time")?;
    println!("wrote with token {}", first_sequencer.token);
    first.release().await?;

    let second = acquire(&client).await?;
    let second_sequencer = second.sequencer()?;
    add(&mut ledger, fence, &second_sequencer, "in time")?;
    println!("wrote with token {}", second_sequencer.token);

    // As a program does that stood still for a while and knows nothing of it.
    match add(&mut ledger, fence, &first_sequencer, "too late") {
        Err(FenceError::Stale { seen, shown, .. }) => {
            println!("refused token {shown}: the store has seen {seen}");
        }
        Err(other) => return Err(other.into()),
        Ok(()) => return Err("a late write was not refused".into()),
    }

    second.release().await?;
    client.close().await?;
    let runs: u32 = ledger.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
    println!("{file} has {runs} entries");
    Ok(())
}

async fn acquire(client: &Client) -> Result<Guard, Box<dyn Error>> {
    let lock = client.lock("/ls/local/examples/fenced-writes")?;
    Ok(lock.wait(Wait::Ms(60_000)).acquire().await?)
}

/// Adds an entry: the check of the token and the entry are committed together, or neither is.
fn add(
    ledger: &mut Connection,
    fence: FenceTable,
    sequencer: &Sequencer,
    note: &str,
) -> Result<(), FenceError<rusqlite::Error>> {
    let token = i64::try_from(sequencer.token.0).unwrap_or(i64::MAX);
    fence.write(ledger, sequencer, |transaction| {
        transaction.execute("INSERT INTO runs VALUES (?1, ?2)", (token, note))?;
        Ok(())
    })
}
