//! Chance within bounds.

use crate::MasterSearch;
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
    assert_eq!(MasterSearch::new(Vec::new(), None, 1).next_address(), None);
}
