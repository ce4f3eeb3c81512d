//! The `cotter` command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    cotter_cli::run()
}
