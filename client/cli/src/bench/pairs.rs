//! `cotter bench pairs`: workers that acquire and release.
//!
//! All workers run on the command line's one thread, so what they count needs no lock. The sessions
//! have threads of their own, as in every application.

use super::args::PairsArgs;
use super::clock::Stopwatch;
use super::ground::Ground;
use super::histogram::Histogram;
use super::tally::{Errors, quantiles, quantiles_json, rate};
use super::{ERROR_PAUSE, interrupted, say_errors};
use crate::args::Common;
use crate::failure::{self, Failure};
use crate::lock::signals::Signals;
use crate::output::{Table, show};
use cotter_client::{Client, FencingToken};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::{JoinSet, LocalSet};

/// What the workers counted.
#[derive(Debug, Default)]
struct Tally {
    acquire: Histogram,
    release: Histogram,
    pairs: u64,
    errors: Errors,
    /// Acquisitions of each worker, within the time.
    acquisitions: Vec<u64>,
    handoffs: u64,
    /// Only of a contended lock: who had it last, and with which token.
    last: Option<(usize, FencingToken)>,
    /// Whether a token was ever not greater than the one before.
    token_went_back: bool,
}

impl Tally {
    /// Counts an acquisition of the contended lock. The workers see acquisitions in the order in
    /// which they happen, because each lets go only after it has counted.
    fn contended(&mut self, worker: usize, token: FencingToken, counts: bool) {
        if let Some((holder, before)) = self.last {
            self.handoffs += u64::from(counts && holder != worker);
            self.token_went_back |= token <= before;
        }
        self.last = Some((worker, token));
    }
}

/// One worker.
struct Worker {
    index: usize,
    client: Client,
    path: String,
    contended: bool,
    stopwatch: Stopwatch,
    tally: Rc<RefCell<Tally>>,
}

