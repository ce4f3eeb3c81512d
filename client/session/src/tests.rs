//! Facts about the session core.
