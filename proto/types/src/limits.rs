//! Everything that can grow has its bound here, with its unit in its name.

/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Deepest path, counting names below `/ls/<cell>`.
pub const PATH_DEPTH_MAX: usize = 32;
/// Longest whole path, in bytes.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Largest node contents, in bytes.
pub const CONTENTS_BYTES_MAX: usize = 256 * 1_024;
/// Most nodes in a cell.
pub const NODES_MAX: u64 = 4_000_000;
/// Most bytes of contents in a cell.
pub const CONTENTS_TOTAL_BYTES_MAX: u64 = 4 * 1_024 * 1_024 * 1_024;
/// Most nodes that one recursive delete may remove.
pub const DELETE_NODES_MAX: u64 = 1_000;
/// Most operations in one transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;
/// Most compares in one transaction.
pub const TRANSACTION_COMPARES_MAX: usize = 128;
/// Most bytes of one transaction: paths, contents, and so much for each compare and operation as
/// [`TRANSACTION_ITEM_BYTES`] says. It fits into a batch of its own.
pub const TRANSACTION_BYTES_MAX: usize = 896 * 1_024;
/// What a compare or an operation counts beside its path and contents, in bytes: no less than any
/// encoding of it takes.
pub const TRANSACTION_ITEM_BYTES: usize = 64;
/// Shortest time to live of a node, in milliseconds.
pub const TTL_MS_MIN: u64 = 1_000;
/// Longest time to live of a node, in milliseconds: ten years.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;
/// Digits in a sequential name.
pub const SEQUENCE_DIGITS: usize = 10;
/// Largest number in a sequential name.
pub const SEQUENCE_MAX: u64 = 9_999_999_999;
/// Most names in a row, taken by nodes that were not numbered by the cell, that one sequential
/// creation passes over.
pub const SEQUENCE_SKIPS_MAX: u64 = 1_000;
/// Most entries in one page of a listing.
pub const LIST_PAGE_MAX: u32 = 1_000;
/// Entries in a page when the caller does not say.
pub const LIST_PAGE_DEFAULT: u32 = 200;

/// Most sessions in a cell.
pub const SESSIONS_MAX: u64 = 200_000;
/// Shortest lease that a session may ask for, in milliseconds.
pub const LEASE_MS_MIN: u64 = 2_000;
/// Longest lease that a session may ask for, in milliseconds.
pub const LEASE_MS_MAX: u64 = 120_000;
/// Lease granted when the client does not say, in milliseconds.
pub const LEASE_MS_DEFAULT: u64 = 12_000;
/// Grace period of a client in jeopardy when it does not say, in milliseconds.
pub const GRACE_MS_DEFAULT: u64 = 45_000;
/// After how long without a replica that can be used a cell counts as unreachable when the client
/// does not say, in milliseconds: well above a failover, and below the lease, so that the application
/// is told before it is in jeopardy.
pub const UNREACHABLE_AFTER_MS_DEFAULT: u64 = 5_000;
/// Bound for the drift between two clocks' rates, in parts per thousand: what a client takes off
/// its lease, and what a candidate for mastership adds to its wait.
pub const CLOCK_DRIFT_PER_MILLE: u64 = 10;
/// Longest session name, host, program or principal, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// Most outcomes that the cell keeps for a session until the client acknowledges them.
pub const OUTCOMES_PER_SESSION_MAX: u64 = 4_096;
/// Most separate ranges in one acknowledgement.
pub const ACKNOWLEDGED_RANGES_MAX: usize = 1_024;
/// Most locks that one session may hold.
pub const LOCKS_PER_SESSION_MAX: u64 = 100_000;
/// Most ephemeral nodes that one session may hold open.
pub const EPHEMERALS_PER_SESSION_MAX: u64 = 100_000;

/// How long the outcome of a call of the simple interface is remembered after its work is over, in
/// milliseconds of cell time: for a lock, after the end of its lease.
pub const CALL_MEMORY_MS: u64 = 10 * 60 * 1_000;
/// Most calls that the cell remembers.
pub const CALLS_REMEMBERED_MAX: u64 = 1_000_000;
/// Most bytes of what the cell remembers of calls.
pub const CALLS_REMEMBERED_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
/// Most calls forgotten by one log entry, so that forgetting never holds up the cell.
pub const CALLS_FORGOTTEN_PER_ENTRY_MAX: usize = 1_024;
/// Most calls that wait at the master for an answer.
pub const CALLS_WAITING_MAX: usize = 100_000;
/// Up to which place a waiting call is told its place in the queue: counting costs.
pub const PLACE_COUNTED_MAX: usize = 1_000;

