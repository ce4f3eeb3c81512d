//! A cell of one replica, in this process, on a port that the system chose.

use crate::exchange::{Reply, Request};
use cotter_replica::{ChapterPolicy, Timing};
use cotter_server::birth::{BirthDesk, birth_of_all_here};
use cotter_server::config::{MemberAddress, SCRUB_EVERY_DEFAULT};
use cotter_server::daemon::{ReplicaSpec, RunningReplica};
use cotter_server::history::HistorySettings;
use cotter_types::ReplicaId;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const CELL: &str = "proof";
/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running cell.
pub(crate) struct Cell {
    pub(crate) address: SocketAddr,
    last_request: AtomicU64,
    // In this order: the replica stops before its directory goes.
    replica: Option<RunningReplica>,
    runtime: Runtime,
    _directory: TempDir,
}

impl Cell {
    /// Gives birth to a cell, and waits until it serves.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let data = directory.path().join("replica");
        let (address, replica) = runtime.block_on(async {
            let client = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = client.local_addr().unwrap();
            let members = vec![MemberAddress {
                id: ReplicaId(1),
                client: address.to_string(),
                peer: peer.local_addr().unwrap().to_string(),
            }];
            let desk = BirthDesk::open(&data, CELL, ReplicaId(1), &members, None).unwrap();
            birth_of_all_here(CELL, &members, &[&desk]).unwrap();
            drop(desk);
            let spec = ReplicaSpec {
                id: ReplicaId(1),
                cell: CELL.to_owned(),
                data,
                members,
                timing: Timing::default(),
                chapters: ChapterPolicy::default(),
                history: HistorySettings::default(),
                scrub_every: SCRUB_EVERY_DEFAULT,
                take_back: false,
                client_listener: client,
                peer_listener: peer,
            };
            (address, RunningReplica::start(spec).unwrap())
        });
        let cell = Self {
            address,
            last_request: AtomicU64::new(0),
            replica: Some(replica),
            runtime,
            _directory: directory,
        };
        let mut standing = cell.replica.as_ref().unwrap().standing();
        let reigns = standing.wait_for(|standing| standing.is_master);
        cell.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, reigns).await.map(|_| ()) })
            .unwrap();
        let begin = Instant::now();
        while cell.get("/healthz").status != 200 {
            assert!(begin.elapsed() < PATIENCE, "the cell does not serve");
        }
        cell
    }

    /// Makes a request.
    pub(crate) fn ask(&self, request: &Request) -> Reply {
        request.exchange(self.address)
    }

    /// Makes a `GET`.
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.ask(&Request::new("GET", target))
    }

    /// Makes a `POST` of JSON.
    pub(crate) fn post(&self, target: &str, body: &serde_json::Value) -> Reply {
        self.ask(&Request::new("POST", target).json(body))
    }

    /// Makes a `PUT`.
    pub(crate) fn put(&self, target: &str, body: &[u8]) -> Reply {
        self.ask(&Request::new("PUT", target).body(body))
    }

    /// Returns a request id that no other request of this test has.
    pub(crate) fn request_id(&self) -> String {
        format!(
            "{:032x}",
            self.last_request.fetch_add(1, Ordering::Relaxed) + 1
        )
    }

    /// Returns how many commands the cell has applied.
    pub(crate) fn revision(&self) -> u64 {
        self.get("/v1/cell").json()["revision"].as_u64().unwrap()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Some(replica) = self.replica.take() {
            self.runtime.block_on(replica.stop());
        }
    }
}
