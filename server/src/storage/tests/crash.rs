use super::super::sim_disk::Chance;
use super::{
    IDENTITY, Model, OpenError, SMALL, SegmentedLog, SimFiles, SimLog, create, open,
    random_operations, sample, write,
};
use crate::storage::LogSettings;
use cotter_replica::ChapterLog;

/// What a log may hold after a crash: the last synced state or any later one.
struct Life {
    possible: Vec<Model>,
}

impl Life {
    fn new(model: Model) -> Self {
        Self {
            possible: vec![model],
        }
    }

    /// Writes and syncs by chance until the power goes or the steps end.
    fn run(&mut self, log: &mut SimLog, chance: &mut Chance, steps: usize) {
        let writes_per_sync = 1 + chance.below(12);
        for _ in 0..steps {
            let mut model = self.possible.last().unwrap().clone();
            let operations = model.apply(&random_operations(chance));
            self.possible.push(model);
            if write(log, operations).is_err() {
                return;
            }
            if chance.below(writes_per_sync) == 0 {
                if log.sync().is_err() {
                    return;
                }
                assert!(!log.needs_sync());
                self.possible.drain(..self.possible.len() - 1);
            }
        }
    }

    /// Checks what came back, and goes on from there.
    fn check(&mut self, log: &SimLog, at: &str) {
        let found = Model::of(log);
        assert!(
            self.possible.contains(&found),
            "{at}: {found:?} is none of what may be there: {:?}",
            self.possible
        );
        self.possible = vec![found];
    }
}

fn open_with(files: &SimFiles, settings: LogSettings) -> Result<SimLog, OpenError> {
    SegmentedLog::open(files.clone(), IDENTITY, settings)
}

fn reopen(files: &SimFiles, settings: LogSettings, at: &str) -> SimLog {
    open_with(files, settings).unwrap_or_else(|error| panic!("{at}: {error}"))
}

#[test]
fn nothing_synced_is_lost_over_many_lives_with_power_cuts() {
    let mut torn = 0;
    for seed in 0..600 {
        let mut chance = Chance::new(seed);
        let files = SimFiles::new();
        // In a large segment one sync covers many sectors, of which a crash keeps any.
        let segment_bytes = if seed % 2 == 0 { 512 } else { 16_384 };
        let settings = LogSettings {
            segment_bytes,
            ..SMALL
        };
        let mut log = SegmentedLog::create(files.clone(), IDENTITY, settings).unwrap();
        let mut life = Life::new(Model::default());
        for round in 0..4 {
            let at = format!("seed {seed}, life {round}");
            files.cut_power_after(chance.below(40) as u64);
            life.run(&mut log, &mut chance, 80);
            files.crash(chance.next());
            if chance.below(3) == 0 {
                files.cut_power_after(chance.below(8) as u64);
                if let Ok(log) = open_with(&files, settings) {
                    life.check(&log, &at);
                }
                files.crash(chance.next());
            }
            log = reopen(&files, settings, &at);
            torn += u32::from(log.report().torn.is_some());
            life.check(&log, &at);
            if chance.below(3) == 0 {
                // What an open log shows is durable, whatever happens next.
                files.crash(chance.next());
                log = reopen(&files, settings, &at);
                assert_eq!(log.report().torn, None, "{at}");
                life.check(&log, &at);
            }
        }
    }
    assert!(
        torn > 100,
        "only {torn} torn ends were seen: the test has lost its teeth"
    );
}

#[test]
fn a_power_cut_at_each_operation_leaves_a_prefix() {
    for script in 0..4 {
        let files = SimFiles::new();
        let begun = files.duplicate();
        sample(&files, 24, script);
        for cut in 0..=files.operations() {
            for seed in 0..6 {
                let at = format!("script {script}, cut {cut}, seed {seed}");
                let files = begun.duplicate();
                let mut life = Life::new(Model::default());
                files.cut_power_after(cut);
                if let Ok(mut log) = SegmentedLog::create(files.clone(), IDENTITY, SMALL) {
                    life.run(&mut log, &mut Chance::new(script), 24);
                }
                files.crash(seed);
                match open(&files) {
                    Ok(log) => life.check(&log, &at),
                    Err(OpenError::Missing(_)) => {
                        assert_eq!(life.possible, [Model::default()], "{at}");
                        assert_eq!(Model::of(&create(&files)), Model::default(), "{at}");
                    }
                    Err(error) => panic!("{at}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_kill_loses_nothing_synced_and_needs_no_power_cut_to_be_sound() {
    for seed in 0..100 {
        let mut chance = Chance::new(seed);
        let files = SimFiles::new();
        let mut log = create(&files);
        let mut life = Life::new(Model::default());
        for round in 0..3 {
            let at = format!("seed {seed}, life {round}");
            life.run(&mut log, &mut chance, 30);
            files.kill();
            log = reopen(&files, SMALL, &at);
            assert_eq!(log.report().torn, None, "{at}");
            life.check(&log, &at);
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_is_made_durable_before_it_is_believed() {
    for seed in 0..100 {
        let mut chance = Chance::new(seed);
        let files = SimFiles::new();
        let mut log = create(&files);
        let mut life = Life::new(Model::default());
        life.run(&mut log, &mut chance, 10);
        files.fail_next_sync();
        life.run(&mut log, &mut chance, 40);
        assert!(log.sync().is_err(), "seed {seed}");
        files.kill();
        let believed = reopen(&files, SMALL, "after the kill");
        life.check(&believed, &format!("seed {seed}"));
        files.crash(seed);
        life.check(
            &reopen(&files, SMALL, "after the crash"),
            &format!("seed {seed}, power cut"),
        );
    }
}
