//! Programs that write into a cell without pause and remember what was acknowledged.
//!
//! Each writer has one session and creates one node after the other; one more takes and gives back a
//! lock. What the cell has acknowledged it must have for ever, and each token must be larger than
//! all before it. Errors are no failures here: the faults cause them, and what they say was not
//! acknowledged.

use cotter_client::Client;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Where the nodes are.
const KEPT: &str = "/ls/local/kept";
/// The lock whose tokens must rise.
const LOCK: &str = "/ls/local/taken";
/// Longer than any outage that a test makes.
const PATIENT: Duration = Duration::from_secs(100);
/// How long a call may take before the writer goes on with the next.
const CALL: Duration = Duration::from_secs(30);
/// Pause after an error, so that an outage is no busy loop.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// What has been acknowledged so far.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    /// Names of nodes.
    pub names: BTreeSet<String>,
    /// Tokens, in the order in which they came.
    pub tokens: Vec<u64>,
}

impl Acknowledged {
    /// Checks that each token was larger than the one before.
    ///
    /// # Panics
    /// If one was not.
    #[track_caller]
    pub fn check_tokens(&self) {
        for pair in self.tokens.windows(2) {
            assert!(pair[0] < pair[1], "tokens do not rise: {pair:?}");
        }
    }

    /// Checks that everything is in `listing`, the output of `cotter -o plain ls` of
    /// [`Ledger::directory`].
    ///
    /// # Panics
    /// If something is missing.
    #[track_caller]
    pub fn check_kept(&self, listing: &str) {
        let listed: BTreeSet<&str> = listing.lines().collect();
        let lost: Vec<&String> = self
            .names
            .iter()
            .filter(|name| !listed.contains(name.as_str()))
            .collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    }
}

/// Writers at work.
#[derive(Debug)]
pub struct Ledger {
    // The tasks end with it.
    runtime: Option<Runtime>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
}

impl Ledger {
    /// Starts `writers` of nodes with contents of `bytes`, and one who takes a lock, at the cell
    /// with these addresses.
    ///
    /// # Panics
    /// If there are no threads for them.
    #[must_use]
    pub fn start(endpoints: &str, writers: usize, bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads for the writers");
        let mut ledger = Self {
            runtime: None,
            acknowledged: Arc::default(),
            stop: Arc::default(),
        };
        for writer in 0..writers {
            let (endpoints, pen) = (endpoints.to_owned(), ledger.pen());
            runtime.spawn(async move { pen.write(&endpoints, writer, bytes).await });
        }
        let (endpoints, pen) = (endpoints.to_owned(), ledger.pen());
        runtime.spawn(async move { pen.take_turns(&endpoints).await });
        ledger.runtime = Some(runtime);
        ledger
    }

    fn pen(&self) -> Pen {
        Pen {
            acknowledged: Arc::clone(&self.acknowledged),
            stop: Arc::clone(&self.stop),
        }
    }

    /// Returns the directory of all nodes.
    #[must_use]
    pub fn directory() -> &'static str {
        KEPT
    }

    /// Returns what has been acknowledged until now.
    #[must_use]
    pub fn so_far(&self) -> Acknowledged {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how many nodes and tokens have been acknowledged until now.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let so_far = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (so_far.names.len(), so_far.tokens.len())
    }

    /// Ends the writers and returns what was acknowledged.
    #[must_use]
    pub fn stop(mut self) -> Acknowledged {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a writer notes its acknowledgements with.
#[derive(Debug)]
struct Pen {
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
}

impl Pen {
    fn note(&self, write: impl FnOnce(&mut Acknowledged)) {
        write(
            &mut self
                .acknowledged
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    async fn connect(&self, endpoints: &str) -> Option<Client> {
        while !self.stop.load(Ordering::Relaxed) {
            let client = Client::builder()
                .endpoints(endpoints.split(','))
                .lease(PATIENT)
                .call_timeout(CALL)
                .unreachable_after(PATIENT)
                .connect()
                .await;
            match client {
                Ok(client) => return Some(client),
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            }
        }
        None
    }

    async fn write(&self, endpoints: &str, writer: usize, bytes: usize) {
        let Some(client) = self.connect(endpoints).await else {
            return;
        };
        let contents = "x".repeat(bytes);
        for number in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("w{writer}-{number}");
            let Ok(request) = client.create(&format!("{KEPT}/{name}")) else {
                return;
            };
            let request = request.parents().contents(contents.as_str());
            match request.send().await {
                Ok(_) => self.note(|all| {
                    all.names.insert(name);
                }),
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            }
        }
    }

    async fn take_turns(&self, endpoints: &str) {
        let Some(client) = self.connect(endpoints).await else {
            return;
        };
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(request) = client.lock(LOCK) else {
                return;
            };
            match request.acquire().await {
                Ok(guard) => {
                    let token = guard.token().0;
                    self.note(|all| all.tokens.push(token));
                    // Unconfirmed or not, it is tried until it is done.
                    let _ = guard.release().await;
                }
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            }
        }
    }
}
