//! The verbs, all but `lock`: each asks the cell, and shows what it said.

pub(crate) mod backup;
pub(crate) mod cell;
pub(crate) mod history;
pub(crate) mod locks;
pub(crate) mod nodes;
pub(crate) mod tree;
pub(crate) mod txn;

use crate::args::Common;
use crate::failure::Failure;
use cotter_client::{Client, ClientBuilder, Observer};

/// Sets up a client as the command line says.
pub(crate) fn builder(common: &Common) -> ClientBuilder {
    let endpoints = common.endpoints.iter().map(|text| text.trim());
    Client::builder()
        .endpoints(endpoints.filter(|text| !text.is_empty()))
        .call_timeout(common.call_timeout())
        .unreachable_after(common.unreachable_after())
}

/// Returns what can look without a session.
pub(crate) fn observer(common: &Common) -> Result<Observer, Failure> {
    Ok(builder(common).observe()?)
}
