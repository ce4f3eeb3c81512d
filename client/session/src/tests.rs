//! Facts about the session core, shown as transcripts: what went in, what came out.

mod failover;
mod jitter;
mod leases;
mod numbers;
mod requests;
mod script;
