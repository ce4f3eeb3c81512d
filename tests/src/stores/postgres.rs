//! A PostgreSQL server of the tests' own: a new cluster in a temporary directory, on a Unix socket
//! there, with no TCP, ended by its id.
//!
//! All tests that run at one moment share one server, each with a database of its own; the last one
//! to end stops it. It has nothing to do with any server of the system's.

use crate::cluster::{Process, eventually, finish};
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Set, to anything, where PostgreSQL is expected: its absence then fails the tests instead of
/// skipping them.
pub const POSTGRES_REQUIRED: &str = "COTTER_POSTGRES_REQUIRED";

/// Where Debian's packages are, one directory for each major version.
const INSTALLED: &str = "/usr/lib/postgresql";

/// The one server, as long as a test uses it.
static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    databases: AtomicU32,
    // After the process, so that it has ended when the directory is removed.
    directory: TempDir,
}

impl Postgres {
    /// Returns the server, and starts it if no other test has. Without the package it returns
    /// nothing, and says so where it can be seen.
    ///
    /// # Panics
    /// If the server cannot be started, or if it is missing and [`POSTGRES_REQUIRED`].
    #[must_use]
    pub fn shared() -> Option<Arc<Self>> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os(POSTGRES_REQUIRED).is_none(),
                "{POSTGRES_REQUIRED} is set, and no PostgreSQL is in {INSTALLED}"
            );
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let line = format!(
                "SKIPPED {test}: no PostgreSQL in {INSTALLED}; apt-get install postgresql\n"
            );
            // Not by eprintln, which the harness hides when a test passes.
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        };
        let server = Arc::new(Self::start(&programs));
        *running = Arc::downgrade(&server);
        Some(server)
    }

    fn start(programs: &Path) -> Self {
        // Not where TMPDIR says: a socket's path is short, and another user must reach it.
        let directory = tempfile::Builder::new()
            .prefix("cotter-postgres-")
            .tempdir_in("/tmp")
            .expect("a directory for PostgreSQL");
        let user = unprivileged();
        if let Some(user) = &user {
            chown(
                directory.path(),
                Some(user.uid.as_raw()),
                Some(user.gid.as_raw()),
            )
            .expect("root can give a directory away");
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(directory.path());
            if let Some(user) = &user {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command
        };
        let data = directory.path().join("data");
        let mut initdb = command("initdb");
        initdb
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data);
        let _ = finish(&mut initdb).ok();
        let mut postgres = command("postgres");
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path());
        for setting in ["listen_addresses=", "fsync=off", "shared_buffers=16MB"] {
            postgres.args(["-c", setting]);
        }
        let mut process = Process::start("postgres", &mut postgres, &directory.path().join("log"));
        eventually("PostgreSQL is ready", || {
            process.ended().is_some() || process.log().contains("ready to accept connections")
        });
        assert!(process.ended().is_none(), "{}", process.log());
        Self {
            process,
            databases: AtomicU32::new(0),
            directory,
        }
    }

    /// Makes an empty database, and returns how to connect to it.
    ///
    /// # Panics
    /// If the server does not.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let server = format!("host={} user=postgres", self.directory.path().display());
        let client = connect(&format!("{server} dbname=postgres"))
            .await
            .expect("the server answers");
        client
            .batch_execute(&format!("CREATE DATABASE test_{number}"))
            .await
            .expect("a database can be made");
        format!("{server} dbname=test_{number}")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The fast shutdown, which also gives back the kernel's shared memory.
        self.process.signal(Signal::SIGINT);
        if !std::thread::panicking() {
            self.process.wait();
        }
    }
}

/// Connects to a database.
///
/// # Errors
/// What the server says, or that there is none.
pub async fn connect(how: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(how, NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// Finds the programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(INSTALLED).ok()?;
    versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let programs = path.join("bin");
            let whole = programs.join("initdb").is_file() && programs.join("postgres").is_file();
            whole.then_some((version, programs))
        })
        .max()
        .map(|(_, programs)| programs)
}

/// PostgreSQL refuses to run as root, so root runs it as somebody else.
fn unprivileged() -> Option<User> {
    geteuid().is_root().then(|| {
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok()?)
            .expect("the system has the user postgres or nobody")
    })
}
