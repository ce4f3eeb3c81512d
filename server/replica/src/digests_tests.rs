use super::{Digests, KEPT_MAX, Verdict};
use cotter_cell::Voter;
use cotter_types::ReplicaId;

fn voters(count: u64) -> Vec<Voter> {
    (1..=count).map(voter).collect()
}

fn voter(id: u64) -> Voter {
    Voter {
        id: ReplicaId(id),
        incarnation: 10 + id,
    }
}

/// What replica 1 knows: its own digest after ten entries, and that of others, with whom each copied.
fn known(own: u128, others: &[(u64, u128, Option<u64>)]) -> Digests {
    let mut digests = Digests::new(10, None);
    digests.own.insert(10, own);
    for (id, digest, source) in others {
        digests.hear(voter(*id), (10, *digest), source.map(ReplicaId));
    }
    digests
}

fn judged(count: u64, own: u128, others: &[(u64, u128, Option<u64>)]) -> Verdict {
    known(own, others).judge(&voters(count), voter(1))
}

const DISPUTED: Verdict = Verdict::Disputed(10);

fn differs(theirs: u128) -> Verdict {
    let applied = 10;
    Verdict::Differs { applied, theirs }
}

#[test]
fn whoever_differs_from_a_majority_that_agrees_differs() {
    assert_eq!(judged(3, 7, &[(2, 8, None), (3, 8, None)]), differs(8));
    let three = [(2, 8, None), (3, 8, None), (4, 8, None)];
    assert_eq!(judged(5, 7, &three), differs(8));
}

#[test]
fn whoever_agrees_with_a_majority_goes_on() {
    assert_eq!(judged(3, 7, &[(2, 7, None)]), Verdict::Fine);
    assert_eq!(judged(3, 7, &[(2, 7, None), (3, 8, None)]), Verdict::Fine);
    let two_differ = [(2, 7, None), (3, 7, None), (4, 8, None), (5, 8, None)];
    assert_eq!(judged(5, 7, &two_differ), Verdict::Fine);
}

#[test]
fn without_a_majority_it_is_disputed() {
    assert_eq!(judged(3, 7, &[(2, 8, None)]), DISPUTED);
    assert_eq!(judged(2, 7, &[(2, 8, None)]), DISPUTED);
    let even = [(2, 7, None), (3, 8, None), (4, 8, None), (5, 9, None)];
    assert_eq!(judged(5, 7, &even), DISPUTED);
    // Nobody contradicts.
    assert_eq!(judged(5, 7, &[]), Verdict::Fine);
    assert_eq!(judged(1, 7, &[]), Verdict::Fine);
}

#[test]
fn a_copy_and_its_origin_count_as_one() {
    assert_eq!(judged(3, 7, &[(2, 8, None), (3, 8, Some(2))]), DISPUTED);
    // A copy of a copy, and two copies of one.
    let chain = [(2, 8, None), (3, 8, Some(2)), (4, 8, Some(3))];
    assert_eq!(judged(5, 7, &chain), DISPUTED);
    let two = [(2, 8, None), (3, 8, Some(2)), (4, 8, Some(2))];
    assert_eq!(judged(5, 7, &two), DISPUTED);
    // Each a copy of the other, and one besides.
    let circle = [(2, 8, Some(3)), (3, 8, Some(2)), (4, 8, None)];
    assert_eq!(judged(5, 7, &circle), DISPUTED);
    let enough = [(2, 8, None), (3, 8, Some(2)), (4, 8, None), (5, 8, None)];
    assert_eq!(judged(5, 7, &enough), differs(8));
}

#[test]
fn a_copy_is_its_own_witness_once_another_origin_confirms_it() {
    let mut digests = known(8, &[(2, 8, None)]);
    digests.source = Some(ReplicaId(2));
    digests.confirm(ReplicaId(1));
    assert_eq!(digests.source, Some(ReplicaId(2)), "by its origin alone");
    digests.hear(voter(3), (10, 8), Some(ReplicaId(1)));
    digests.confirm(ReplicaId(1));
    assert_eq!(digests.source, Some(ReplicaId(2)), "by its own copy");
    digests.hear(voter(3), (10, 9), None);
    digests.confirm(ReplicaId(1));
    assert_eq!(digests.source, Some(ReplicaId(2)), "by one that differs");
    digests.hear(voter(3), (10, 8), None);
    digests.confirm(ReplicaId(1));
    assert_eq!(digests.source, None);
}

#[test]
fn a_copy_is_none_the_less_one_after_a_restart() {
    let mut digests = Digests::new(10, Some(ReplicaId(2)));
    digests.own.insert(10, 8);
    digests.hear(voter(2), (10, 8), None);
    digests.hear(voter(3), (10, 7), None);
    digests.confirm(ReplicaId(1));
    assert_eq!(digests.source(), Some(ReplicaId(2)));
    assert_eq!(digests.judge(&voters(3), voter(1)), DISPUTED);
}

#[test]
fn the_newest_agreement_settles_what_came_before() {
    let mut digests = known(7, &[(2, 8, None)]);
    assert_eq!(digests.judge(&voters(3), voter(1)), DISPUTED);
    digests.own.insert(20, 5);
    assert_eq!(
        digests.judge(&voters(3), voter(1)),
        DISPUTED,
        "nobody else is there"
    );
    digests.hear(voter(3), (20, 5), None);
    assert_eq!(digests.judge(&voters(3), voter(1)), Verdict::Fine);
}

#[test]
fn an_older_agreement_does_not_settle_what_came_after() {
    let mut digests = known(7, &[(2, 7, None), (3, 7, None)]);
    digests.own.insert(20, 5);
    digests.hear(voter(2), (20, 6), None);
    assert_eq!(digests.judge(&voters(3), voter(1)), Verdict::Disputed(20));
    digests.hear(voter(2), (20, 5), None);
    assert_eq!(
        digests.judge(&voters(3), voter(1)),
        Verdict::Fine,
        "the last word counts"
    );
}

#[test]
fn the_word_of_a_disk_without_a_vote_does_not_count() {
    let mut digests = known(7, &[(2, 8, None), (3, 8, None)]);
    let replaced = Voter {
        id: ReplicaId(3),
        incarnation: 99,
    };
    let next = [voter(1), voter(2), replaced];
    assert_eq!(digests.judge(&next, voter(1)), DISPUTED);
    digests.begin_chapter(&next);
    digests.hear(replaced, (10, 7), None);
    assert_eq!(digests.judge(&next, voter(1)), Verdict::Fine);
}

#[test]
fn only_the_newest_are_kept() {
    let mut digests = Digests::new(10, None);
    for at in 1..100 {
        digests.hear(voter(2), (at * 10, 1), None);
    }
    let heard = &digests.others[&ReplicaId(2)].digests;
    assert_eq!(heard.len(), KEPT_MAX);
    assert!(heard.contains_key(&990));
}
