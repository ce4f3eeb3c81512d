//! Connections that no good client makes: the cell refuses them, or bears them, and goes on.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_tests::cluster::{
    Cell, DevCell, HTTP2_OPENING, PATIENCE, Process, data_frame, eventually, headers_frame,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const IDLE_CONNECTIONS: usize = 200;
const ATTACH: &str = "/cotter.v1.Cotter/Attach";

fn connect(cell: &DevCell) -> TcpStream {
    let stream = TcpStream::connect(&cell.endpoint).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `bytes`; that the other side has closed the connection meanwhile is no failure.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// Reads until the other side closes the connection, which it must do in time.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let kind = error.kind();
        assert_eq!(
            kind,
            std::io::ErrorKind::ConnectionReset,
            "not closed in time: {error}"
        );
    }
    bytes
}

/// Checks that a lock can be acquired within a few seconds.
#[track_caller]
fn grants(cell: &DevCell) {
    let begin = Instant::now();
    let finished = cell.run(&["lock", "-w", "10", "/ls/local/a", "--", "true"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn bytes_that_are_no_http_are_refused() {
    let cell = DevCell::start();
    let mut noise = vec![0_u8; 64 * 1_024];
    let mut state = 7_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let requests: [&[u8]; 4] = [
        &noise,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"hello\n",
    ];
    for request in requests {
        let mut stream = connect(&cell);
        send(&mut stream, request);
        // A request that could still go on is only refused once it does not.
        let _ = stream.shutdown(Shutdown::Write);
        read_to_end(&mut stream);
        grants(&cell);
    }
}

#[test]
fn frames_that_break_the_protocol_end_their_connection_only() {
    let cell = DevCell::start();
    let length_of_4_gib = [0, 0xff, 0xff, 0xff, 0xff];
    let unreadable = [0, 0, 0, 0, 3, 0xff, 0xff, 0xff];
    for message in [&length_of_4_gib[..], &unreadable[..]] {
        let mut stream = connect(&cell);
        send(&mut stream, HTTP2_OPENING);
        send(&mut stream, &headers_frame(ATTACH));
        send(&mut stream, &data_frame(message));
        let _ = stream.shutdown(Shutdown::Write);
        read_to_end(&mut stream);
        grants(&cell);
    }
}

#[test]
fn stream_without_hello_is_ended_by_the_replica() {
    let cell = DevCell::start();
    let mut stream = connect(&cell);
    send(&mut stream, HTTP2_OPENING);
    send(&mut stream, &headers_frame(ATTACH));
    // The status of the call is in a HEADERS frame, whose text is compressed; what can be seen
    // without decompressing it is that the stream is ended: a HEADERS frame with END_STREAM.
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4_096];
    let begin = Instant::now();
    while !ends_stream(&bytes) {
        assert!(
            begin.elapsed() < PATIENCE,
            "the stream is not ended: {bytes:?}"
        );
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(
            count, 0,
            "the connection was closed without a status: {bytes:?}"
        );
        bytes.extend_from_slice(&buffer[..count]);
    }
    println!(
        "a stream without hello was ended after {:?}",
        begin.elapsed()
    );
    grants(&cell);
}

/// Tells whether a HEADERS frame with END_STREAM is among the frames of stream 1 in `bytes`.
fn ends_stream(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [a, b, c, kind, flags, s1, s2, s3, s4, tail @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if *kind == 1 && flags & 1 == 1 && [*s1, *s2, *s3, *s4] == [0, 0, 0, 1] {
            return true;
        }
        let Some(next) = tail.get(length..) else {
            return false;
        };
        rest = next;
    }
    false
}

#[test]
fn many_idle_connections_do_not_keep_locks_from_being_granted() {
    let cell = DevCell::start();
    let idle: Vec<TcpStream> = (0..IDLE_CONNECTIONS)
        .map(|number| {
            let mut stream = connect(&cell);
            match number % 4 {
                0 => {}
                1 => send(&mut stream, b"PRI"),
                2 => send(&mut stream, HTTP2_OPENING),
                _ => {
                    send(&mut stream, HTTP2_OPENING);
                    send(&mut stream, &headers_frame(ATTACH));
                }
            }
            stream
        })
        .collect();
    for _ in 0..3 {
        grants(&cell);
    }
    drop(idle);
    grants(&cell);
}

#[test]
fn noise_between_replicas_keeps_no_lock_from_being_granted() {
    let mut cell = Cell::start(3);
    let epoch = cell.epoch();
    let peers: Vec<String> = cell
        .replicas()
        .iter()
        .map(|replica| replica.peer_address.clone())
        .collect();
    let mut idle = Vec::new();
    for address in &peers {
        for bytes in [&b"hello\n"[..], &[0xff; 4_096], HTTP2_OPENING, b""] {
            let mut stream = TcpStream::connect(address).unwrap();
            send(&mut stream, bytes);
            idle.push(stream);
        }
        let mut stream = TcpStream::connect(address).unwrap();
        send(&mut stream, HTTP2_OPENING);
        send(&mut stream, &headers_frame("/cotter.peer.v1.Peer/Link"));
        send(&mut stream, &data_frame(&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff]));
        idle.push(stream);
    }
    for _ in 0..3 {
        let finished = cell.run(&["lock", "-w", "10", "/ls/local/a", "--", "true"]);
        assert_eq!(finished.code, 0, "{finished:?}");
    }
    for replica in cell.replicas() {
        assert!(replica.runs());
    }
    println!("epoch {epoch} before the noise, {} after it", cell.epoch());
}

#[test]
fn waiter_whose_connection_is_cut_leaves_the_queue() {
    let cell = DevCell::start();
    let directory = tempfile::tempdir().unwrap();
    let mut hold = cell.cotter(&["lock", "/ls/local/a", "--", "sleep", "600"]);
    let mut holder = Process::start("holder", &mut hold, &directory.path().join("holder"));
    let waiters =
        || cell.run(&["-o", "json", "explain", "/ls/local/a"]).json()["waiter_count"].clone();
    let holders = || cell.run(&["-o", "json", "explain", "/ls/local/a"]);
    eventually("the lock is held", || {
        let explained = holders();
        explained.code == 0 && explained.json()["holder_count"] == 1
    });
    let mut wait = cell.cotter(&["lock", "--lease", "2", "/ls/local/a", "--", "true"]);
    let mut waiter = Process::start("waiter", &mut wait, &directory.path().join("waiter"));
    eventually("it waits", || waiters() == 1);
    waiter.kill();
    eventually("its wait has ended with its session", || waiters() == 0);
    holder.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(holder.wait().code(), Some(128 + 15), "{}", holder.log());
    grants(&cell);
}
