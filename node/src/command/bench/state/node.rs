//! As much of a node as executes, and what is measured of it.

use super::IDENTITY;
use super::report::{Meanwhile, Rate, Snapshot, Times};
use crate::command::bench::execute::load::Load;
use crate::command::bench::{BenchError, execute, failed_at};
use crate::execution::StateRoots;
use crate::replica::recovery::write_genesis;
use crate::replica::serve::Archive;
use crate::state_sync::pack;
use crate::state_sync::snapshots::{Service, Snapshots};
use crate::tables::{Applied, Place, Tables};
use ledger::{Approvals, CommitInput, Executed, Ledger, LedgerOptions, StateReader, claims_id};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use storage::log::{Backend, Log, LogOptions};
use storage::state::{StateDb, StateOptions};
use types::{Height, SnapshotPlan};

/// As much of a node as executes.
pub(super) struct Node {
    ledger: Ledger,
    tables: Tables,
    roots: StateRoots,
    snapshots: Snapshots,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    pub(super) fn start(dir: &Path, load: &Load, interval: u64) -> Result<Self, BenchError> {
        let failed = |what: String| BenchError::State { what };
        let database = StateDb::open(dir.join("state"), IDENTITY, StateOptions::default());
        let tables = Tables::new(Arc::new(database.map_err(|error| failed(error.to_string()))?));
        let reader: Arc<dyn StateReader> = Arc::new(tables.clone());
        let options = LedgerOptions { parallel_min: usize::MAX, ..LedgerOptions::default() };
        let (ledger, start) =
            Ledger::genesis(&load.genesis, NonZeroU16::MIN, reader, options).expect("a sound genesis");
        write_genesis(&tables, &start).map_err(|error| failed(error.to_string()))?;
        let mut log = LogOptions::new(dir.join("log"), IDENTITY);
        (log.backend, log.segment_bytes) = (Backend::Threaded, 1 << 20);
        let log = Log::open(log, None, &mut |_| Ok(())).map_err(|error| failed(error.to_string()))?;
        let archive = Archive::new(load.genesis.chain_id(), Arc::new(log), tables.clone());
        let mut parameters = load.genesis.parameters.clone();
        parameters.snapshot_interval_heights = interval;
        let service = Service {
            bytes_per_second: 1 << 30,
            genesis: Arc::new(load.genesis.clone()),
            parameters,
            anchor: Height(0),
            dir: dir.join("snapshots"),
        };
        let (snapshots, thread) = Snapshots::start(service, tables.clone(), archive).map_err(failed_at(dir))?;
        let roots = StateRoots::recovered(snapshots.clone(), tables.clone(), &ledger);
        let roots = roots.map_err(|error| failed(error.to_string()))?;
        Ok(Self { ledger, tables, roots, snapshots, thread: Some(thread) })
    }

    /// Executes a commit and writes its rows: those of the state, or all.
    fn commit(&mut self, input: &CommitInput, all: bool) -> Executed {
        let plan = SnapshotPlan::of(self.ledger.epoch());
        let state_root = self.roots.due(plan, input.height).expect("the state can be read");
        let executed = self.ledger.execute(CommitInput { state_root, ..input.clone() }).expect("the state can be read");
        let mut batch = self.tables.batch();
        executed.changes.iter().for_each(|(key, value)| batch.value(key, value.as_ref()));
        executed.live.added.iter().for_each(|bucket| batch.live_bucket(bucket));
        executed.live.dropped.iter().for_each(|height| batch.drop_live_bucket(*height));
        self.roots.write(&mut batch, &executed, plan).expect("the state can be read");
        batch.header(&executed.header);
        if all {
            batch.height(&executed.header, None, &executed.receipts);
            let places = (0..).map(|index| Place { height: input.height, index });
            for (receipt, place) in executed.receipts.iter().zip(places).filter(|(one, _)| claims_id(one.outcome)) {
                batch.place(&receipt.transaction, place);
            }
        }
        let ledger = executed.checkpoint.clone();
        batch.applied(&Applied { ledger, consensus: None, replay_from: 0, committed: 0, rejected: 0 });
        self.tables.commit(batch).expect("there is room on the disk");
        self.ledger.persisted(input.height);
        self.roots.written(&executed);
        executed
    }

