//! A replica's disk in the simulated world: the real segmented log over simulated files.
//!
//! The log is shared with the world, which reads from it what a replica has applied, and it can be
//! told to die right before or right after a flush, as a machine does.

use cotter_cell::Cell;
use cotter_replica::{ChapterLog, LogFault, LogRoom, Payload, ReplicaLog};
use cotter_server::storage::{ChapterLogs, LogSettings, SegmentedLog, SimFiles, discard_chapters};
use cotter_types::{CellId, ReplicaId};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use std::cell::{Cell as Slot, RefCell};
use std::collections::BTreeMap;
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
    cell_id: CellId,
    pub(super) incarnation: u64,
    settings: LogSettings,
    /// Checkpoints that were written and read back, by chapter. Their files have tests of their own.
    checkpoints: BTreeMap<u64, (Cell, Option<ReplicaId>)>,
    /// The last chapter that was begun from a fetched state.
    fetched: Option<u64>,
}

/// What a replica is started with.
pub(super) struct Found {
    pub(super) start: Option<Cell>,
    pub(super) state_from: Option<ReplicaId>,
    pub(super) durable: Vec<u64>,
    pub(super) logs: HostLogs,
}

impl Disk {
    /// Makes an empty disk.
    #[must_use]
    pub(super) fn new(cell_id: CellId, incarnation: u64, segment_bytes: u64) -> Self {
        Self {
            files: SimFiles::new(),
            cell_id,
            incarnation,
            settings: LogSettings {
                segment_bytes,
                cache_bytes: 64 * 1_024,
            },
            checkpoints: BTreeMap::new(),
            fetched: None,
        }
    }

    /// Finds what is on it.
    ///
    /// # Errors
    /// What the disk says, which is a bug: it loses and tears only what was not flushed.
    pub(super) fn find(&self) -> Result<Found, String> {
        let logs = ChapterLogs::new(
            self.files.clone(),
            self.cell_id,
            self.incarnation,
            self.settings,
        );
        let logs = logs.map_err(|error| error.to_string())?;
        let newest = self.checkpoints.values().last().cloned();
        let (start, state_from) = newest.unzip();
        Ok(Found {
            start,
            state_from: state_from.flatten(),
            durable: self.checkpoints.keys().copied().collect(),
            logs: HostLogs {
                logs: Rc::new(RefCell::new(logs)),
                open: Rc::default(),
                files: self.files.clone(),
                plan: Rc::default(),
            },
        })
    }

    /// Keeps a checkpoint for good.
    pub(super) fn write_checkpoint(&mut self, cell: Cell, source: Option<ReplicaId>) {
        let chapter = cell.chapter().number;
        self.checkpoints.insert(chapter, (cell, source));
    }

    /// Spoils the newest checkpoint, unless it was fetched: then the logs do not lead to it. Returns
    /// whether there was one.
    pub(super) fn spoil_checkpoint(&mut self) -> bool {
        let newest = self.checkpoints.keys().last().copied();
        newest > self.fetched && self.checkpoints.pop_last().is_some()
    }

    /// Notes that the replica has gone on from a fetched state.
    pub(super) fn was_fetched(&mut self, chapter: u64) {
        self.fetched = Some(chapter);
    }

    /// Removes what lies before a chapter.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn discard(&mut self, below: u64) -> Result<(), String> {
        self.checkpoints.retain(|chapter, _| *chapter >= below);
        discard_chapters(&self.files, below).map_err(|error| error.to_string())
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
    flush_death: Slot<Option<FlushDeath>>,
    /// After so many operations of the disk while a chapter is begun.
    begin_death: Slot<Option<u64>>,
    flushes: Slot<u64>,
}

/// Flushes that it takes to begin a chapter, about.
const FLUSHES_TO_BEGIN: u64 = 4;

/// The logs of a running replica, shared between it and the world.
#[derive(Clone)]
pub(super) struct HostLogs {
    logs: Rc<RefCell<ChapterLogs<SimFiles>>>,
    open: Rc<RefCell<BTreeMap<u64, SharedLog>>>,
    files: SimFiles,
    plan: Rc<Plan>,
}

impl HostLogs {
    /// Returns the log of a chapter, if it was opened or begun in this life.
    #[must_use]
    pub(super) fn get(&self, chapter: u64) -> Option<SharedLog> {
        self.open.borrow().get(&chapter).cloned()
    }

    /// Lets the machine die in its next flush.
    pub(super) fn die_at_flush(&self, death: FlushDeath) {
        self.plan.flush_death.set(Some(death));
    }

    /// Lets the machine die while it begins a chapter, after so many operations of its disk.
    pub(super) fn die_beginning(&self, operations: u64) {
        self.plan.begin_death.set(Some(operations));
    }

    /// Takes a planned death back: there was nothing to die in.
    pub(super) fn live_on(&self) {
        self.plan.flush_death.set(None);
        self.plan.begin_death.set(None);
    }

    /// Returns how many flushes there were since the last time, and forgets them.
    #[must_use]
    pub(super) fn take_flushes(&self) -> u64 {
        self.plan.flushes.replace(0)
    }

    fn share(&self, chapter: u64, log: RealLog) -> SharedLog {
        let shared = SharedLog {
            log: Rc::new(RefCell::new(log)),
            files: self.files.clone(),
            plan: Rc::clone(&self.plan),
        };
        self.open.borrow_mut().insert(chapter, shared.clone());
        shared
    }
}

impl ReplicaLog for HostLogs {
    type Chapter = SharedLog;

    fn chapters(&self) -> Vec<u64> {
        self.logs.borrow().chapters()
    }

    fn begin(&mut self, chapter: u64) -> Result<SharedLog, LogFault> {
        self.plan
            .flushes
            .set(self.plan.flushes.get() + FLUSHES_TO_BEGIN);
        if let Some(operations) = self.plan.begin_death.take() {
            self.files.cut_power_after(operations);
            let _ = self.logs.borrow_mut().begin(chapter);
            return Err(LogFault("died beginning a chapter".to_owned()));
        }
        let log = self.logs.borrow_mut().begin(chapter)?;
        Ok(self.share(chapter, log))
    }

    fn open(&mut self, chapter: u64) -> Result<SharedLog, LogFault> {
        let log = self.logs.borrow_mut().open(chapter)?;
        Ok(self.share(chapter, log))
    }
}

/// The log of one chapter, shared between the replica and the world.
#[derive(Clone)]
pub(super) struct SharedLog {
    log: Rc<RefCell<RealLog>>,
    files: SimFiles,
    plan: Rc<Plan>,
}

impl SharedLog {
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

impl ChapterLog for SharedLog {
    fn needs_sync(&self) -> bool {
        self.log.borrow().needs_sync()
    }

    fn sync(&mut self) -> Result<(), LogFault> {
        if !self.log.borrow().needs_sync() {
            return self.log.borrow_mut().sync();
        }
        self.plan.flushes.set(self.plan.flushes.get() + 1);
        match self.plan.flush_death.take() {
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

    fn fault(&self) -> Option<LogFault> {
        None
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
