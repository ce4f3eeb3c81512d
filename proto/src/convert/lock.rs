//! `lock.proto`.

use crate::v1;
use crate::wire::{WireError, WireProblem, missing, path, unknown, wrong};
use cotter_types::limits::TOKEN_LIMIT;
use cotter_types::{
    CellTime, ChangeOfHands, Explanation, FencingToken, HandEnd, HolderView, Instance, LockMode,
    LockRow, RequestNumber, Sequencer, SessionId, Wait, WaiterView,
};

/// Reads a mode that must be given.
pub(super) fn mode(value: i32, field: &'static str) -> Result<LockMode, WireError> {
    optional_mode(value, field)?.ok_or_else(|| unknown(field, value))
}

/// Reads a mode whose absence means that the lock is free.
fn optional_mode(value: i32, field: &'static str) -> Result<Option<LockMode>, WireError> {
    match v1::LockMode::try_from(value) {
        Ok(v1::LockMode::Unspecified) => Ok(None),
        Ok(v1::LockMode::Exclusive) => Ok(Some(LockMode::Exclusive)),
        Ok(v1::LockMode::Shared) => Ok(Some(LockMode::Shared)),
        Err(_) => Err(unknown(field, value)),
    }
}

/// Writes a mode whose absence means that the lock is free.
fn optional_mode_number(mode: Option<LockMode>) -> i32 {
    mode.map_or(v1::LockMode::Unspecified, v1::LockMode::from)
        .into()
}

/// Reads a fencing token.
pub(super) fn token(value: u64, field: &'static str) -> Result<FencingToken, WireError> {
    if value >= TOKEN_LIMIT {
        let problem = WireProblem::Malformed("a token must be below 2^53");
        return Err(wrong(field, problem));
    }
    Ok(FencingToken(value))
}

impl From<LockMode> for v1::LockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Exclusive => Self::Exclusive,
            LockMode::Shared => Self::Shared,
        }
    }
}

impl From<HandEnd> for v1::HandEnd {
    fn from(end: HandEnd) -> Self {
        match end {
            HandEnd::Released => Self::Released,
            HandEnd::Cancelled => Self::Cancelled,
            HandEnd::SessionClosed => Self::SessionClosed,
            HandEnd::SessionExpired => Self::SessionExpired,
        }
    }
}

/// Reads why a hold ended.
pub(super) fn hand_end(value: i32, field: &'static str) -> Result<HandEnd, WireError> {
    match v1::HandEnd::try_from(value) {
        Ok(v1::HandEnd::Released) => Ok(HandEnd::Released),
        Ok(v1::HandEnd::Cancelled) => Ok(HandEnd::Cancelled),
        Ok(v1::HandEnd::SessionClosed) => Ok(HandEnd::SessionClosed),
        Ok(v1::HandEnd::SessionExpired) => Ok(HandEnd::SessionExpired),
        Ok(v1::HandEnd::Unspecified) | Err(_) => Err(unknown(field, value)),
    }
}

impl From<Wait> for v1::Wait {
    fn from(wait: Wait) -> Self {
        use v1::wait;
        Self {
            wait: Some(match wait {
                Wait::No => wait::Wait::No(wait::No {}),
                Wait::Ms(ms) => wait::Wait::Ms(ms),
                Wait::Forever => wait::Wait::Forever(wait::Forever {}),
            }),
        }
    }
}

impl TryFrom<v1::Wait> for Wait {
    type Error = WireError;

    fn try_from(message: v1::Wait) -> Result<Self, WireError> {
        use v1::wait;
        match message.wait.ok_or_else(|| missing("Wait.wait"))? {
            wait::Wait::No(wait::No {}) => Ok(Self::No),
            wait::Wait::Ms(ms) => Ok(Self::Ms(ms)),
            wait::Wait::Forever(wait::Forever {}) => Ok(Self::Forever),
        }
    }
}

impl From<Sequencer> for v1::Sequencer {
    fn from(sequencer: Sequencer) -> Self {
        let Sequencer {
            path,
            mode,
            token,
            instance,
            lock_generation,
        } = sequencer;
        Self {
            path: path.as_str().to_owned(),
            mode: v1::LockMode::from(mode).into(),
            token: token.0,
            instance: instance.0,
            lock_generation,
        }
    }
}

impl TryFrom<v1::Sequencer> for Sequencer {
    type Error = WireError;

    fn try_from(message: v1::Sequencer) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Sequencer.path")?,
            mode: mode(message.mode, "Sequencer.mode")?,
            token: token(message.token, "Sequencer.token")?,
            instance: Instance(message.instance),
            lock_generation: message.lock_generation,
        })
    }
}

impl From<HolderView> for v1::HolderView {
    fn from(view: HolderView) -> Self {
        let HolderView {
            session,
            number,
            name,
            host,
            pid,
            program,
            principal,
            token,
            since,
            since_wall_ms,
            lock_delay_ms,
            lease_left_ms,
        } = view;
        Self {
            session: session.0,
            number: number.0,
            name,
            host,
            pid,
            program,
            principal,
            token: token.0,
            since_ms: since.0,
            since_wall_ms,
            lock_delay_ms,
            lease_left_ms,
        }
    }
}

