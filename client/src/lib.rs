//! The client library: connect, keep a session, take a lock, and know when it is lost.
