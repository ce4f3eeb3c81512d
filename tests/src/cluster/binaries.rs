//! Where the daemon, the command line and the examples are.
//!
//! This package builds them once more, from the same files, under names of its own: Cargo then
//! always has them ready and fresh when a test of this package runs, whatever was asked to be
//! built, and no stale copy is ever tested.

use std::path::PathBuf;

/// Returns the path of the daemon.
///
/// # Panics
/// If this is called from something else than a test of this package.
#[must_use]
pub fn cotterd() -> PathBuf {
    built("cotterd-under-test")
}

/// Returns the path of the command line.
///
/// # Panics
/// If this is called from something else than a test of this package.
#[must_use]
pub fn cotter() -> PathBuf {
    built("cotter-under-test")
}

/// Returns the path of the example of that name, which has dashes here.
///
/// # Panics
/// If this is called from something else than a test of this package.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    built(&format!("{name}-under-test"))
}

/// Returns the path of a binary of this package. Test executables stand in `deps`, beside which the
/// binaries are.
///
/// # Panics
/// If this is called from something else than a test of this package.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its executable");
    let directory = own
        .ancestors()
        .nth(2)
        .expect("a test executable stands in target/*/deps");
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is not built; run this by cargo test",
        path.display()
    );
    path
}