impl TryFrom<v1::HolderView> for HolderView {
    type Error = WireError;

    fn try_from(message: v1::HolderView) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(message.session),
            number: RequestNumber(message.number),
            name: message.name,
            host: message.host,
            pid: message.pid,
            program: message.program,
            principal: message.principal,
            token: token(message.token, "HolderView.token")?,
            since: CellTime(message.since_ms),
            since_wall_ms: message.since_wall_ms,
            lock_delay_ms: message.lock_delay_ms,
            lease_left_ms: message.lease_left_ms,
        })
    }
}

impl From<WaiterView> for v1::WaiterView {
    fn from(view: WaiterView) -> Self {
        let WaiterView {
            session,
            number,
            name,
            host,
            pid,
            program,
            principal,
            mode,
            place,
            since,
            deadline,
        } = view;
        Self {
            session: session.0,
            number: number.0,
            name,
            host,
            pid,
            program,
            principal,
            mode: v1::LockMode::from(mode).into(),
            place,
            since_ms: since.0,
            deadline_ms: deadline.map(|time| time.0),
        }
    }
}

impl TryFrom<v1::WaiterView> for WaiterView {
    type Error = WireError;

    fn try_from(message: v1::WaiterView) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(message.session),
            number: RequestNumber(message.number),
            name: message.name,
            host: message.host,
            pid: message.pid,
            program: message.program,
            principal: message.principal,
            mode: mode(message.mode, "WaiterView.mode")?,
            place: message.place,
            since: CellTime(message.since_ms),
            deadline: message.deadline_ms.map(CellTime),
        })
    }
}

impl From<ChangeOfHands> for v1::ChangeOfHands {
    fn from(change: ChangeOfHands) -> Self {
        let ChangeOfHands {
            session,
            name,
            host,
            pid,
            mode,
            token,
            from,
            until,
            until_wall_ms,
            end,
        } = change;
        Self {
            session: session.0,
            name,
            host,
            pid,
            mode: v1::LockMode::from(mode).into(),
            token: token.0,
            from_ms: from.0,
            until_ms: until.0,
            until_wall_ms,
            end: v1::HandEnd::from(end).into(),
        }
    }
}

impl TryFrom<v1::ChangeOfHands> for ChangeOfHands {
    type Error = WireError;

    fn try_from(message: v1::ChangeOfHands) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(message.session),
            name: message.name,
            host: message.host,
            pid: message.pid,
            mode: mode(message.mode, "ChangeOfHands.mode")?,
            token: token(message.token, "ChangeOfHands.token")?,
            from: CellTime(message.from_ms),
            until: CellTime(message.until_ms),
            until_wall_ms: message.until_wall_ms,
            end: hand_end(message.end, "ChangeOfHands.end")?,
        })
    }
}

impl From<Explanation> for v1::Explanation {
    fn from(explanation: Explanation) -> Self {
        let Explanation {
            path,
            instance,
            lock_generation,
            mode,
            holders,
            holder_count,
            waiters,
            waiter_count,
            lock_delay_left_ms,
            history,
            now,
            worst_case_free_ms,
        } = explanation;
        Self {
            path: path.as_str().to_owned(),
            instance: instance.0,
            lock_generation,
            mode: optional_mode_number(mode),
            holders: holders.into_iter().map(Into::into).collect(),
            holder_count,
            waiters: waiters.into_iter().map(Into::into).collect(),
            waiter_count,
            lock_delay_left_ms,
            history: history.into_iter().map(Into::into).collect(),
            now_ms: now.0,
            worst_case_free_ms,
        }
    }
}

impl TryFrom<v1::Explanation> for Explanation {
    type Error = WireError;

    fn try_from(message: v1::Explanation) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Explanation.path")?,
            instance: Instance(message.instance),
            lock_generation: message.lock_generation,
            mode: optional_mode(message.mode, "Explanation.mode")?,
            holders: super::all(message.holders)?,
            holder_count: message.holder_count,
            waiters: super::all(message.waiters)?,
            waiter_count: message.waiter_count,
            lock_delay_left_ms: message.lock_delay_left_ms,
            history: super::all(message.history)?,
            now: CellTime(message.now_ms),
            worst_case_free_ms: message.worst_case_free_ms,
        })
    }
}

impl From<LockRow> for v1::LockRow {
    fn from(row: LockRow) -> Self {
        let LockRow {
            path,
            mode,
            holder_count,
            waiter_count,
            holder,
            lock_delay_left_ms,
        } = row;
        Self {
            path: path.as_str().to_owned(),
            mode: optional_mode_number(mode),
            holder_count,
            waiter_count,
            holder: holder.map(Into::into),
            lock_delay_left_ms,
        }
    }
}

impl TryFrom<v1::LockRow> for LockRow {
    type Error = WireError;

    fn try_from(message: v1::LockRow) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "LockRow.path")?,
            mode: optional_mode(message.mode, "LockRow.mode")?,
            holder_count: message.holder_count,
            waiter_count: message.waiter_count,
            holder: message.holder.map(TryInto::try_into).transpose()?,
            lock_delay_left_ms: message.lock_delay_left_ms,
        })
    }
}
