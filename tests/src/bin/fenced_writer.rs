//! One holder of a lock that writes into a ledger: see `cotter_tests::stores::paused`.

use clap::Parser;
use cotter_client::{Client, Wait};
use cotter_tests::stores::paused::{LEASE_MS, LOCK, REFUSED, wait_for};
use cotter_tests::stores::{Entry, Ledger, Written};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Acquires the lock, reads the ledger, waits for a file, and writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The ledger.
    ledger: Ledger,
    /// Whether the sequencer is shown to the store.
    #[arg(value_parser = ["guarded", "unguarded"])]
    guard: String,
    /// Who writes.
    name: String,
    /// How much is added.
    amount: i64,
    /// The file to wait for.
    go: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::parse();
    let client = Client::builder()
        .endpoints_from_env()
        .name(&arguments.name)
        .lease(Duration::from_millis(LEASE_MS))
        .connect()
        .await?;
    let guard = client.lock(LOCK)?.wait(Wait::Ms(30_000)).acquire().await?;
    let before = arguments.ledger.read().await?;
    // The program has done all it can: it has just looked. What comes next can be late.
    let sequencer = guard.sequencer()?;
    println!("holding {}", sequencer.token);
    wait_for(&arguments.go);
    let entry = Entry {
        total: before.total + arguments.amount,
        author: arguments.name,
    };
    let shown = (arguments.guard == "guarded").then_some(&sequencer);
    Ok(match arguments.ledger.write(&entry, shown).await? {
        Written::Done => {
            println!("wrote");
            ExitCode::SUCCESS
        }
        Written::Refused { seen, shown } => {
            println!("refused: shown {shown}, seen {seen}");
            ExitCode::from(u8::try_from(REFUSED)?)
        }
    })
}
