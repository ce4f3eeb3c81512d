//! What `cotter lock --verbose` says while it waits: who holds the lock, and which place this is.
//!
//! It looks without the session, and says something only when it has changed. That it cannot look is
//! not worth a word: the acquire itself will say what is wrong.

use crate::args::{Common, LockArgs};
use crate::explain;
use crate::output::span;
use crate::verbs;
use cotter_client::{Explanation, Reads, SessionId};
use std::convert::Infallible;
use std::time::Duration;

/// A wait that is shorter than this is not worth a word.
const FIRST_LOOK: Duration = Duration::from_millis(300);
/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Tells what the wait is for, again and again, if asked to. Never ends by itself.
pub(crate) async fn tell_while_waiting(
    arguments: &LockArgs,
    common: &Common,
    session: SessionId,
) -> Infallible {
    let observer = verbs::observer(common).ok();
    let Some(observer) = observer.filter(|_| arguments.verbose) else {
        return std::future::pending().await;
    };
    let mut said = String::new();
    tokio::time::sleep(FIRST_LOOK).await;
    loop {
        if let Ok(explanation) = observer.explain(arguments.path.as_str()).await
            && let Some(text) = waiting(&explanation, session)
            && text != said
        {
            eprintln!("cotter: {text}");
            said = text;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Says what `session` waits for; nothing if it does not wait.
fn waiting(explanation: &Explanation, session: SessionId) -> Option<String> {
    let place = explanation
        .waiters
        .iter()
        .find(|waiter| waiter.session == session)?
        .place;
    let why = match (explanation.mode, explanation.holders.first()) {
        (Some(mode), Some(holder)) if explanation.holder_count == 1 => {
            format!("held, {mode}, by {}", explain::who_holds(holder))
        }
        (Some(mode), Some(holder)) => format!(
            "held, {mode}, by {} sessions, first {}",
            explanation.holder_count,
            explain::who_holds(holder)
        ),
        _ if explanation.lock_delay_left_ms > 0 => format!(
            "in its lock-delay of another {}, because its last holder's session expired",
            span(explanation.lock_delay_left_ms)
        ),
        _ => "about to be granted".to_owned(),
    };
    Some(format!(
        "waiting for {}: {why}; place {place} of {}",
        explanation.path, explanation.waiter_count
    ))
}
