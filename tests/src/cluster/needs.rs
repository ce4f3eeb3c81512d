//! What a test of real faults needs of the machine, and what happens where it is missing.
//!
//! Faults of disks and networks take the rights of root and a few of Debian's packages. Without them
//! a test says that it was skipped, so that `cargo test` works everywhere; where
//! [`FAULTS_REQUIRED`] is set, as in CI, it fails instead, so that nobody takes silence for proof.

use std::io::Write;

/// Set, to anything, where the faults are expected to work: what is missing then fails the tests
/// instead of skipping them.
pub const FAULTS_REQUIRED: &str = "COTTER_FAULTS_REQUIRED";

/// Where programs are looked for, whatever `PATH` says: root's tools stand outside of most users'.
const PLACES: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];

/// Tells whether this machine has all `programs`, each named with its package, and whether the test
/// is run by root. If not, it says so where it can be seen.
///
/// # Panics
/// If something is missing and [`FAULTS_REQUIRED`] is set.
#[must_use]
pub fn root_with(programs: &[(&str, &str)]) -> bool {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("it needs root".to_owned());
    }
    for (program, package) in programs {
        if find(program).is_none() {
            missing.push(format!("no {program}; apt-get install {package}"));
        }
    }
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join("; ");
    assert!(
        std::env::var_os(FAULTS_REQUIRED).is_none(),
        "{FAULTS_REQUIRED} is set, but: {missing}"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not by eprintln, which the harness hides when a test passes.
    let _ = std::io::stderr().write_all(format!("SKIPPED {test}: {missing}\n").as_bytes());
    false
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    PLACES
        .iter()
        .map(|place| std::path::Path::new(place).join(program))
        .find(|path| path.is_file())
}

/// Returns how many faults of a kind a test injects: `default`, which suits a test run after each
/// change, or what `variable` says.
///
/// # Panics
/// If the variable is set to something else than a whole number above 0.
#[must_use]
pub fn fault_count(variable: &str, default: usize) -> usize {
    let count = match std::env::var(variable) {
        Ok(text) => text.parse().ok().filter(|count| *count > 0),
        Err(_) => Some(default),
    };
    count.unwrap_or_else(|| panic!("{variable} must be a whole number above 0"))
}