    pub(super) fn rate(&mut self, engine: String, load: &Load, all: bool) -> Rate {
        for input in &load.before {
            self.commit(input, all);
        }
        // The first quarter warms caches.
        let warm_up = load.measured.len() / 4;
        let (mut began, mut cpu, mut transfers) = (Instant::now(), execute::cpu_time(), 0);
        for (index, input) in load.measured.iter().enumerate() {
            if index == warm_up {
                (began, cpu) = (Instant::now(), execute::cpu_time());
            }
            let executed = self.commit(input, all);
            assert!(executed.receipts.iter().all(|receipt| receipt.outcome.is_applied()), "transfers are sound");
            transfers += if index >= warm_up { input.transactions.len() } else { 0 };
        }
        Rate::since(began, cpu, engine, transfers)
    }

    /// Reads the state as it is, with nothing beside it.
    pub(super) fn read(&self, root: &Path, rocksdb_checkpoint_seconds: f64) -> Result<Snapshot, BenchError> {
        // That of genesis is read at the start.
        while self.snapshots.root_if_known(Height(0)).is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let (dir, database, go_on) = (root.join("pack"), self.tables.database(), AtomicBool::new(false));
        let header = self.ledger.tip().1.clone();
        let (began, cpu) = (Instant::now(), execute::cpu_time());
        let read = pack::pack(&database.snapshot(), &header, &Approvals::default(), Height(1), Some(&dir), &go_on);
        let (manifest, _) = read.map_err(|error| BenchError::State { what: error.to_string() })?;
        let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), execute::cpu_time().saturating_sub(cpu).as_secs_f64());
        let packed = pack::Pack::open(&dir).map_err(|error| BenchError::State { what: error.to_string() })?;
        let summary = &manifest.summary;
        Ok(Snapshot {
            rows: summary.rows,
            bytes: summary.bytes,
            packed_bytes: packed.packed_bytes(),
            chunks: summary.chunks,
            seconds,
            cpu_s,
            cpu_s_per_million_rows: cpu_s * 1e6 / summary.rows as f64,
            packed_bytes_per_row: packed.packed_bytes() as f64 / summary.rows as f64,
            rocksdb_checkpoint_seconds,
        })
    }

    /// Commits at a pace, one interval of them before a snapshot and one while and after it is read.
    pub(super) fn meanwhile(&mut self, load: &Load, interval: u64, pace: Duration) -> Meanwhile {
        let (mut normal, mut during, mut taken) = (Vec::new(), Vec::new(), None);
        let mut snapshot_seconds = 0.0;
        let begun = Instant::now();
        for (index, input) in load.measured.iter().enumerate() {
            std::thread::sleep((pace * index as u32).saturating_sub(begun.elapsed()));
            let began = Instant::now();
            self.commit(input, true);
            let spent = began.elapsed();
            let height = input.height.0;
            if height == interval {
                taken = Some(Instant::now());
            }
            match taken {
                // The first second is a start.
                None if height > pace_heights(pace) => normal.push(spent),
                None => {}
                Some(at) if snapshot_seconds == 0.0 => {
                    during.push(spent);
                    if self.snapshots.root_if_known(Height(interval)).is_some() {
                        snapshot_seconds = at.elapsed().as_secs_f64();
                    }
                }
                Some(_) => {}
            }
        }
        let (normal, during) = (times(normal), times(during));
        let p99_of_normal = during.p99_us as f64 / normal.p99_us as f64;
        let waited_ms = self.snapshots.waited().as_millis() as u64;
        Meanwhile { normal, during, p99_of_normal, snapshot_seconds, waited_ms }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.snapshots.stop();
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn pace_heights(pace: Duration) -> u64 {
    (1.0 / pace.as_secs_f64()) as u64
}

fn times(mut spent: Vec<Duration>) -> Times {
    spent.sort_unstable();
    let at = |share: f64| {
        let index = ((spent.len() as f64 * share) as usize).min(spent.len().saturating_sub(1));
        spent.get(index).map_or(0, |time| time.as_micros() as u64)
    };
    Times { commits: spent.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
}
