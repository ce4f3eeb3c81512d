//! What is an endpoint.

use crate::builder::{checked, endpoint};
use crate::{Client, ConnectError};

#[test]
fn endpoints_are_brought_into_one_form() {
    for (text, form) in [
        ("127.0.0.1:7400", "127.0.0.1:7400"),
        (" host:1 ", "host:1"),
        ("http://host:1/", "host:1"),
        ("[::1]:7400", "[::1]:7400"),
    ] {
        assert_eq!(endpoint(text).unwrap(), form);
    }
}

#[test]
fn what_cannot_be_reached_is_refused_before_it_is_tried() {
    for text in [
        "",
        "host",
        "host:",
        "host:0",
        "host:99999",
        "https://host:1",
        ":1",
        "a b:1",
    ] {
        assert!(endpoint(text).is_err(), "{text:?}");
    }
}

#[test]
fn no_endpoint_is_an_error() {
    assert!(matches!(checked(&[]), Err(ConnectError::NoEndpoints)));
    assert!(matches!(
        Client::builder().observe(),
        Err(ConnectError::NoEndpoints)
    ));
}
