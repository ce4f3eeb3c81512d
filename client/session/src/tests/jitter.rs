//! Chance within bounds.

use crate::MasterSearch;
use cotter_types::Moment;
use std::time::Duration;

#[test]
fn backoff_doubles_from_20_ms_to_1_s_and_keeps_half() {
    let mut search = MasterSearch::new(vec!["a:1".to_owned()], None, 5);
    for whole in [20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000] {
        let delay = search.backoff();
        assert!(delay >= Duration::from_millis(whole / 2), "{delay:?}");
        assert!(delay <= Duration::from_millis(whole), "{delay:?}");
    }
}

#[test]
fn two_seeds_wait_differently() {
    let delay = |seed| MasterSearch::new(Vec::new(), None, seed).backoff();
    assert_ne!(delay(1), delay(2));
    assert_eq!(delay(1), delay(1));
}

#[test]
fn a_search_without_addresses_finds_none() {
    let mut search = MasterSearch::new(Vec::new(), None, 1);
    assert_eq!(search.next_address(Moment(0)), None);
}

#[test]
fn an_address_that_was_not_reached_is_passed_over_while_there_are_others() {
    let mut search = MasterSearch::new(vec!["a:1".to_owned(), "b:1".to_owned()], None, 1);
    let at = |ms: u64| Moment(ms * 1_000);
    assert_eq!(search.next_address(at(0)).as_deref(), Some("a:1"));
    search.unreachable(at(10), "b:1");
    assert_eq!(search.next_address(at(20)).as_deref(), Some("a:1"));
    search.unreachable(at(30), "a:1");
    // With nobody left, they take turns as ever.
    assert_eq!(search.next_address(at(40)).as_deref(), Some("b:1"));
    assert_eq!(search.next_address(at(1_020)).as_deref(), Some("b:1"));
    assert_eq!(search.next_address(at(1_040)).as_deref(), Some("a:1"));
}
