//! Arbitrary values of everything that a frame can hold, drawn from one seed.

use cotter_types::{
    Acknowledged, Acquire, Answer, CellId, CellStatus, CellTime, ChangeOfHands, ClientFrame,
    Compare, Condition, Contents, Create, CreateSequential, Delete, EndReason, Epoch, Explanation,
    FencingToken, HandEnd, HolderView, Instance, Lifetime, ListPage, LockMode, LockRow,
    MemberStatus, Mutation, NodeOperation, NodeResult, NodeStat, Nonce, Notice, OpenSession, Path,
    Query, QueryResponse, Refusal, ReplicaId, RequestNumber, Response, Revision, Role, Sequencer,
    ServerFrame, SessionId, SessionMetadata, SessionView, Set, Transaction, Unavailable, Wait,
    WaiterView, Welcome, limits,
};

/// A stream of pseudo-random values (SplitMix64).
pub(super) struct Draw(pub(super) u64);

impl Draw {
    fn raw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn number(&mut self) -> u64 {
        let z = self.raw();
        // Zero and the largest number are what encodings get wrong.
        match z % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => z >> 57,
            _ => z,
        }
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.raw() % limit
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| draw(self))
    }

    fn some<T>(&mut self, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| draw(self)).collect()
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'Z', ' ', '"', '\\', 'ä', '🔒', '\n', ':', '0'];
        (0..self.below(12)).map(|_| self.one_of(&letters)).collect()
    }

    fn path(&mut self) -> Path {
        let cell = self.one_of(&["local", "cell-1"]);
        let mut text = format!("/ls/{cell}");
        for _ in 0..self.below(5) {
            text.push('/');
            text.push_str(self.one_of(&["a", "jobs", "ä b", "🔒", "...", "x:y"]));
        }
        Path::parse(&text).unwrap()
    }

    fn contents(&mut self) -> Contents {
        let bytes: Vec<u8> = self.some(|draw| draw.number().to_le_bytes()).concat();
        Contents::from(bytes)
    }

    fn session(&mut self) -> SessionId {
        SessionId(self.number())
    }

    fn request(&mut self) -> RequestNumber {
        RequestNumber(self.number())
    }

    fn time(&mut self) -> CellTime {
        CellTime(self.number())
    }

    fn nonce(&mut self) -> Nonce {
        Nonce(u128::from(self.number()) << 64 | u128::from(self.number()))
    }

    fn token(&mut self) -> FencingToken {
        FencingToken(self.below(limits::TOKEN_LIMIT))
    }

    fn revision(&mut self) -> Revision {
        Revision(self.number())
    }

    fn pid(&mut self) -> u32 {
        self.number() as u32
    }

    fn mode(&mut self) -> LockMode {
        self.one_of(&[LockMode::Exclusive, LockMode::Shared])
    }

    fn lifetime(&mut self) -> Lifetime {
        let ttl = Lifetime::Ttl { ms: self.number() };
        self.one_of(&[Lifetime::Permanent, Lifetime::Ephemeral, ttl])
    }

    fn stat(&mut self) -> NodeStat {
        NodeStat {
            instance: Instance(self.number()),
            lifetime: self.lifetime(),
            content_generation: self.number(),
            lock_generation: self.number(),
            acl_generation: self.number(),
            child_generation: self.number(),
            content_bytes: self.number(),
            content_checksum: self.number(),
            children: self.number(),
            sequence: self.number(),
            creator: self.text(),
        }
    }

    fn sequencer(&mut self) -> Sequencer {
        Sequencer {
            path: self.path(),
            mode: self.mode(),
            token: self.token(),
            instance: Instance(self.number()),
            lock_generation: self.number(),
        }
    }

    fn metadata(&mut self) -> SessionMetadata {
        SessionMetadata {
            name: self.text(),
            host: self.text(),
            pid: self.pid(),
            program: self.text(),
        }
    }

    fn holder(&mut self) -> HolderView {
        HolderView {
            session: self.session(),
            number: self.request(),
            name: self.text(),
            host: self.text(),
            pid: self.pid(),
            program: self.text(),
            principal: self.text(),
            token: self.token(),
            since: self.time(),
            since_wall_ms: self.number(),
            lock_delay_ms: self.number(),
            lease_left_ms: self.maybe(Self::number),
        }
    }

    fn waiter(&mut self) -> WaiterView {
        WaiterView {
            session: self.session(),
            number: self.request(),
            name: self.text(),
            host: self.text(),
            pid: self.pid(),
            program: self.text(),
            principal: self.text(),
            mode: self.mode(),
            place: self.number(),
            since: self.time(),
            deadline: self.maybe(Self::time),
        }
    }

    fn change(&mut self) -> ChangeOfHands {
        ChangeOfHands {
            session: self.session(),
            name: self.text(),
            host: self.text(),
            pid: self.pid(),
            mode: self.mode(),
            token: self.token(),
            from: self.time(),
            until: self.time(),
            until_wall_ms: self.number(),
            end: self.one_of(&[
                HandEnd::Released,
                HandEnd::Cancelled,
                HandEnd::SessionClosed,
                HandEnd::SessionExpired,
            ]),
        }
    }

    fn explanation(&mut self) -> Explanation {
        Explanation {
            path: self.path(),
            instance: Instance(self.number()),
            lock_generation: self.number(),
            mode: self.maybe(Self::mode),
            holders: self.some(Self::holder),
            holder_count: self.number(),
            waiters: self.some(Self::waiter),
            waiter_count: self.number(),
            lock_delay_left_ms: self.number(),
            history: self.some(Self::change),
            now: self.time(),
            worst_case_free_ms: self.maybe(Self::number),
        }
    }

    fn lock_row(&mut self) -> LockRow {
        LockRow {
            path: self.path(),
            mode: self.maybe(Self::mode),
            holder_count: self.number(),
            waiter_count: self.number(),
            holder: self.maybe(Self::holder),
            lock_delay_left_ms: self.number(),
        }
    }

    fn session_view(&mut self) -> SessionView {
        SessionView {
            session: self.session(),
            metadata: self.metadata(),
            principal: self.text(),
            lease_ms: self.number(),
            opened: self.time(),
            opened_wall_ms: self.number(),
            locks: self.number(),
            waits: self.number(),
            lease_left_ms: self.maybe(Self::number),
        }
    }

    fn replica(&mut self) -> ReplicaId {
        ReplicaId(self.number())
    }

    fn member(&mut self) -> MemberStatus {
        MemberStatus {
            replica: self.replica(),
            client_address: self.text(),
            peer_address: self.text(),
            connected: self.flag(),
            heard_ms_ago: self.maybe(Self::number),
            votes: self.flag(),
            disk: self.number(),
        }
    }

    fn cell_status(&mut self) -> CellStatus {
        CellStatus {
            cell: self.text(),
            cell_id: CellId(self.number()),
            replica: self.replica(),
            role: self.one_of(&[Role::Master, Role::Follower]),
            master: self.maybe(Self::replica),
            epoch: Epoch(self.number()),
            revision: self.revision(),
            applied: self.number(),
            decided: self.number(),
            digest: self.text(),
            master_lease_left_ms: self.maybe(Self::number),
            nodes: self.number(),
            sessions: self.number(),
            locks_held: self.number(),
            waiters: self.number(),
            content_bytes: self.number(),
            members: self.some(Self::member),
            version: self.text(),
            feature_level: self.pid(),
            uptime_ms: self.number(),
        }
    }

    fn wait(&mut self) -> Wait {
        let ms = Wait::Ms(self.number());
        self.one_of(&[Wait::No, ms, Wait::Forever])
    }

    fn instance(&mut self) -> Instance {
        Instance(self.number())
    }

    fn create(&mut self) -> Create {
        Create {
            path: self.path(),
            contents: self.contents(),
            lifetime: self.lifetime(),
            parents: self.flag(),
            exclusive: self.flag(),
        }
    }

    fn create_sequential(&mut self) -> CreateSequential {
        CreateSequential {
            path: self.path(),
            contents: self.contents(),
            lifetime: self.lifetime(),
            parents: self.flag(),
        }
    }

    fn set(&mut self) -> Set {
        Set {
            path: self.path(),
            contents: self.contents(),
            if_content_generation: self.maybe(Self::number),
            if_instance: self.maybe(Self::instance),
        }
    }

    fn delete(&mut self) -> Delete {
        Delete {
            path: self.path(),
            recursive: self.flag(),
            if_content_generation: self.maybe(Self::number),
            if_instance: self.maybe(Self::instance),
        }
    }

    fn compare(&mut self) -> Compare {
        Compare {
            path: self.path(),
            condition: match self.below(7) {
                0 => Condition::Exists,
                1 => Condition::Absent,
                2 => Condition::Instance(self.instance()),
                3 => Condition::ContentGeneration(self.number()),
                4 => Condition::ChildGeneration(self.number()),
                5 => Condition::LockGeneration(self.number()),
                _ => Condition::Contents(self.contents()),
            },
        }
    }

    fn node_operation(&mut self) -> NodeOperation {
        match self.below(4) {
            0 => NodeOperation::Create(self.create()),
            1 => NodeOperation::CreateSequential(self.create_sequential()),
            2 => NodeOperation::Set(self.set()),
            _ => NodeOperation::Delete(self.delete()),
        }
    }

    fn node_result(&mut self) -> NodeResult {
        match self.below(3) {
            0 => NodeResult::Created {
                path: self.path(),
                created: self.flag(),
                instance: self.instance(),
                content_generation: self.number(),
            },
            1 => NodeResult::Written {
                instance: self.instance(),
                content_generation: self.number(),
            },
            _ => NodeResult::Deleted {
                nodes: self.number(),
            },
        }
    }

    fn mutation(&mut self) -> Mutation {
        match self.below(10) {
            0 => Mutation::Create(self.create()),
            1 => Mutation::Set(self.set()),
            2 => Mutation::Delete(self.delete()),
            3 => Mutation::Unhold { path: self.path() },
            4 => Mutation::Acquire(Acquire {
                path: self.path(),
                mode: self.mode(),
                wait: self.wait(),
                lock_delay_ms: self.number(),
                conflict_notice: self.flag(),
                create: self.maybe(Self::lifetime),
            }),
            5 => Mutation::Release {
                path: self.path(),
                number: self.request(),
            },
            6 => Mutation::Cancel {
                number: self.request(),
            },
            7 => Mutation::CreateSequential(self.create_sequential()),
            8 => Mutation::Transaction(Transaction {
                compares: self.some(Self::compare),
                operations: self.some(Self::node_operation),
            }),
            _ => Mutation::Close,
        }
    }

    fn query(&mut self) -> Query {
        match self.below(8) {
            0 => Query::Get { path: self.path() },
            1 => Query::Stat { path: self.path() },
            2 => Query::List {
                path: self.path(),
                after: self.text(),
                limit: self.pid(),
            },
            3 => Query::Explain { path: self.path() },
            4 => Query::Locks {
                within: self.path(),
                after: self.maybe(Self::path),
                limit: self.pid(),
            },
            5 => Query::Sessions {
                after: self.session(),
                limit: self.pid(),
            },
            6 => Query::CheckSequencer {
                sequencer: self.sequencer(),
            },
            _ => Query::Status,
        }
    }

    fn acknowledged(&mut self) -> Acknowledged {
        let floor = self.below(1 << 40);
        let mut end = floor;
        let above = (0..self.below(9))
            .map(|_| {
                let first = end + 1 + self.below(1_000);
                end = first + self.below(1_000);
                (RequestNumber(first), RequestNumber(end))
            })
            .collect();
        let floor = RequestNumber(floor);
        Acknowledged { floor, above }
    }

    /// Draws any frame of a client.
    pub(super) fn client_frame(&mut self) -> ClientFrame {
        match self.below(6) {
            0 => ClientFrame::Hello {
                version: self.pid(),
                client: self.text(),
                cell: self.maybe(|draw| CellId(draw.number())),
            },
            1 => ClientFrame::Open(OpenSession {
                nonce: self.nonce(),
                lease_ms: self.number(),
                metadata: self.metadata(),
            }),
            2 => ClientFrame::Attach {
                session: self.session(),
                nonce: self.nonce(),
            },
            3 => ClientFrame::KeepAlive {
                number: self.number(),
            },
            4 => ClientFrame::Mutate {
                session: self.session(),
                number: self.request(),
                acknowledged: self.acknowledged(),
                mutation: self.mutation(),
            },
            _ => ClientFrame::Query {
                id: self.number(),
                query: self.query(),
            },
        }
    }

    /// Draws any refusal.
    pub(super) fn refusal(&mut self) -> Refusal {
        let (path, n) = (self.text(), self.number());
        match self.below(25) {
            0 => Refusal::NotFound { path },
            1 => Refusal::AlreadyExists { path },
            2 => Refusal::Changed {
                path,
                content_generation: n,
                instance: self.number(),
            },
            3 => Refusal::HasChildren { path, children: n },
            4 => Refusal::TooManyNodes { path, limit: n },
            5 => Refusal::EphemeralParent { path },
            6 => Refusal::NotEphemeral { path },
            7 => Refusal::IsRoot { path },
            8 => Refusal::LockInUse { path },
            9 => Refusal::Held {
                path,
                session: self.session(),
                holder: self.text(),
            },
            10 => Refusal::LockDelayed { path, left_ms: n },
            11 => Refusal::WaitTimeout { path, waited_ms: n },
            12 => Refusal::Cancelled,
            13 => Refusal::NotHeld {
                path,
                number: self.request(),
            },
            14 => Refusal::OtherCell {
                path,
                cell: self.text(),
            },
            15 => Refusal::NoSession {
                session: self.session(),
            },
            16 => Refusal::Acknowledged {
                number: self.request(),
            },
            17 => Refusal::Limit {
                what: path,
                limit: n,
            },
            18 => Refusal::TtlParent { path },
            19 => Refusal::TransactionFailed {
                index: self.pid(),
                compare: self.flag(),
                reason: path,
            },
            20 => Refusal::LockEnded {
                path,
                expired: self.flag(),
            },
            21 => Refusal::UnknownLock,
            22 => Refusal::RequestIdReused,
            23 => Refusal::StaleSequencer { path, token: n },
            24 => Refusal::NotAdministered { why: path },
            _ => Refusal::Invalid { what: path },
        }
    }

    fn unavailable(&mut self) -> Unavailable {
        match self.below(4) {
            0 => Unavailable::NotMaster {
                master: self.maybe(Self::replica),
                address: self.maybe(Self::text),
            },
            1 => Unavailable::Overloaded {
                retry_after_ms: self.number(),
            },
            2 => Unavailable::DiskFull,
            _ => Unavailable::Condemned,
        }
    }

    fn response(&mut self) -> Response {
        match self.below(7) {
            0 => Response::Done,
            1 => Response::Created {
                created: self.flag(),
                stat: self.stat(),
            },
            2 => Response::Written { stat: self.stat() },
            3 => Response::Deleted {
                nodes: self.number(),
            },
            4 => Response::CreatedAt {
                path: self.path(),
                stat: Box::new(self.stat()),
            },
            5 => Response::Applied {
                results: self.some(Self::node_result),
            },
            _ => Response::Acquired {
                sequencer: self.sequencer(),
                waited_ms: self.number(),
            },
        }
    }

    fn answer(&mut self) -> Answer {
        match self.below(3) {
            0 => Answer::Done(self.response()),
            1 => Answer::Refused(self.refusal()),
            _ => Answer::Unavailable(self.unavailable()),
        }
    }

    fn query_response(&mut self) -> QueryResponse {
        match self.below(8) {
            0 => QueryResponse::Node {
                contents: self.contents(),
                stat: self.stat(),
                revision: self.revision(),
            },
            1 => QueryResponse::Stat {
                stat: self.stat(),
                revision: self.revision(),
            },
            2 => QueryResponse::List {
                page: ListPage {
                    children: self.some(|draw| (draw.text(), draw.stat())),
                    more: self.flag(),
                },
                revision: self.revision(),
            },
            3 => QueryResponse::Explain(Box::new(self.explanation())),
            4 => QueryResponse::Locks {
                rows: self.some(Self::lock_row),
                more: self.flag(),
            },
            5 => QueryResponse::Sessions {
                rows: self.some(Self::session_view),
                more: self.flag(),
            },
            6 => QueryResponse::Sequencer {
                current: self.flag(),
            },
            _ => QueryResponse::Status(Box::new(self.cell_status())),
        }
    }

    /// Draws any frame of a replica.
    pub(super) fn server_frame(&mut self) -> ServerFrame {
        match self.below(12) {
            0 => ServerFrame::Welcome(Welcome {
                cell_id: CellId(self.number()),
                cell: self.text(),
                replica: self.replica(),
                is_master: self.flag(),
                epoch: Epoch(self.number()),
                master: self.maybe(Self::replica),
                addresses: self.some(Self::text),
            }),
            1 => ServerFrame::Opened {
                nonce: self.nonce(),
                session: self.session(),
                lease_ms: self.number(),
            },
            2 => ServerFrame::OpenRefused {
                nonce: self.nonce(),
                answer: self.answer(),
            },
            3 => ServerFrame::Attached {
                session: self.session(),
                lease_ms: self.number(),
            },
            4 => ServerFrame::AttachRefused {
                session: self.session(),
                answer: self.answer(),
            },
            5 => ServerFrame::KeepAlive {
                number: self.number(),
            },
            6 => ServerFrame::Answer {
                session: self.session(),
                number: self.request(),
                answer: self.answer(),
            },
            7 => ServerFrame::QueryAnswer {
                id: self.number(),
                answer: match self.flag() {
                    true => Ok(self.query_response()),
                    false => Err(self.answer()),
                },
            },
            8 => ServerFrame::Notice {
                session: self.session(),
                notice: Notice::Conflict {
                    path: self.path(),
                    number: self.request(),
                    waiters: self.number(),
                    first: self.text(),
                },
            },
            9 => ServerFrame::Detached {
                session: self.session(),
                condemned: self.flag(),
            },
            10 => ServerFrame::Ended {
                session: self.session(),
                reason: self.one_of(&[EndReason::Closed, EndReason::Expired]),
            },
            _ => ServerFrame::GoAway {
                reason: self.text(),
                retry_after_ms: self.number(),
            },
        }
    }
}
