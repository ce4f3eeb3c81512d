//! Facts about the session core, shown as transcripts: what went in, what came out.

mod failover;
mod jitter;
mod leases;
mod numbers;
mod outages;
mod outages_by_chance;
mod requests;
mod script;