/// Longest lock-delay, in milliseconds.
pub const LOCK_DELAY_MS_MAX: u64 = 60_000;
/// How long a restored cell grants no lock, in milliseconds of cell time: the longest lease, the
/// longest lock-delay, and the drift of clocks over both.
pub const RESTORE_CLOSED_MS: u64 =
    (LEASE_MS_MAX + LOCK_DELAY_MS_MAX) * (1_000 + CLOCK_DRIFT_PER_MILLE) / 1_000;
/// Most waiters in one lock's queue.
pub const WAITERS_PER_LOCK_MAX: u64 = 10_000;
/// Most holders of one shared lock.
pub const SHARED_HOLDERS_PER_LOCK_MAX: u64 = 10_000;
/// Changes of hands that `explain` remembers for each lock.
pub const CHANGES_OF_HANDS_MAX: usize = 16;
/// Holders or waiters that one `explain` lists; the counts are always whole.
pub const EXPLAIN_ROWS_MAX: usize = 100;

/// Most events in one page of the history.
pub const HISTORY_PAGE_MAX: u32 = 1_000;
/// Events in a page when the caller does not say.
pub const HISTORY_PAGE_DEFAULT: u32 = 200;
/// Most events that a replica looks at for one page of the history.
pub const HISTORY_SCANNED_MAX: usize = 20_000;
/// Most spans without a gap that the history of a replica remembers; the oldest goes first.
pub const HISTORY_SPANS_MAX: usize = 64;
/// Most events on their way from a replica into its history.
pub const HISTORY_QUEUED_MAX: usize = 65_536;

/// Bytes that a replica reads back from its disk in a second at most, to see whether they are whole.
pub const SCRUB_BYTES_PER_SECOND_MAX: u64 = 16 * 1_024 * 1_024;

/// Largest frame of the `Attach` stream and largest peer message, in bytes.
pub const FRAME_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Most client streams on one replica.
pub const STREAMS_MAX: usize = 20_000;
/// Most sessions attached to one stream.
pub const SESSIONS_PER_STREAM_MAX: usize = 20_000;
/// Most mutations of one stream that the master has admitted and not yet answered, waits excepted.
pub const IN_FLIGHT_PER_STREAM_MAX: usize = 4_096;
/// Most mutations that the master has admitted and not yet proposed or seen applied.
pub const IN_FLIGHT_MAX: usize = 65_536;
/// Most commands in one log entry.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// Most bytes of commands in one log entry (one command may be larger by itself).
pub const BATCH_BYTES_MAX: usize = 1_024 * 1_024;

/// Tokens stay below this, so that they are exact in a double and in JSON.
pub const TOKEN_LIMIT: u64 = 1 << 53;

/// Largest cell: five replicas.
pub const REPLICAS_MAX: usize = 5;

/// Longest address of a member, as `host:port`, in bytes: a host name of 253 and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

const _: () = assert!(NAME_BYTES_MAX < PATH_BYTES_MAX);
const _: () = assert!(UNREACHABLE_AFTER_MS_DEFAULT < LEASE_MS_DEFAULT);
const _: () = assert!(LEASE_MS_MIN < LEASE_MS_DEFAULT && LEASE_MS_DEFAULT < LEASE_MS_MAX);
const _: () = assert!(CONTENTS_BYTES_MAX + PATH_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + CONTENTS_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(ACKNOWLEDGED_RANGES_MAX * 16 < CONTENTS_BYTES_MAX);
const _: () =
    assert!(TRANSACTION_BYTES_MAX + ACKNOWLEDGED_RANGES_MAX * 20 + 4_096 < BATCH_BYTES_MAX);
const _: () = assert!(
    (TRANSACTION_OPERATIONS_MAX + TRANSACTION_COMPARES_MAX)
        * (PATH_BYTES_MAX + TRANSACTION_ITEM_BYTES)
        < TRANSACTION_BYTES_MAX
);
const _: () = assert!(SEQUENCE_MAX == 10_u64.pow(SEQUENCE_DIGITS as u32) - 1);
const _: () = assert!(SEQUENCE_DIGITS < NAME_BYTES_MAX);
const _: () = assert!(LIST_PAGE_DEFAULT <= LIST_PAGE_MAX);
const _: () = assert!(HISTORY_PAGE_DEFAULT <= HISTORY_PAGE_MAX);
const _: () = assert!(HISTORY_PAGE_MAX as usize * 2 * PATH_BYTES_MAX < FRAME_BYTES_MAX);
