use super::{Due, OnLost, Schedule};
use cotter_types::Moment;
use nix::sys::signal::Signal;
use std::time::Duration;

const SECOND: u64 = 1_000_000;

fn schedule(on_lost: OnLost) -> Schedule {
    Schedule {
        on_lost,
        grace: Duration::from_secs(3),
        margin: Duration::from_millis(500),
    }
}

#[test]
fn warning_comes_a_grace_before_kill_and_kill_a_margin_before_the_end() {
    let due = schedule(OnLost::Term).while_held(Moment(20 * SECOND));
    assert_eq!(due.kill, Moment(19_500_000));
    assert_eq!(due.warn, Moment(16_500_000));
}

#[test]
fn kill_policy_does_not_warn_and_uses_the_whole_time() {
    let due = schedule(OnLost::Kill).while_held(Moment(20 * SECOND));
    assert_eq!(
        due,
        Due {
            warn: Moment::NEVER,
            kill: Moment(19_500_000)
        }
    );
}

#[test]
fn ignore_policy_never_signals() {
    let never = Due {
        warn: Moment::NEVER,
        kill: Moment::NEVER,
    };
    assert_eq!(schedule(OnLost::Ignore).while_held(Moment(0)), never);
    assert_eq!(
        schedule(OnLost::Ignore).after_giving_up(Moment(5), Moment(9)),
        never
    );
}

#[test]
fn giving_up_warns_at_once_and_never_kills_later_than_before() {
    let far = schedule(OnLost::Term).after_giving_up(Moment(SECOND), Moment(20 * SECOND));
    assert_eq!(far.warn, Moment(SECOND));
    assert_eq!(far.kill, Moment(4 * SECOND));
    let near = schedule(OnLost::Term).after_giving_up(Moment(SECOND), Moment(2 * SECOND));
    assert_eq!(near.kill, Moment(1_500_000));
}

#[test]
fn grace_that_does_not_fit_into_half_the_lease_is_refused() {
    let lease = Duration::from_secs(12);
    let refused = Schedule::for_lease(lease, Some(Duration::from_secs(6)), OnLost::Term);
    assert!(refused.unwrap_err().contains("--grace 5.4"));
    assert!(Schedule::for_lease(lease, Some(Duration::from_secs(6)), OnLost::Kill).is_ok());
}

#[test]
fn every_permitted_lease_has_a_default_schedule() {
    for lease_ms in [2_000, 3_000, 12_000, 120_000] {
        let lease = Duration::from_millis(lease_ms);
        let schedule = Schedule::for_lease(lease, None, OnLost::Term).unwrap();
        assert!(schedule.grace + schedule.margin <= lease / 2);
        assert!(schedule.margin >= Schedule::MARGIN_MIN);
    }
}

#[test]
fn policies_are_read_as_they_are_written() {
    for text in ["term", "kill", "ignore", "signal:SIGUSR1"] {
        assert_eq!(text.parse::<OnLost>().unwrap().to_string(), text);
    }
    assert_eq!(
        "signal:usr1".parse::<OnLost>(),
        Ok(OnLost::Signal(Signal::SIGUSR1))
    );
    assert_eq!("signal:KILL".parse::<OnLost>(), Ok(OnLost::Kill));
    assert!("signal:NONE".parse::<OnLost>().is_err());
    assert!("later".parse::<OnLost>().is_err());
}
