//! A replica's disk in the simulated world: the real segmented log over simulated files.
//!
//! The log is shared with the world, which reads from it what a replica has applied, and it can be
//! told to die right before or right after a flush, as a machine does.

use cotter_replica::{LogFault, LogRoom, Payload, ReplicaLog};
use cotter_server::storage::{LogIdentity, LogSettings, SegmentedLog, SimFiles};
use cotter_types::CellId;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type RealLog = SegmentedLog<SimFiles>;

/// Where in the next flush the machine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlushDeath {
    /// Before anything was flushed.
    Before,
    /// In the middle: after so many more operations of the disk.
    Within(u64),
    /// When all was flushed, before anybody learnt of it.
    After,
}

/// One disk, which survives its machine.
#[derive(Debug)]
pub(super) struct Disk {
    files: SimFiles,
    identity: LogIdentity,
    settings: LogSettings,
    used: bool,
}

impl Disk {
    /// Makes an empty disk.
    #[must_use]
    pub(super) fn new(cell_id: CellId, incarnation: u64, segment_bytes: u64) -> Self {
        Self {
            files: SimFiles::new(),
            identity: LogIdentity {
                cell_id,
                chapter: 1,
                incarnation,
            },
            settings: LogSettings {
                segment_bytes,
                cache_bytes: 64 * 1_024,
            },
            used: false,
        }
    }

    /// Opens the log, or creates it the first time.
    ///
    /// # Errors
    /// What the log says. The simulated disk loses and tears, but only what was not flushed, so
    /// every error is a bug.
    pub(super) fn open(&mut self) -> Result<SharedLog, String> {
        let log = if self.used {
            SegmentedLog::open(self.files.clone(), self.identity, self.settings)
        } else {
            SegmentedLog::create(self.files.clone(), self.identity, self.settings)
        };
        let log = log.map_err(|error| error.to_string())?;
        self.used = true;
        Ok(SharedLog {
            log: Rc::new(RefCell::new(log)),
            files: self.files.clone(),
            plan: Rc::default(),
        })
    }

    /// The process dies; what it wrote stays, flushed or not.
    pub(super) fn kill(&self) {
        self.files.kill();
    }

    /// The machine loses power; of what was not flushed, chance keeps some.
    pub(super) fn cut_power(&self, seed: u64) {
        self.files.crash(seed);
    }
}

#[derive(Debug, Default)]
struct Plan {
    death: Cell<Option<FlushDeath>>,
    flushes: Cell<u64>,
}

/// The log of a running replica, shared between it and the world.
#[derive(Clone)]
pub(super) struct SharedLog {
    log: Rc<RefCell<RealLog>>,
    files: SimFiles,
    plan: Rc<Plan>,
}

impl SharedLog {
    /// Lets the machine die in its next flush.
    pub(super) fn die_at_flush(&self, death: FlushDeath) {
        self.plan.death.set(Some(death));
    }

    /// Takes a planned death back: there was no flush.
    pub(super) fn live_on(&self) {
        self.plan.death.set(None);
    }

    /// Returns how many flushes there were since the last time, and forgets them.
    #[must_use]
    pub(super) fn take_flushes(&self) -> u64 {
        self.plan.flushes.replace(0)
    }

    /// Reads entries.
    #[must_use]
    pub(super) fn entries(&self, from: usize, to: usize) -> Vec<Payload> {
        self.log.borrow().get_entries(from, to).unwrap_or_default()
    }

    /// Returns the number of entries, decided or not.
    #[must_use]
    pub(super) fn length(&self) -> usize {
        self.log.borrow().get_log_len().unwrap_or_default()
    }
}

impl ReplicaLog for SharedLog {
    fn needs_sync(&self) -> bool {
        self.log.borrow().needs_sync()
    }

    fn sync(&mut self) -> Result<(), LogFault> {
        if !self.log.borrow().needs_sync() {
            return self.log.borrow_mut().sync();
        }
        self.plan.flushes.set(self.plan.flushes.get() + 1);
        match self.plan.death.take() {
            None => self.log.borrow_mut().sync(),
            Some(FlushDeath::Before) => Err(LogFault("died before the flush".to_owned())),
            Some(FlushDeath::Within(operations)) => {
                self.files.cut_power_after(operations);
                let _ = self.log.borrow_mut().sync();
                Err(LogFault("died within the flush".to_owned()))
            }
            Some(FlushDeath::After) => {
                self.log.borrow_mut().sync()?;
                Err(LogFault("died after the flush".to_owned()))
            }
        }
    }

    fn room(&self) -> LogRoom {
        self.log.borrow().room()
    }
}

impl Storage<Payload> for SharedLog {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Payload>>) -> StorageResult<()> {
        self.log.borrow_mut().write_atomically(ops)
    }

    fn append_entry(&mut self, entry: Payload) -> StorageResult<()> {
        self.log.borrow_mut().append_entry(entry)
    }

    fn append_entries(&mut self, entries: Vec<Payload>) -> StorageResult<()> {
        self.log.borrow_mut().append_entries(entries)
    }

    fn append_on_prefix(&mut self, from_idx: usize, entries: Vec<Payload>) -> StorageResult<()> {
        self.log.borrow_mut().append_on_prefix(from_idx, entries)
    }

    fn set_promise(&mut self, n_prom: Ballot) -> StorageResult<()> {
        self.log.borrow_mut().set_promise(n_prom)
    }

    fn set_decided_idx(&mut self, ld: usize) -> StorageResult<()> {
        self.log.borrow_mut().set_decided_idx(ld)
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        self.log.borrow().get_decided_idx()
    }

    fn set_accepted_round(&mut self, na: Ballot) -> StorageResult<()> {
        self.log.borrow_mut().set_accepted_round(na)
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        self.log.borrow().get_accepted_round()
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Payload>> {
        self.log.borrow().get_entries(from, to)
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        self.log.borrow().get_log_len()
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Payload>> {
        self.log.borrow().get_suffix(from)
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        self.log.borrow().get_promise()
    }

    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        self.log.borrow_mut().set_stopsign(stopsign)
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        self.log.borrow().get_stopsign()
    }

    fn trim(&mut self, idx: usize) -> StorageResult<()> {
        self.log.borrow_mut().trim(idx)
    }

    fn set_compacted_idx(&mut self, idx: usize) -> StorageResult<()> {
        self.log.borrow_mut().set_compacted_idx(idx)
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        self.log.borrow().get_compacted_idx()
    }

    fn set_snapshot(&mut self, snapshot: Option<NoSnapshot>) -> StorageResult<()> {
        self.log.borrow_mut().set_snapshot(snapshot)
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        self.log.borrow().get_snapshot()
    }
}
