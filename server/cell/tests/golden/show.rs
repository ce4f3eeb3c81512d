//! How golden scripts show what happened: a line for each thing.

use cotter_cell::{Applied, Cell, Effect, Footprint, Recorded};
use cotter_types::{
    Explanation, HolderView, LockMode, NodeResult, NodeStat, Notice, QueryResponse, Refusal,
    Response, SessionId,
};

fn mode(mode: Option<LockMode>) -> &'static str {
    match mode {
        None => "free",
        Some(LockMode::Exclusive) => "exclusive",
        Some(LockMode::Shared) => "shared",
    }
}

pub(crate) fn applied(applied: &Applied) -> Vec<String> {
    if !applied.accepted {
        return vec!["not accepted".to_owned()];
    }
    if applied.effects.is_empty() {
        return vec!["nothing happens".to_owned()];
    }
    applied.effects.iter().map(effect).collect()
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Opened {
            result: Ok((session, lease_ms)),
            ..
        } => format!("{session} is open, lease {lease_ms}"),
        Effect::Opened {
            result: Err(refusal),
            ..
        } => format!("refused: {refusal}"),
        Effect::Answered {
            session,
            number,
            result,
        } => format!("{session} #{number} {}", outcome(result)),
        Effect::Queued { session, number } => format!("{session} #{number} queued"),
        Effect::Called { result, .. } => format!("call {}", outcome(result)),
        Effect::CallReleased { lock, result } => match result {
            Ok(()) => format!("call {} released", lock.session),
            Err(refusal) => format!("call {} refused: {refusal}", lock.session),
        },
        Effect::SessionEnded { session, reason } => format!("{session} has ended: {reason}"),
        Effect::Notice {
            session,
            notice: told,
        } => notice(*session, told),
        Effect::MasterChanged {
            epoch,
            master,
            sequence,
            ..
        } => {
            let who = master.map_or_else(|| "nobody".to_owned(), |replica| format!("r{replica}"));
            format!("epoch {epoch}: master is {who}, sequence {sequence}")
        }
        Effect::ChapterBegan { number } => format!("chapter {number} begins"),
        Effect::LeaseRenewed {
            epoch,
            attempt,
            sequence,
        } => format!("epoch {epoch}: renewed by attempt {attempt}, sequence {sequence}"),
    }
}

/// Shows a place in a queue.
pub(crate) fn place(place: Option<(u64, u64)>) -> String {
    match place {
        Some((nth, waiters)) => format!("place {nth} of {waiters}"),
        None => "waits for nothing".to_owned(),
    }
}

fn outcome(result: &Result<Response, Refusal>) -> String {
    match result {
        Ok(Response::Done) => "done".to_owned(),
        Ok(Response::Created { created, stat }) => {
            let what = if *created { "created" } else { "found" };
            format!("{what}: {}", node(stat))
        }
        Ok(Response::Written { stat }) => format!("written: {}", node(stat)),
        Ok(Response::Deleted { nodes }) => format!("deleted {nodes}"),
        Ok(Response::Acquired {
            sequencer,
            waited_ms,
        }) => format!("acquired {sequencer} after {waited_ms} ms"),
        Ok(Response::CreatedAt { path, stat }) => format!("created {path}: {}", node(stat)),
        Ok(Response::Applied { results }) => {
            let shown: Vec<_> = results.iter().take(4).map(node_result).collect();
            let more = match results.len() {
                0..=4 => String::new(),
                many => format!("; … {many} in all"),
            };
            format!("applied: {}{more}", shown.join("; "))
        }
        Err(refusal) => format!("refused: {refusal}"),
    }
}

fn node_result(result: &NodeResult) -> String {
    match result {
        NodeResult::Created {
            path,
            created,
            instance,
            content_generation,
        } => {
            let what = if *created { "created" } else { "found" };
            format!("{what} {path} instance {instance} generation {content_generation}")
        }
        NodeResult::Written {
            instance,
            content_generation,
        } => format!("written instance {instance} generation {content_generation}"),
        NodeResult::Deleted { nodes } => format!("deleted {nodes}"),
    }
}

fn node(stat: &NodeStat) -> String {
    format!(
        "instance {} {:?}, generations content {} lock {} acl {} child {}, {} bytes, {} children",
        stat.instance,
        stat.lifetime,
        stat.content_generation,
        stat.lock_generation,
        stat.acl_generation,
        stat.child_generation,
        stat.content_bytes,
        stat.children
    )
}

pub(crate) fn notice(session: SessionId, notice: &Notice) -> String {
    let Notice::Conflict {
        path,
        number,
        waiters,
        first,
    } = notice;
    format!("{session} #{number} is told: {waiters} wait for {path}, first {first:?}")
}

