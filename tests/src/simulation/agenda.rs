//! What is to happen, in order of true time; at the same moment, in order of scheduling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of events in virtual time.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    now: u64,
    scheduled: u64,
    heap: BinaryHeap<Reverse<(u64, u64, Slot<E>)>>,
}

/// Keeps an event out of the ordering: time and order of scheduling decide alone.
#[derive(Debug)]
struct Slot<E>(E);

impl<E> PartialEq for Slot<E> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<E> Eq for Slot<E> {}

impl<E> PartialOrd for Slot<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Slot<E> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<E> Agenda<E> {
    /// Begins at time 0.
    #[must_use]
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            scheduled: 0,
            heap: BinaryHeap::new(),
        }
    }

    /// Returns the true time.
    #[must_use]
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Schedules an event; what lies in the past happens now.
    pub(super) fn at(&mut self, time: u64, event: E) {
        self.scheduled += 1;
        self.heap
            .push(Reverse((time.max(self.now), self.scheduled, Slot(event))));
    }

    /// Schedules an event `delay` microseconds from now.
    pub(super) fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Moves time to the next event and returns it, if it is not after `until`; else moves time to
    /// `until`.
    pub(super) fn next(&mut self, until: u64) -> Option<E> {
        match self.heap.peek() {
            Some(Reverse((time, _, _))) if *time <= until => {
                let Reverse((time, _, Slot(event))) = self.heap.pop()?;
                self.now = time;
                Some(event)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}
