//! What a seed decides before anything happens: how large the cell is and how bad its world.

use super::random::Random;

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Replicas: 1, 3 or 5.
    pub replicas: usize,
    /// Clients.
    pub guests: usize,
    /// Programs that know the simple interface only.
    pub callers: usize,
    /// How long faults are injected, in microseconds.
    pub safety_us: u64,
    /// Mean time between two faults, in microseconds.
    pub fault_pace_us: u64,
    /// Chances of each kind of fault against the others.
    pub weights: Weights,
    /// Shortest lease that the clients ask for, in milliseconds; they ask for up to three times it.
    pub lease_ms: u64,
    /// Grace period of the clients, in milliseconds.
    pub grace_ms: u64,
    /// Locks that the clients compete for.
    pub locks: usize,
    /// Nodes that the clients write.
    pub nodes: usize,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// What a flush takes at least, in microseconds.
    pub flush_us: u64,
    /// Entries after which a chapter is sealed.
    pub chapter_entries: u64,
    /// What it takes at most to write a checkpoint, in microseconds.
    pub checkpoint_us: u64,
    /// Whether a replica whose state differs is rebuilt; else that is a violation.
    pub rebuilds: bool,
}

/// Weights of the kinds of faults.
#[derive(Clone, Debug)]
pub struct Weights {
    /// A replica dies.
    pub crash: u64,
    /// All replicas die together.
    pub blackout: u64,
    /// A replica stands still.
    pub pause: u64,
    /// A replica is told to retire, and restarted.
    pub retire: u64,
    /// Some machines cannot reach others.
    pub partition: u64,
    /// One direction of one way is cut.
    pub one_way: u64,
    /// Connections break.
    pub reset: u64,
    /// A link between two replicas breaks again and again, mostly while a disk is slow.
    pub flap: u64,
    /// A proposal of long ago is forwarded to the leader of the log.
    pub stray: u64,
    /// Messages between replicas are lost without a break.
    pub loss: u64,
    /// Everything on some ways takes longer.
    pub spike: u64,
    /// The network delivers twice.
    pub duplicate: u64,
    /// A disk is slow.
    pub slow_disk: u64,
    /// A clock changes its rate.
    pub clock: u64,
    /// A client stands still.
    pub guest_pause: u64,
    /// A client dies.
    pub guest_crash: u64,
}

/// What the caller of a run fixes, whatever the seed says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Replicas.
    pub replicas: Option<usize>,
    /// Clients.
    pub sessions: Option<usize>,
    /// Whether linearizability alone is judged: for tests that ask what it catches by itself.
    pub linearizability_alone: bool,
    /// Whether a replica whose state differs is rebuilt, for the test that plants one.
    pub rebuilds: bool,
}

impl Profile {
    /// Draws the shape of a run.
    #[must_use]
    pub(super) fn draw(random: &mut Random, choices: Choices) -> Self {
        let replicas = *random.pick(&[1, 3, 3, 3, 3, 3, 3, 5, 5, 5]);
        let guests = random.between(1, 8) as usize;
        let callers = random.below(4) as usize;
        let mut weight = |most: u64| {
            if random.chance(300) {
                0
            } else {
                random.between(1, most)
            }
        };
        let weights = Weights {
            crash: weight(10),
            blackout: weight(2),
            pause: weight(8),
            retire: weight(4),
            partition: weight(10),
            one_way: weight(8),
            reset: weight(10),
            flap: weight(5),
            stray: weight(3),
            loss: weight(5),
            spike: weight(6),
            duplicate: weight(4),
            slow_disk: weight(5),
            clock: weight(3),
            guest_pause: weight(6),
            guest_crash: weight(4),
        };
        Self {
            replicas: choices.replicas.unwrap_or(replicas),
            guests: choices.sessions.unwrap_or(guests),
            callers,
            safety_us: random.between(6_000_000, 20_000_000),
            fault_pace_us: random.between(100_000, 1_500_000),
            weights,
            lease_ms: random.between(2_000, 3_000),
            grace_ms: random.between(500, 6_000),
            locks: random.between(1, 3) as usize,
            nodes: random.between(1, 5) as usize,
            segment_bytes: *random.pick(&[1_024, 4_096, 16_384, 65_536]),
            flush_us: random.between(20, 1_000),
            chapter_entries: *random.pick(&[8, 20, 50, 100, 300, 1_000]),
            checkpoint_us: *random.pick(&[2_000, 50_000, 1_000_000, 5_000_000]),
            rebuilds: choices.rebuilds,
        }
    }
}
