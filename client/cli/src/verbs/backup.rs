//! `cotter cell backup`.
//!
//! What comes is written aside, and gets the name that was asked for only when all of it has come, is
//! what was sent, and is on the disk. A file that is there is never replaced.

use super::observer;
use crate::args::Common;
use crate::failure::{Failure, INPUT_OUTPUT, SOFTWARE, UNAVAILABLE};
use crate::output::{Table, show};
use cotter_client::{Backup, BackupError, BackupSummary};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a backup: only who made it, since it holds everybody's contents.
const FILE_MODE: u32 = 0o600;

/// A file that is being written, under a name of its own; removed unless it was finished.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone already if it was finished.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a backup of the cell into `file`.
pub(crate) async fn run(file: &Path, common: &Common) -> Result<(), Failure> {
    let failed =
        |error: &io::Error| Failure::new(INPUT_OUTPUT, format!("{}: {error}", file.display()));
    refuse_existing(file)?;
    let mut unfinished = Unfinished::new(file).map_err(|error| failed(&error))?;
    let mut backup = observer(common)?.backup().await?;
    let summary = receive(&mut backup, &mut unfinished.file, &failed).await?;
    refuse_existing(file)?;
    unfinished.finish(file).map_err(|error| failed(&error))?;
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let facts = [
        ("cell", summary.cell.clone()),
        ("cell id", summary.cell_id.clone()),
        ("revision", summary.revision.to_string()),
        ("digest of the state", summary.state_digest.clone()),
        ("bytes", summary.bytes.to_string()),
        ("digest of the file", summary.file_digest.clone()),
    ];
    for (what, value) in facts {
        table.rows.push(vec![what.to_owned(), value]);
    }
    let json = json!({
        "file": file.display().to_string(),
        "cell": summary.cell,
        "cell_id": summary.cell_id,
        "revision": summary.revision,
        "state_digest": summary.state_digest,
        "bytes": summary.bytes,
        "file_digest": summary.file_digest,
    });
    show(common.output, &table, &json)
}

fn refuse_existing(file: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(file) {
        Ok(_) => Err(Failure::new(
            INPUT_OUTPUT,
            format!("{} is there already: name another file", file.display()),
        )),
        Err(_) => Ok(()),
    }
}

async fn receive(
    backup: &mut Backup,
    file: &mut File,
    failed: &impl Fn(&io::Error) -> Failure,
) -> Result<BackupSummary, Failure> {
    while let Some(bytes) = backup.next().await? {
        file.write_all(&bytes).map_err(|error| failed(&error))?;
    }
    let summary = backup.summary().cloned();
    summary.ok_or_else(|| Failure::new(SOFTWARE, "a backup has come to its end and has none"))
}

impl Unfinished {
    fn new(file: &Path) -> io::Result<Self> {
        let mut name = file
            .file_name()
            .ok_or(io::ErrorKind::InvalidFilename)?
            .to_owned();
        name.push(".unfinished");
        let path = file.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let opened = options.open(&path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                format!(
                    "{} is left of another backup: remove it if none is being made",
                    path.display()
                ),
            ),
            _ => error,
        })?;
        Ok(Self { file, path })
    }

    /// Makes it durable and gives it its name.
    fn finish(self, file: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, file)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Query(error) => error.into(),
            error => Self::new(UNAVAILABLE, error.to_string()),
        }
    }
}
