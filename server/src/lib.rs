//! The replica daemon: storage, links, the public API, configuration.

pub mod api;
pub mod storage;
