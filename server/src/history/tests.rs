//! What is kept of the past, what goes, and what is said of it.

use super::shelf::Shelf;
use super::{
    Errand, History, HistoryReader, HistorySettings, HistoryTrouble, Shared, coverage, start,
};
use cotter_replica::Past;
use cotter_types::limits::{HISTORY_QUEUED_MAX, HISTORY_SPANS_MAX};
use cotter_types::{
    CellId, Doer, HistoryCoverage, HistoryPage, HistoryQuery, HistorySpan, PastChange, PastEvent,
    Path, ReplicaId, Revision,
};
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};

const CELL: CellId = CellId(7);
const REPLICA: ReplicaId = ReplicaId(2);

fn span(after: u64, to: u64) -> HistorySpan {
    HistorySpan {
        after: Revision(after),
        to: Revision(to),
        since_wall_ms: after * 1_000,
        until_wall_ms: to * 1_000,
    }
}

fn spans(coverage: &HistoryCoverage) -> Vec<(u64, u64)> {
    let pair = |span: &HistorySpan| (span.after.0, span.to.0);
    coverage.spans.iter().map(pair).collect()
}

/// Makes what happened in the revisions after one, one to each of `paths`.
fn past(after: u64, paths: &[&str]) -> Past {
    let event = |(path, revision): (&&str, u64)| PastEvent {
        path: Path::parse(path).unwrap(),
        revision: Revision(revision),
        index: 0,
        wall_ms: revision * 1_000,
        who: Doer::default(),
        what: PastChange::NodeDeleted,
    };
    let to = after + paths.len() as u64;
    Past {
        after: Revision(after),
        to: Revision(to),
        since_wall_ms: (after + 1) * 1_000,
        until_wall_ms: to * 1_000,
        events: paths.iter().zip(after + 1..).map(event).collect(),
    }
}

fn query(path: &str) -> HistoryQuery {
    HistoryQuery {
        path: Path::parse(path).unwrap(),
        recursive: false,
        since_wall_ms: 0,
        before: None,
        limit: 0,
    }
}

fn shelf(directory: &FilePath) -> Shelf {
    Shelf::open(&directory.join("history"), CELL, || {}).unwrap()
}

fn revisions(page: &HistoryPage) -> Vec<u64> {
    page.events.iter().map(|event| event.revision.0).collect()
}

fn found(shelf: &Shelf, query: &HistoryQuery) -> Vec<u64> {
    revisions(&shelf.page(query, REPLICA).unwrap())
}

#[test]
fn what_does_not_follow_leaves_a_gap_and_what_is_told_again_closes_it() {
    let mut coverage = HistoryCoverage::default();
    assert!(!coverage::hold(&mut coverage, span(5, 10)));
    assert!(!coverage::hold(&mut coverage, span(10, 12)));
    assert!(coverage::hold(&mut coverage, span(20, 30)));
    assert!(coverage::hold(&mut coverage, span(40, 50)));
    assert_eq!(spans(&coverage), [(5, 12), (20, 30), (40, 50)]);
    // Told again, wholly within or across the gap.
    assert!(!coverage::hold(&mut coverage, span(22, 25)));
    assert!(!coverage::hold(&mut coverage, span(11, 21)));
    assert_eq!(spans(&coverage), [(5, 30), (40, 50)]);
    assert_eq!(coverage.spans[0].since_wall_ms, 5_000);
    assert_eq!(coverage.spans[0].until_wall_ms, 30_000);
    assert!(!coverage::hold(&mut coverage, span(32, 34)));
    assert_eq!(spans(&coverage), [(5, 30), (32, 34), (40, 50)]);
}

#[test]
fn what_goes_is_covered_no_more() {
    let mut coverage = HistoryCoverage::default();
    coverage::hold(&mut coverage, span(5, 10));
    coverage::hold(&mut coverage, span(20, 30));
    coverage::let_go(&mut coverage, Revision(7), 7_500);
    assert_eq!(spans(&coverage), [(7, 10), (20, 30)]);
    assert_eq!(coverage.spans[0].since_wall_ms, 7_500);
    coverage::let_go(&mut coverage, Revision(10), 10_000);
    assert_eq!(spans(&coverage), [(20, 30)]);
}

