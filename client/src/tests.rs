//! Facts about the client library.
