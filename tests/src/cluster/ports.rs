//! Ports that nobody uses.

use std::net::TcpListener;

/// Where the range of ports that the system hands out begins, unless it says otherwise.
const SYSTEM_RANGE_BEGIN_DEFAULT: u16 = 32_768;
/// Below this, ports have owners.
const OWNED_END: u16 = 10_000;

/// Returns `count` different ports of the loopback interface that are free now.
///
/// They lie below the range from which the system takes the ports of outgoing connections.
/// Within it, a port that a killed replica has just left could go to any connection on the machine
/// before the replica is back, and a peer that dials the dead replica could even connect to itself.
/// Another process may still take one before it is used, so callers try again with others then.
///
/// # Panics
/// If there are not so many.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let end = system_range_begin();
    assert!(
        end > OWNED_END + 1_000,
        "no ports below those that the system hands out"
    );
    let span = u64::from(end - OWNED_END);
    // Two test processes must not walk the same way.
    let mut walk = u64::from(std::process::id()) * 7_919 + super::now_ms();
    let mut listeners = Vec::new();
    for _ in 0..10_000 {
        if listeners.len() == count {
            break;
        }
        walk = walk
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = u16::try_from((walk >> 33) % span).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", OWNED_END + offset)) {
            listeners.push(listener);
        }
    }
    assert_eq!(listeners.len(), count, "too few free ports");
    // All are held until all are found, so that they differ.
    listeners
        .iter()
        .map(|listener| {
            listener
                .local_addr()
                .expect("a bound socket has an address")
                .port()
        })
        .collect()
}

fn system_range_begin() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(SYSTEM_RANGE_BEGIN_DEFAULT)
}