#[test]
fn spans_are_bounded_and_the_oldest_goes() {
    let mut coverage = HistoryCoverage::default();
    for nth in 0..HISTORY_SPANS_MAX as u64 + 2 {
        coverage::hold(&mut coverage, span(nth * 10, nth * 10 + 5));
    }
    assert_eq!(coverage::bound(&mut coverage), Some(Revision(15)));
    assert_eq!(coverage.spans.len(), HISTORY_SPANS_MAX);
    assert_eq!(coverage::bound(&mut coverage), None);
}

#[test]
fn events_are_found_by_path_and_below_it_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = shelf(directory.path());
    let paths = [
        "/ls/local/a",
        "/ls/local/a/b",
        "/ls/local/ab",
        "/ls/local/a",
    ];
    assert!(!shelf.keep(&past(0, &paths)).unwrap());
    assert!(!shelf.keep(&past(4, &paths)).unwrap());
    assert_eq!(found(&shelf, &query("/ls/local/a")), [8, 5, 4, 1]);
    let recursive = HistoryQuery {
        recursive: true,
        ..query("/ls/local/a")
    };
    assert_eq!(found(&shelf, &recursive), [8, 6, 5, 4, 2, 1]);
    for mut paged in [query("/ls/local/a"), recursive] {
        paged.limit = 3;
        let first = shelf.page(&paged, REPLICA).unwrap();
        assert_eq!((first.events.len(), first.replica), (3, REPLICA));
        paged.before = first.before;
        let second = shelf.page(&paged, REPLICA).unwrap();
        let whole = HistoryQuery {
            before: None,
            limit: 0,
            ..paged
        };
        let both = [revisions(&first), revisions(&second)].concat();
        assert_eq!(both, found(&shelf, &whole));
    }
    let late = HistoryQuery {
        since_wall_ms: 5_000,
        ..query("/ls/local/a")
    };
    assert_eq!(found(&shelf, &late), [8, 5]);
    assert_eq!(found(&shelf, &query("/ls/local/absent")), [0; 0]);
}

#[test]
fn what_was_flushed_is_there_again_and_told_twice_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let told = past(3, &["/ls/local/a", "/ls/local/b"]);
    let (bytes, events) = {
        let mut shelf = shelf(directory.path());
        shelf.keep(&told).unwrap();
        shelf.flush().unwrap();
        (shelf.bytes, shelf.events)
    };
    let mut shelf = shelf(directory.path());
    assert_eq!((shelf.bytes, shelf.events), (bytes, events));
    assert_eq!(spans(&shelf.coverage), [(3, 5)]);
    shelf.keep(&told).unwrap();
    assert_eq!((shelf.bytes, shelf.events), (bytes, events));
    assert_eq!(found(&shelf, &query("/ls/local/b")), [5]);
    // Something is missing between the two.
    assert!(shelf.keep(&past(9, &["/ls/local/b"])).unwrap());
    assert_eq!(spans(&shelf.coverage), [(3, 5), (9, 10)]);
}

