//! Who of a process group lives, by `/proc`: a zombie whose parent never reaps it counts as gone.
//!
//! The kernel counts zombies as members, and where the living parent of one has left the group
//! nobody can reap it, so that a lock would be held for ever for somebody who is dead. Whatever is
//! not certain here, an unreadable `/proc` or one that hides processes, must count as life: the
//! lock is released on this word.

use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// Tells whether the group has members, and it is certain that all are zombies.
///
/// It looks twice: a member that forks and ends in between may show only its zombie the first time,
/// but the child was there before the second look began, and shows then.
pub(super) fn only_zombies(group: Pid) -> bool {
    let root = Path::new("/proc");
    if !is_complete(root) {
        return false;
    }
    let Ok(Some(first)) = zombies(root, group.as_raw()) else {
        return false;
    };
    !first.is_empty()
        && zombies(root, group.as_raw()).is_ok_and(|second| second.as_ref() == Some(&first))
}

/// Tells whether `/proc` shows every process that this one could know, under the ids it knows.
fn is_complete(root: &Path) -> bool {
    let own = std::process::id().to_string();
    let same_ids = fs::read_link(root.join("self")).is_ok_and(|to| to == Path::new(&own));
    same_ids
        && fs::read_to_string(root.join("self/mountinfo"))
            .is_ok_and(|mounts| !mounts.lines().any(hides_processes))
}

/// Tells whether a line of `mountinfo` is about a `/proc` that hides the processes of other users.
fn hides_processes(line: &str) -> bool {
    line.split_ascii_whitespace().nth(4) == Some("/proc")
        && line
            .split([' ', ','])
            .filter_map(|option| option.strip_prefix("hidepid="))
            .any(|level| level != "0" && level != "off")
}

/// Returns the zombies of the group; nothing if one of its members lives.
fn zombies(root: &Path, group: i32) -> io::Result<Option<BTreeSet<i32>>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match standing(&entry.path())? {
            Some(of_leader) if of_leader.group == group => {
                if !of_leader.dead || has_living_thread(&entry.path())? {
                    return Ok(None);
                }
                found.insert(process);
            }
            _ => {}
        }
    }
    Ok(Some(found))
}

/// A process whose first thread has ended shows as a zombie though others may run on.
fn has_living_thread(process: &Path) -> io::Result<bool> {
    let threads = match fs::read_dir(process.join("task")) {
        Err(error) if is_gone(&error) => return Ok(false),
        threads => threads?,
    };
    for thread in threads {
        if standing(&thread?.path())?.is_some_and(|thread| !thread.dead) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is known of a process or a thread.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    dead: bool,
    group: i32,
}

/// Reads about a process or a thread; nothing if there is none any more.
fn standing(directory: &Path) -> io::Result<Option<Standing>> {
    match fs::read(directory.join("stat")) {
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(stat) => parse(&String::from_utf8_lossy(&stat))
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Understands a line of `stat`: id, name in parentheses, state, parent, group. The name may contain
/// anything, parentheses too.
fn parse(stat: &str) -> Option<Standing> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let group = fields.nth(1)?.parse().ok()?;
    Some(Standing { dead, group })
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}

#[cfg(test)]
mod tests {
    use super::{Standing, hides_processes, parse, zombies};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn show(root: &Path, process: i32, threads: &[(i32, &str)], group: i32) {
        for (thread, state) in threads {
            let stat = format!("{thread} (a) Z (b) {state} 1 {group} 1 0 -1");
            let directory = root.join(format!("{process}/task/{thread}"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("stat"), &stat).unwrap();
            if *thread == process {
                fs::write(root.join(format!("{process}/stat")), &stat).unwrap();
            }
        }
    }

    #[test]
    fn group_of_zombies_is_told_from_one_in_which_a_thread_lives() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        show(root, 11, &[(11, "Z")], 7);
        show(root, 12, &[(12, "S")], 8);
        assert_eq!(zombies(root, 7).unwrap(), Some(BTreeSet::from([11])));
        show(root, 13, &[(13, "Z"), (14, "R")], 7);
        assert_eq!(zombies(root, 7).unwrap(), None);
        assert_eq!(zombies(root, 8).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_understood_is_no_sign_of_death() {
        let directory = tempfile::tempdir().unwrap();
        show(directory.path(), 11, &[(11, "Z")], 7);
        fs::create_dir(directory.path().join("12")).unwrap();
        fs::write(directory.path().join("12/stat"), "12 (cut").unwrap();
        assert!(zombies(directory.path(), 7).is_err());
    }

    #[test]
    fn name_of_a_process_may_look_like_its_state() {
        let living = Standing {
            dead: false,
            group: 5,
        };
        assert_eq!(parse("4 (x) Z 1 9) S 1 5 5 0"), Some(living));
        assert_eq!(parse("4 (x"), None);
    }

    #[test]
    fn only_a_proc_that_hides_nothing_is_believed() {
        let mount = |options| format!("23 28 0:21 / /proc rw,nosuid - proc proc rw{options}");
        assert!(!hides_processes(&mount("")));
        assert!(!hides_processes(&mount(",hidepid=0")));
        assert!(hides_processes(&mount(",gid=4,hidepid=2")));
        assert!(hides_processes(&mount(",hidepid=invisible")));
    }
}
