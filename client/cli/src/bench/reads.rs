//! `cotter bench reads`: linearizable reads of one small node.

use super::args::ReadsArgs;
use super::clock::Stopwatch;
use super::ground::{Ground, usage};
use super::histogram::Histogram;
use super::tally::{Errors, quantiles, quantiles_json, rate};
use super::{ERROR_PAUSE, interrupted, say_errors};
use crate::args::Common;
use crate::failure::Failure;
use crate::lock::signals::Signals;
use crate::output::{Table, show};
use cotter_client::{Client, Reads};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::{JoinSet, LocalSet};

/// What the node contains: 64 bytes.
const CONTENTS: [u8; 64] = [b'.'; 64];

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    read: Histogram,
    errors: Errors,
}

/// Measures reads, and shows the figures.
pub(super) async fn run(arguments: &ReadsArgs, common: &Common) -> Result<u8, Failure> {
    let mut signals = Signals::catch(false).map_err(|error| Failure::of_file("signals", &error))?;
    let ground = Ground::prepare(&arguments.run, common, arguments.in_flight).await?;
    let path = format!("{}/node", ground.directory);
    let created = match ground.clients[0].create(&path) {
        Ok(request) => request
            .contents(CONTENTS.as_slice())
            .send()
            .await
            .map_err(Failure::from),
        Err(error) => Err(usage(&path, &error)),
    };
    if let Err(failure) = created {
        ground.clear(vec![path]).await?;
        return Err(failure);
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let set = LocalSet::new();
    let signal = set
        .run_until(async {
            let stopwatch = Stopwatch::start(arguments.run.seconds);
            let mut running = JoinSet::new();
            for index in 0..arguments.in_flight as usize {
                let client = ground.clients[index % ground.clients.len()].clone();
                let (path, tally) = (path.clone(), Rc::clone(&tally));
                running.spawn_local(read(client, path, stopwatch.clone(), tally));
            }
            stopwatch
                .wait(running, common.call_timeout(), &mut signals)
                .await
        })
        .await;
    let streams = ground.clients.len();
    // Reads that were cut off still hold sessions, and let go of them here.
    drop(set);
    let cleared = ground.clear(vec![path]).await;
    if let Some(signal) = signal {
        return Ok(interrupted(signal));
    }
    let tally = tally.borrow();
    tally.errors.unless_some(tally.read.count())?;
    say_errors(&tally.errors);
    show(
        common.output,
        &table(&tally, arguments, streams),
        &json_of(&tally, arguments, streams),
    )?;
    cleared.map(|()| 0)
}

/// Reads again and again, one read after the other.
async fn read(client: Client, path: String, stopwatch: Stopwatch, tally: Rc<RefCell<Tally>>) {
    while !stopwatch.is_over() && !client.state().borrow().is_over() {
        let began = Instant::now();
        let found = client.get(&path).await;
        let ended = Instant::now();
        let failed = found.is_err();
        if stopwatch.counts(ended) {
            let mut tally = tally.borrow_mut();
            match found {
                Ok(_) => tally.read.record(ended - began),
                Err(error) => tally.errors.add("read", &error),
            }
        }
        if failed {
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }
}

fn table(tally: &Tally, arguments: &ReadsArgs, streams: usize) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let mut row = |what: &str, value: String| table.rows.push(vec![what.to_owned(), value]);
    row("in flight", arguments.in_flight.to_string());
    row("streams", streams.to_string());
    let reads = rate(tally.read.count(), arguments.run.seconds);
    row("reads/s", format!("{reads:.1}"));
    for (quantile, ms) in quantiles(&tally.read) {
        row(&format!("read {quantile} ms"), format!("{ms:.3}"));
    }
    row("errors", tally.errors.count.to_string());
    table
}

fn json_of(tally: &Tally, arguments: &ReadsArgs, streams: usize) -> Value {
    let seconds = arguments.run.seconds;
    json!({
        "benchmark": "reads",
        "path": arguments.run.path.as_str(),
        "in_flight": arguments.in_flight,
        "streams": streams,
        "seconds": seconds.as_secs_f64(),
        "reads": tally.read.count(),
        "reads_per_second": rate(tally.read.count(), seconds),
        "read_ms": quantiles_json(&tally.read),
        "errors": tally.errors.count,
        "first_error": tally.errors.first,
    })
}