#[test]
fn the_oldest_goes_by_bytes_and_by_age_and_is_covered_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = shelf(directory.path());
    let paths = ["/ls/local/a"; 100];
    for nth in 0..50 {
        shelf.keep(&past(nth * 100, &paths)).unwrap();
    }
    let half = shelf.bytes / 2;
    // Whole parts go, here of 100 events each.
    assert_eq!(shelf.trim(half, 0, 10).unwrap(), 100);
    let removed = shelf.trim(half, 0, u64::MAX).unwrap();
    assert!(shelf.bytes <= half, "{} of {half}", shelf.bytes);
    assert_eq!(shelf.events, 4_900 - removed);
    let [(after, 5_000)] = spans(&shelf.coverage)[..] else {
        panic!("{:?}", shelf.coverage);
    };
    assert_eq!(after, 100 + removed);
    // What is younger than that keeps all of its part.
    assert_eq!(
        shelf.trim(half, 4_850_000, u64::MAX).unwrap(),
        4_800 - after
    );
    assert_eq!(spans(&shelf.coverage), [(4_800, 5_000)]);
    let mut all = query("/ls/local/a");
    all.limit = 1_000;
    let page = shelf.page(&all, REPLICA).unwrap();
    assert_eq!((page.events.len(), page.before), (200, None));
    shelf.flush().unwrap();
    drop(shelf);
    let mut shelf = self::shelf(directory.path());
    assert_eq!(
        (shelf.events, spans(&shelf.coverage)),
        (200, vec![(4_800, 5_000)])
    );
    // What comes after goes on being found and removed.
    shelf.keep(&past(5_000, &paths)).unwrap();
    assert_eq!(shelf.trim(0, 0, u64::MAX).unwrap(), 300);
    assert_eq!((shelf.bytes, shelf.events), (0, 0));
    assert!(shelf.coverage.spans.is_empty());
}

#[test]
fn pages_begin_and_end_within_parts_and_across_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = shelf(directory.path());
    let paths: Vec<&str> = ["/ls/local/a", "/ls/local/b", "/ls/local/a/c"]
        .into_iter()
        .cycle()
        .take(1_500)
        .collect();
    shelf.keep(&past(0, &paths)).unwrap();
    shelf.keep(&past(1_500, &paths)).unwrap();
    for (recursive, path, expected) in [
        (false, "/ls/local/a", 1_000),
        (false, "/ls/local/b", 1_000),
        (true, "/ls/local/a", 2_000),
        (true, "/ls/local", 3_000),
    ] {
        let mut question = HistoryQuery {
            recursive,
            limit: 7,
            ..query(path)
        };
        let mut all = Vec::new();
        // A page more than there can be.
        for _ in 0..=3_000 / 7 + 1 {
            let page = shelf.page(&question, REPLICA).unwrap();
            all.extend(revisions(&page));
            question.before = page.before;
            if page.before.is_none() {
                break;
            }
        }
        assert_eq!(question.before, None, "{path}");
        assert_eq!(all.len(), expected, "{path}");
        assert!(all.is_sorted_by(|one, next| one > next), "{path}");
    }
}

#[test]
fn what_is_told_again_around_what_is_held_keeps_its_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = shelf(directory.path());
    shelf.keep(&past(10, &["/ls/local/a"; 5])).unwrap();
    shelf.keep(&past(0, &["/ls/local/a"; 30])).unwrap();
    assert_eq!(shelf.events, 30);
    let expected: Vec<u64> = (1..=30).rev().collect();
    assert_eq!(found(&shelf, &query("/ls/local/a")), expected);
    assert_eq!(spans(&shelf.coverage), [(0, 30)]);
}

fn begin(directory: &FilePath, cell: CellId) -> (History, HistoryReader) {
    start(directory, cell, REPLICA, HistorySettings::default())
}

