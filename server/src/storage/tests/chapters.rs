use super::super::chapter_logs::{ChapterLogs, discard_chapters, list_chapters};
use super::{SMALL, SimFiles};
use crate::storage::Files as _;
use cotter_replica::{ChapterLog, Payload, ReplicaLog};
use cotter_types::CellId;
use omnipaxos::storage::Storage;

/// More operations than any of these steps takes.
const OPERATIONS_MAX: u64 = 64;

fn logs(files: &SimFiles) -> ChapterLogs<SimFiles> {
    ChapterLogs::new(files.clone(), CellId(7), 99, SMALL).unwrap()
}

/// A disk with the logs of three chapters, with several segments each.
fn disk() -> SimFiles {
    let files = SimFiles::new();
    let mut logs = logs(&files);
    for chapter in [3, 4, 5] {
        let mut log = logs.begin(chapter).unwrap();
        for number in 0..20_u8 {
            log.append_entry(Payload::from(vec![number; 100])).unwrap();
            log.sync().unwrap();
        }
    }
    files
}

#[test]
fn a_chapter_is_begun_once_or_not_at_all_wherever_the_power_goes() {
    let mut outcomes = [0, 0];
    for operations in 0..OPERATIONS_MAX {
        for seed in 0..8 {
            let files = disk();
            files.cut_power_after(operations);
            let begun = logs(&files).begin(6).is_ok();
            files.crash(seed);
            let mut logs = logs(&files);
            let there = logs.chapters().contains(&6);
            assert!(there || !begun, "{operations}: it was begun, and is gone");
            outcomes[usize::from(there)] += 1;
            let log = match there {
                true => logs.open(6),
                false => logs.begin(6),
            };
            let log = log.unwrap_or_else(|fault| panic!("{operations}, {seed}: {fault}"));
            assert_eq!(log.get_log_len().unwrap(), 0);
            for chapter in [3, 4, 5] {
                assert_eq!(logs.open(chapter).unwrap().get_log_len().unwrap(), 20);
            }
        }
    }
    assert!(outcomes[0] > 20 && outcomes[1] > 20, "{outcomes:?}");
}

#[test]
fn a_discarded_chapter_is_whole_or_no_log_wherever_the_power_goes() {
    for operations in 0..OPERATIONS_MAX {
        for seed in 0..8 {
            let files = disk();
            files.cut_power_after(operations);
            let _ = discard_chapters(&files, 5);
            files.crash(seed);
            for chapter in list_chapters(&files).unwrap() {
                let log = logs(&files).open(chapter);
                let log = log.unwrap_or_else(|fault| panic!("{operations}, {seed}: {fault}"));
                assert_eq!(log.get_log_len().unwrap(), 20, "chapter {chapter}");
            }
            discard_chapters(&files, 5).unwrap();
            assert_eq!(list_chapters(&files).unwrap(), [5]);
        }
    }
    let files = disk();
    discard_chapters(&files, 5).unwrap();
    assert_eq!(files.list().unwrap(), ["chapter-00000005"]);
}