pub(crate) fn recorded(recorded: &Recorded) -> String {
    match recorded {
        Recorded::Unseen => "unseen".to_owned(),
        Recorded::Waiting => "waiting".to_owned(),
        Recorded::Done(result) => outcome(result),
        Recorded::Acknowledged => "acknowledged".to_owned(),
        Recorded::NoSession => "no session".to_owned(),
    }
}

pub(crate) fn counts(cell: &Cell) -> String {
    let counts = cell.counts();
    format!(
        "revision {}: {} nodes, {} sessions, {} locks held, {} waiters, {} bytes",
        cell.revision(),
        counts.nodes,
        counts.sessions,
        counts.locks_held,
        counts.waiters,
        counts.content_bytes
    )
}

pub(crate) fn footprint(footprint: &Footprint) -> Vec<String> {
    if footprint.is_empty() {
        return vec!["nothing".to_owned()];
    }
    footprint.iter().map(|item| format!("{item:?}")).collect()
}

pub(crate) fn answer(answer: &Result<QueryResponse, Refusal>) -> Vec<String> {
    match answer {
        Err(refusal) => vec![format!("refused: {refusal}")],
        Ok(QueryResponse::Node {
            contents,
            stat,
            revision,
        }) => vec![format!(
            "{contents:?} {} at revision {revision}",
            node(stat)
        )],
        Ok(QueryResponse::Stat { stat, .. }) => {
            vec![format!("{}, by {}", node(stat), stat.creator)]
        }
        Ok(QueryResponse::List { page, .. }) => {
            let rows = page.children.iter();
            let lines = rows.map(|(name, stat)| format!("{name:?} {}", node(stat)));
            paged(lines.collect(), page.more)
        }
        Ok(QueryResponse::Explain(explanation)) => explain(explanation),
        Ok(QueryResponse::Locks { rows, more }) => {
            let lines = rows.iter().map(|row| {
                let first = row.holder.as_ref();
                let holder = first.map_or_else(|| "nobody".to_owned(), |by| by.session.to_string());
                format!(
                    "{} {} by {holder}: {} hold, {} wait, delay {}",
                    row.path,
                    mode(row.mode),
                    row.holder_count,
                    row.waiter_count,
                    row.lock_delay_left_ms
                )
            });
            paged(lines.collect(), *more)
        }
        Ok(QueryResponse::Sessions { rows, more }) => {
            let lines = rows.iter().map(|row| {
                format!(
                    "{} {:?} of {}, lease {}, opened at {}: {} locks, {} waits",
                    row.session,
                    row.metadata.name,
                    row.principal,
                    row.lease_ms,
                    row.opened.0,
                    row.locks,
                    row.waits
                )
            });
            paged(lines.collect(), *more)
        }
        Ok(QueryResponse::Sequencer { current: true }) => vec!["current".to_owned()],
        Ok(QueryResponse::Sequencer { current: false }) => vec!["stale".to_owned()],
        Ok(QueryResponse::Status(_)) => vec!["status".to_owned()],
    }
}

fn paged(mut lines: Vec<String>, more: bool) -> Vec<String> {
    lines.push(if more { "and more" } else { "no more" }.to_owned());
    lines
}

fn explain(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}: generation {}, {} hold, {} wait, delay {}",
        explanation.path,
        mode(explanation.mode),
        explanation.lock_generation,
        explanation.holder_count,
        explanation.waiter_count,
        explanation.lock_delay_left_ms
    )];
    lines.extend(explanation.holders.iter().map(holder));
    lines.extend(explanation.waiters.iter().map(|waiter| {
        let until = waiter
            .deadline
            .map_or_else(|| "for ever".to_owned(), |at| format!("until {}", at.0));
        format!(
            "  {}. {} #{} {:?} waits {} since {} {until}",
            waiter.place,
            waiter.session,
            waiter.number,
            waiter.name,
            mode(Some(waiter.mode)),
            waiter.since.0
        )
    }));
    lines.extend(explanation.history.iter().map(|hand| {
        format!(
            "  before: {} {:?} {} with token {} from {} until {}: {}",
            hand.session,
            hand.name,
            mode(Some(hand.mode)),
            hand.token,
            hand.from.0,
            hand.until.0,
            hand.end
        )
    }));
    lines
}

fn holder(holder: &HolderView) -> String {
    format!(
        "  {} #{} {:?} on {} pid {} holds with token {} since {}, delay {}",
        holder.session,
        holder.number,
        holder.name,
        holder.host,
        holder.pid,
        holder.token,
        holder.since.0,
        holder.lock_delay_ms
    )
}
