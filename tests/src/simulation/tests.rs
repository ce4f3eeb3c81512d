use super::agenda::Agenda;
use super::clock::{Clock, RATE_PPM_MAX};
use super::network::{Network, Parcel};
use super::random::Random;
use cotter_types::limits::CLOCK_DRIFT_PER_MILLE;
use cotter_types::{ClientFrame, Moment};

fn frame(number: u64) -> Parcel {
    Parcel::Up(ClientFrame::KeepAlive { number })
}

fn number(parcel: &Parcel) -> u64 {
    match parcel {
        Parcel::Up(ClientFrame::KeepAlive { number }) => *number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_clocks_never_differ_by_more_than_the_drift_that_leases_allow_for() {
    let fast = 1_000_000 + RATE_PPM_MAX;
    let slow = 1_000_000 - RATE_PPM_MAX;
    let allowed = 1_000 - i64::try_from(CLOCK_DRIFT_PER_MILLE).unwrap();
    assert!(fast * allowed <= slow * 1_000);
}

#[test]
fn a_clock_shows_a_moment_first_at_the_time_that_it_names_for_it() {
    let mut random = Random::new(7);
    for _ in 0..2_000 {
        let rate = i64::try_from(random.between(0, 9_800)).unwrap() - RATE_PPM_MAX;
        let clock = Clock::new(random.below(1 << 30), random.below(1 << 40), rate);
        let moment = Moment(random.between(1 << 40, 1 << 41));
        let when = clock.when(moment, 1 << 30);
        assert!(clock.read(when) >= moment);
        assert!(clock.read(when - 1) < moment || when == 1 << 30);
    }
}

#[test]
fn events_of_one_moment_keep_the_order_of_their_scheduling() {
    let mut agenda = Agenda::new();
    for number in 0..100 {
        agenda.at(5, number);
    }
    agenda.at(4, 1_000);
    let order: Vec<i32> = std::iter::from_fn(|| agenda.next(10)).collect();
    assert_eq!(order[0], 1_000);
    assert_eq!(order[1..], (0..100).collect::<Vec<_>>());
    assert_eq!(agenda.now(), 10);
}

#[test]
fn a_connection_keeps_order_across_a_cut_that_it_survives() {
    let mut network = Network::new(2, 0, Random::new(1));
    let key = network.open(0, 1, 0, 0);
    let mut arrivals = Vec::new();
    for number in 0..50 {
        if number == 10 {
            network.wire_mut(0, 1).cuts += 1;
        }
        if number == 30 {
            arrivals.extend(network.mend(number * 10, 0, 1));
        }
        arrivals.extend(
            network
                .send(number * 10, key, 0, frame(number))
                .into_iter()
                .flatten(),
        );
    }
    let numbers: Vec<u64> = arrivals
        .iter()
        .map(|arrival| number(&arrival.parcel))
        .collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
}

#[test]
fn what_is_under_way_when_a_connection_breaks_is_lost() {
    let mut network = Network::new(2, 0, Random::new(1));
    let key = network.open(0, 1, 0, 0);
    let [arrival, _] = network.send(0, key, 0, frame(1));
    let at = arrival.unwrap().at;
    assert!(network.arrives(at, key));
    assert!(network.break_connection(at - 1, key, 0));
    assert!(!network.arrives(at, key));
    assert!(
        network
            .send(at, key, 0, frame(2))
            .into_iter()
            .flatten()
            .next()
            .is_none()
    );
}