impl Worker {
    async fn work(self) {
        while !self.stopwatch.is_over() && !self.client.state().borrow().is_over() {
            if let Err((what, error)) = self.pair().await {
                if self.stopwatch.counts(Instant::now()) {
                    self.tally.borrow_mut().errors.add(what, &error);
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }

    async fn pair(&self) -> Result<(), (&'static str, String)> {
        let began = Instant::now();
        let request = self.client.lock(&self.path);
        let request = request.map_err(|error| ("acquire", error.to_string()))?;
        let guard = request.acquire().await;
        let guard = guard.map_err(|error| ("acquire", error.to_string()))?;
        let acquired = Instant::now();
        let counts = self.stopwatch.counts(acquired);
        {
            let mut tally = self.tally.borrow_mut();
            if self.contended {
                tally.contended(self.index, guard.token(), counts);
            }
            if counts {
                tally.acquire.record(acquired - began);
                tally.acquisitions[self.index] += 1;
            }
        }
        let released = guard.release().await;
        released.map_err(|error| ("release", error.to_string()))?;
        let ended = Instant::now();
        if self.stopwatch.counts(ended) {
            let mut tally = self.tally.borrow_mut();
            tally.release.record(ended - acquired);
            tally.pairs += 1;
        }
        Ok(())
    }
}

/// Measures pairs of acquire and release, and shows the figures.
pub(super) async fn run(arguments: &PairsArgs, common: &Common) -> Result<u8, Failure> {
    let mut signals = Signals::catch(false).map_err(|error| Failure::of_file("signals", &error))?;
    let ground = Ground::prepare(&arguments.run, common, arguments.workers).await?;
    let workers = arguments.workers as usize;
    let paths: Vec<String> = match arguments.contended {
        true => vec![format!("{}/lock", ground.directory)],
        false => (0..workers)
            .map(|worker| format!("{}/{worker}", ground.directory))
            .collect(),
    };
    let tally = Rc::new(RefCell::new(Tally {
        acquisitions: vec![0; workers],
        ..Tally::default()
    }));
    let set = LocalSet::new();
    let signal = set
        .run_until(async {
            let stopwatch = Stopwatch::start(arguments.run.seconds);
            let mut running = JoinSet::new();
            for index in 0..workers {
                let worker = Worker {
                    index,
                    client: ground.clients[index % ground.clients.len()].clone(),
                    path: paths[index % paths.len()].clone(),
                    contended: arguments.contended,
                    stopwatch: stopwatch.clone(),
                    tally: Rc::clone(&tally),
                };
                running.spawn_local(worker.work());
            }
            stopwatch
                .wait(running, common.call_timeout(), &mut signals)
                .await
        })
        .await;
    let streams = ground.clients.len();
    // Workers that were cut off still hold sessions, and let go of them here.
    drop(set);
    let cleared = ground.clear(paths).await;
    if let Some(signal) = signal {
        return Ok(interrupted(signal));
    }
    let tally = tally.borrow();
    tally.errors.unless_some(tally.pairs)?;
    say_errors(&tally.errors);
    show(
        common.output,
        &table(&tally, arguments, streams),
        &json_of(&tally, arguments, streams),
    )?;
    if tally.token_went_back {
        let message = "a fencing token was not greater than the one before it";
        return Err(Failure::new(failure::SOFTWARE, message));
    }
    cleared.map(|()| 0)
}

fn table(tally: &Tally, arguments: &PairsArgs, streams: usize) -> Table {
    let seconds = arguments.run.seconds;
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let mut row = |what: &str, value: String| table.rows.push(vec![what.to_owned(), value]);
    row("workers", arguments.workers.to_string());
    row("streams", streams.to_string());
    row("pairs/s", format!("{:.1}", rate(tally.pairs, seconds)));
    for (name, histogram) in [("acquire", &tally.acquire), ("release", &tally.release)] {
        for (quantile, ms) in quantiles(histogram) {
            row(&format!("{name} {quantile} ms"), format!("{ms:.3}"));
        }
    }
    row("errors", tally.errors.count.to_string());
    if arguments.contended {
        let (min, max) = extremes(&tally.acquisitions);
        let handoffs = rate(tally.handoffs, seconds);
        row("hand-offs/s", format!("{handoffs:.1}"));
        row("least acquisitions of a worker", min.to_string());
        row("most acquisitions of a worker", max.to_string());
    }
    table
}

fn json_of(tally: &Tally, arguments: &PairsArgs, streams: usize) -> Value {
    let seconds = arguments.run.seconds;
    let (min, max) = extremes(&tally.acquisitions);
    let contended = arguments.contended;
    json!({
        "benchmark": "pairs",
        "path": arguments.run.path.as_str(),
        "workers": arguments.workers,
        "streams": streams,
        "contended": contended,
        "seconds": seconds.as_secs_f64(),
        "pairs": tally.pairs,
        "pairs_per_second": rate(tally.pairs, seconds),
        "acquire_ms": quantiles_json(&tally.acquire),
        "release_ms": quantiles_json(&tally.release),
        "errors": tally.errors.count,
        "first_error": tally.errors.first,
        "handoffs": contended.then_some(tally.handoffs),
        "handoffs_per_second": contended.then(|| rate(tally.handoffs, seconds)),
        "acquisitions_per_worker": contended.then(|| json!({ "min": min, "max": max })),
    })
}

fn extremes(counts: &[u64]) -> (u64, u64) {
    let min = counts.iter().min().copied().unwrap_or(0);
    let max = counts.iter().max().copied().unwrap_or(0);
    (min, max)
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use cotter_client::FencingToken;

    #[test]
    fn handing_a_lock_to_oneself_is_no_hand_off() {
        let mut tally = Tally::default();
        for (worker, token) in [(0, 1), (0, 2), (1, 3), (0, 4)] {
            tally.contended(worker, FencingToken(token), true);
        }
        assert_eq!(tally.handoffs, 2);
        assert!(!tally.token_went_back);
    }

    #[test]
    fn token_that_does_not_grow_is_noticed_even_while_nothing_counts() {
        let mut tally = Tally::default();
        tally.contended(0, FencingToken(7), false);
        tally.contended(1, FencingToken(7), false);
        assert_eq!(tally.handoffs, 0);
        assert!(tally.token_went_back);
    }
}