/// Asks until there is an answer: a directory that cannot be read costs time.
async fn ask(reader: &HistoryReader) -> HistoryPage {
    for _ in 0..10 {
        match reader.ask(query("/ls/local/a")).await {
            Err(HistoryTrouble::Late) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("no answer");
}

#[tokio::test]
async fn a_history_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for after in 0..3 {
        let (mut history, reader) = begin(directory.path(), CELL);
        history.tell(Box::new(past(after, &["/ls/local/a"])));
        let page = ask(&reader).await;
        assert_eq!(page.events.len() as u64, after + 1);
        assert_eq!(spans(&page.coverage), [(0, after + 1)]);
    }
    assert!(!directory.path().join("history.openings").exists());
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_begun_anew_and_says_what_it_covers() {
    for damage in ["a slab", "all", "another cell", "three starts"] {
        let directory = tempfile::tempdir().unwrap();
        let (mut history, reader) = begin(directory.path(), CELL);
        history.tell(Box::new(past(0, &["/ls/local/a"; 500])));
        assert_eq!(spans(&ask(&reader).await.coverage), [(0, 500)]);
        drop(history);
        let kept = directory.path().join("history");
        let cell = match damage {
            "another cell" => CellId(8),
            _ => CELL,
        };
        if damage == "three starts" {
            fs::write(directory.path().join("history.openings"), "3").unwrap();
        }
        for part in ["slabs", "metadata"] {
            for file in fs::read_dir(kept.join(part)).unwrap() {
                let file = file.unwrap().path();
                let length = fs::metadata(&file).unwrap().len();
                let hit = damage == "all" || (damage == "a slab" && part == "slabs");
                if hit && length > 0 && file.is_file() {
                    fs::write(&file, vec![0xa5; length as usize]).unwrap();
                }
            }
        }
        let (mut history, reader) = begin(directory.path(), cell);
        history.tell(Box::new(past(600, &["/ls/local/a"])));
        let page = ask(&reader).await;
        assert_eq!(spans(&page.coverage), [(600, 601)], "{damage}");
        assert_eq!(revisions(&page), [601], "{damage}");
    }
}

/// A history whose thread does nothing.
fn idle() -> (History, HistoryReader, Receiver<Errand>) {
    let shared = Arc::new(Shared::new(REPLICA));
    let (errands, waiting) = mpsc::channel();
    let reader = HistoryReader {
        errands: Some(errands.clone()),
        shared: Arc::clone(&shared),
    };
    let history = History {
        errands: Some(errands),
        shared,
        gone: None,
        full: false,
    };
    (history, reader, waiting)
}

#[test]
fn a_full_queue_drops_until_it_is_half_empty_and_never_waits() {
    let (mut history, _reader, waiting) = idle();
    let part = past(0, &["/ls/local/a"; 1_024]);
    let fits = HISTORY_QUEUED_MAX / 1_024;
    for _ in 0..fits + 3 {
        history.tell(Box::new(part.clone()));
    }
    assert_eq!(waiting.try_iter().count(), fits);
    // The thread has taken some, but not enough.
    history.shared.queued.fetch_sub(1_024, Ordering::Relaxed);
    history.tell(Box::new(part.clone()));
    assert_eq!(waiting.try_iter().count(), 0);
    let most = HISTORY_QUEUED_MAX - 2_048;
    history.shared.queued.fetch_sub(most, Ordering::Relaxed);
    history.tell(Box::new(part));
    assert_eq!(waiting.try_iter().count(), 1);
}

#[tokio::test]
async fn a_thread_without_progress_is_given_up_and_not_waited_for() {
    let (mut history, reader, waiting) = idle();
    history.watch();
    assert!(!history.shared.is_off());
    history.shared.busy_since.store(1, Ordering::Relaxed);
    // The clock counts from the start of the machine.
    let up = crate::clock::now().0;
    if up < 2 * 60_000_000 {
        eprintln!("skipped: the machine has just started");
        return;
    }
    history.watch();
    assert!(history.shared.is_off());
    history.tell(Box::new(past(0, &["/ls/local/a"])));
    assert_eq!(waiting.try_iter().count(), 0);
    let answer = reader.ask(query("/ls/local/a")).await;
    let Err(HistoryTrouble::Failed(why)) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("no progress"), "{why}");
    drop(history);
}

#[tokio::test]
async fn who_asks_too_much_or_nobody_is_told() {
    assert_eq!(
        HistoryReader::off().ask(query("/ls/local/a")).await,
        Err(HistoryTrouble::Off)
    );
    let directory = tempfile::tempdir().unwrap();
    let none = HistorySettings {
        bytes_max: 0,
        ..HistorySettings::default()
    };
    let (_history, reader) = start(directory.path(), CELL, REPLICA, none);
    let answer = reader.ask(query("/ls/local/a")).await;
    assert_eq!(answer, Err(HistoryTrouble::Off));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let (_history, reader, _waiting) = idle();
    let places = super::QUESTIONS_MAX as u32;
    let all = Arc::clone(&reader.shared.questions).acquire_many_owned(places);
    let _all = all.await.unwrap();
    let answer = reader.ask(query("/ls/local/a")).await;
    assert_eq!(answer, Err(HistoryTrouble::Busy));
}
