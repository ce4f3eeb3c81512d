//! What clients connect to: the `Attach` stream, the unary services, health checking, reflection, and
//! HTTP/JSON.
//!
//! The path of a frame: `connections` accepts the connection, `attach` reads and decodes the frame,
//! `admission` checks what needs no cell, `door` lets it into the owner's inbox; the owner's answer
//! goes through the queue of its stream (`streams`) to the task that writes (`writer`).
//!
//! A call of the simple interface has no stream: `calls` lets it in by the same door, and it carries
//! its own way back. What the front doors for such calls share is in
//! `edge`; the gRPC one is `unary`, the one for HTTP/JSON is `http`. `serve` puts all of it together.
//!
//! This module must never decide what the cell decides, and never hold up the owner of the replica.

mod admission;
mod attach;
mod calls;
pub mod connections;
pub mod door;
mod edge;
mod http;
pub mod serve;
mod snapshots;
pub mod streams;
#[cfg(test)]
mod tests;
mod unary;
mod writer;

pub use attach::HELLO_MS_MAX;
pub use serve::{Readiness, ServeError, serve};
pub use writer::BATCH_BYTES_SOFT;
