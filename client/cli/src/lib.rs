//! The cotter command line.
