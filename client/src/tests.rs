//! Facts about the client library, against a fake replica over loopback.

mod endpoints;
mod fake;
mod locks;
mod nodes;
mod outages;
mod sessions;
