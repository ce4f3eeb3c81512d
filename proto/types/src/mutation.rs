//! Bugs planted on purpose, one at a time, to test the tests.
//!
//! Only the feature `mutations` can plant them, and only `cotter-tests` turns it on; without it
//! [`active`] is the constant `false` and every hook disappears.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Messages and answers leave before the flush that covers them.
    NoFlushBeforeSend,
    /// Messages are taken from consensus once a turn instead of after every call.
    MessagesTakenOncePerTurn,
    /// A mutation is answered when it is proposed, before it is applied.
    AnswerBeforeApply,
    /// A batch of a past epoch is applied.
    StaleEpochAccepted,
    /// A number that was seen before is executed again.
    DedupeSkipped,
    /// A lock is granted to the first waiter whether its session lives or not.
    GrantWithoutLivenessCheck,
    /// The client counts its lease from when the answer arrived.
    LeaseCountedFromReceipt,
    /// A condemned session's lease is extended.
    KeepAliveForCondemned,
    /// A master that has proposed to resign still answers queries.
    ResigningMasterReads,
    /// The fencing token is drawn from a counter of the node instead of the cell's.
    TokenFromNode,
    /// The session's end leaves its queue entries behind.
    WaiterSurvivesSession,
    /// A master reads although its lease has lapsed.
    ReadAfterLease,
    /// A candidate takes over without waiting for the old master's lease.
    TakeOverWithoutWait,
    /// A take-over is accepted although a later renewal stands in the log.
    TakeOverIgnoresRenewals,
    /// A new master does not extend the leases of the sessions that it found.
    NoLeaseExtensionAtTakeOver,
    /// A session's end starts no lock-delay.
    LockDelayForgotten,
    /// Every message leaves before the flush, not only what a leader tells its followers to accept.
    EverythingLeavesEarly,
    /// A client that gives up an acquire forgets it instead of cancelling it in the cell.
    GivenUpAcquireForgotten,
    /// An acquire of the simple interface that comes again is told a whole lease, which it has not
    /// got.
    ReplayedAcquireToldWholeLease,
    /// A lock of the simple interface whose session is condemned is renewed.
    CondemnedLockRenewed,
    /// The cell remembers no call.
    CallsNotRemembered,
    /// A transaction that is refused keeps what its first operations did.
    TransactionNotRolledBack,
    /// The number in a sequential name is not counted.
    SequenceNotRaised,
    /// A node goes before its time to live has passed.
    TimeToLiveHalved,
    /// A message of any chapter is taken for one of the standing chapter.
    AnyChapterAccepted,
    /// What stands behind a seal in its chapter is applied.
    AppliedAfterSeal,
    /// The next chapter is begun before the way to its start state is durable.
    FloorNotDurable,
    /// A chapter is begun from a fetched state of which only the beginning is here.
    GateOpenEarly,
    /// Logs go when a chapter is sealed, before the checkpoint that replaces them is durable.
    LogDroppedEarly,
    /// A replica that lost its disk votes as if it were the one that had it (I-MEMBER-1).
    WipedReplicaVotes,
    /// The members change though too few of those to be are heard (I-MEMBER-2).
    SealUnheard,
    /// One replica applies something else than what the log says.
    ApplyDiverges,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::NoFlushBeforeSend,
        Self::MessagesTakenOncePerTurn,
        Self::AnswerBeforeApply,
        Self::StaleEpochAccepted,
        Self::DedupeSkipped,
        Self::GrantWithoutLivenessCheck,
        Self::LeaseCountedFromReceipt,
        Self::KeepAliveForCondemned,
        Self::ResigningMasterReads,
        Self::TokenFromNode,
        Self::WaiterSurvivesSession,
        Self::ReadAfterLease,
        Self::TakeOverWithoutWait,
        Self::TakeOverIgnoresRenewals,
        Self::NoLeaseExtensionAtTakeOver,
        Self::LockDelayForgotten,
        Self::EverythingLeavesEarly,
        Self::GivenUpAcquireForgotten,
        Self::ReplayedAcquireToldWholeLease,
        Self::CondemnedLockRenewed,
        Self::CallsNotRemembered,
        Self::TransactionNotRolledBack,
        Self::SequenceNotRaised,
        Self::TimeToLiveHalved,
        Self::AnyChapterAccepted,
        Self::AppliedAfterSeal,
        Self::FloorNotDurable,
        Self::GateOpenEarly,
        Self::LogDroppedEarly,
        Self::WipedReplicaVotes,
        Self::SealUnheard,
        Self::ApplyDiverges,
    ];
}

#[cfg(feature = "mutations")]
mod planted {
    use super::Mutation;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Plants one bug in everything that runs on this thread, or none.
    pub fn plant(mutation: Option<Mutation>) {
        PLANTED.set(mutation);
    }

    /// Tells whether the bug is planted on this thread.
    #[must_use]
    pub fn active(mutation: Mutation) -> bool {
        PLANTED.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub use planted::{active, plant};

/// Tells whether the bug is planted: never, in a build without the feature `mutations`.
#[cfg(not(feature = "mutations"))]
#[must_use]
#[inline]
pub const fn active(_: Mutation) -> bool {
    false
}
