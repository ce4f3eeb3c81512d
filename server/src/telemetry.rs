//! Lines in the log, by `tracing`, on standard error.
//!
//! The writer is another thread with a bounded queue that drops when it is full: a log output that
//! blocks must never block a replica, whose lease runs on meanwhile. What was dropped is counted and
//! said in the next line that gets through.

use crate::config::LogFormat;
use cotter_replica::Happening;
use cotter_types::ReplicaId;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the output before new ones are dropped.
const LOG_LINES_QUEUED_MAX: usize = 8_192;

/// What is logged when `RUST_LOG` does not say.
const LOG_FILTER_DEFAULT: &str = "info,h2=warn,hyper=warn,tower=warn,tonic=warn";

/// Keeps the log's writer alive; when it is dropped, what is queued is written first.
#[must_use = "lines are lost once this is dropped"]
#[derive(Debug)]
pub struct Telemetry {
    // Held for its `Drop`, which flushes the queue.
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl Telemetry {
    /// Returns how many lines were dropped because the output was blocked.
    #[must_use]
    pub fn dropped_lines(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Starts logging for the whole process. A second call changes nothing, which is what tests need.
pub fn start(format: LogFormat) -> Telemetry {
    let counter = Arc::new(OnceLock::new());
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES_QUEUED_MAX)
        .thread_name("log")
        .finish(Confessing {
            output: io::stderr(),
            dropped: Arc::clone(&counter),
            told: 0,
            format,
        });
    let dropped = counter.get_or_init(|| writer.error_counter()).clone();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER_DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
    // An error means that a test has already set a subscriber, and that one stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Telemetry {
        _guard: guard,
        dropped,
    }
}

/// Writes lines, and says how many were dropped before the one that gets through.
struct Confessing {
    output: io::Stderr,
    dropped: Arc<OnceLock<ErrorCounter>>,
    told: usize,
    format: LogFormat,
}

impl Write for Confessing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped > self.told {
            self.told = dropped;
            match self.format {
                LogFormat::Text => {
                    writeln!(
                        self.output,
                        "WARN {dropped} log lines dropped: output blocked"
                    )?;
                }
                LogFormat::Json => writeln!(
                    self.output,
                    "{{\"level\":\"WARN\",\"message\":\"log lines dropped: output blocked\",\"dropped\":{dropped}}}"
                )?,
            }
        }
        self.output.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes one line for something that happened in a replica, and counts it.
pub fn happened(replica: ReplicaId, happening: &Happening) {
    let replica = replica.0;
    match happening {
        Happening::Recovered { applied } => {
            tracing::info!(replica, applied, "log read, state rebuilt");
        }
        Happening::BecameMaster { epoch, sessions } => {
            metrics::counter!("cotter_mastership_gained_total").increment(1);
            tracing::info!(replica, epoch = epoch.0, sessions, "became master");
        }
        Happening::SteppedDown { epoch, reason } => {
            metrics::counter!("cotter_mastership_lost_total").increment(1);
            tracing::info!(replica, epoch = epoch.0, reason, "master no more");
        }
        Happening::NewMaster {
            replica: master,
            epoch,
        } => {
            tracing::info!(
                replica,
                master = master.0,
                epoch = epoch.0,
                "another replica is master"
            );
        }
        Happening::Stalled { for_ms } => {
            metrics::counter!("cotter_stalls_total").increment(1);
            tracing::warn!(
                replica,
                for_ms,
                "own loop stood still; sessions get that time back"
            );
        }
        Happening::SessionExpired { session, name } => {
            metrics::counter!("cotter_sessions_expired_total").increment(1);
            tracing::info!(replica, %session, name, "session expired");
        }
        Happening::ChapterBegan { chapter, applied } => {
            metrics::counter!("cotter_chapters_total").increment(1);
            tracing::info!(replica, chapter, applied, "chapter of the log begins");
        }
        Happening::StateFetched { chapter, applied } => {
            tracing::info!(
                replica,
                chapter,
                applied,
                "the end of the chapter was missed: a peer's state was fetched"
            );
        }
        Happening::StateReplaced { applied } => {
            tracing::info!(replica, applied, "goes on from a fetched state");
        }
        Happening::RestFetched { chapter, entries } => {
            tracing::info!(
                replica,
                chapter,
                entries,
                "the end of the chapter was missed, and fetched from a peer"
            );
        }
        Happening::NoVote {
            chapter,
            voting_disk: Some(disk),
        } => {
            tracing::warn!(
                replica,
                chapter,
                voting_disk = format_args!("{disk:016x}"),
                "NO VOTE: the vote of this replica belongs to another disk; this one follows until \
                 cotter cell replace gives it the vote"
            );
        }
        Happening::NoVote {
            chapter,
            voting_disk: None,
        } => {
            tracing::warn!(
                replica,
                chapter,
                "NO VOTE: this replica is no member of the cell; it follows until cotter cell add \
                 makes it one"
            );
        }
        Happening::MembersChange { members } => {
            let members: Vec<u64> = members.iter().map(|id| id.0).collect();
            tracing::info!(
                replica,
                ?members,
                "the members change with the next chapter"
            );
        }
        Happening::StateRefused { chapter } => {
            tracing::warn!(
                replica,
                chapter,
                "a state that was fetched is not what was sent; another is asked for"
            );
        }
        Happening::Digest { applied, digest } => {
            tracing::info!(
                replica,
                applied,
                digest = format_args!("{digest:032x}"),
                "digest"
            );
        }
        Happening::SealsEarly { chapter } => {
            tracing::warn!(
                replica,
                chapter,
                "the chapter is damaged on a disk, and sealed early"
            );
        }
        Happening::Distrusts => {
            tracing::warn!(
                replica,
                "THE STATE IS NOT TRUSTED: it differed from that of the others, and is fetched anew"
            );
        }
        Happening::DigestsDisputed { applied, digests } => {
            metrics::counter!("cotter_digest_disputes_total").increment(1);
            let digests: Vec<String> = digests
                .iter()
                .map(|(id, digest)| format!("{id}: {digest:032x}"))
                .collect();
            tracing::error!(
                replica,
                applied,
                ?digests,
                "THE STATES DIFFER and no majority agrees: nobody serves until a third decides"
            );
        }
        Happening::DigestsSettled { applied } => {
            tracing::warn!(replica, applied, "a majority agrees on the state again");
        }
        Happening::PeerDiffers {
            peer,
            applied,
            own,
            theirs,
        } => {
            metrics::counter!("cotter_peer_differs_total").increment(1);
            tracing::error!(
                replica,
                peer = peer.0,
                applied,
                digest = format_args!("{own:032x}"),
                peers_digest = format_args!("{theirs:032x}"),
                "A PEER'S STATE DIFFERS from that of the majority; it stops and is rebuilt"
            );
        }
    }
}
