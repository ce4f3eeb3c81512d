//! The replica daemon: storage, links, the public API, configuration.
//!
//! Everything that decides is in the pure crates `cotter-replica` and `cotter-cell`. What is here
//! does: [`driver`] owns the replica in a thread of its own and feeds it from the
//! inbox of the door; [`link`] and [`api`] bring and take what goes over the network, [`storage`] is the disk, [`history`] what people ask of the past,
//! [`birth`] makes a cell, [`daemon`] and [`dev`] put it all together.
//!
//! This crate must never decide anything about locks or sessions.

pub mod api;
pub mod birth;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod dev;
pub mod driver;
pub mod failure;
pub mod history;
pub mod inspect;
pub mod link;
pub mod listen;
pub mod net;
pub mod salvage;
pub mod storage;
pub mod telemetry;
mod worker;
