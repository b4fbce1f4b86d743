//! The shard workers: persistent threads that own nothing between commits. A commit hands each its shard and takes the
//! shard back with the result, so no lock guards the state.

use super::mesh::Mesh;
use super::queues::Queues;
use super::threads::{Receiver, Sender, bounded, thread};
use super::{Moment, Part};
use crate::admission::Operation;
use crate::shard::Shard;
use crate::state::{StateFault, StateReader};
use std::sync::Arc;

/// One shard's share of a commit.
struct Job {
    sequence: u64,
    at: Moment,
    shard: Shard,
    operations: Arc<Vec<Operation>>,
}

/// A worker's answer: its shard comes back.
struct Done {
    index: usize,
    shard: Shard,
    part: Result<Part, StateFault>,
}

/// A worker is lost, and its shard with it.
struct Panicked;

/// The workers of an engine.
pub(super) struct Pool {
    jobs: Vec<Sender<Job>>,
    done: Receiver<Result<Done, Panicked>>,
    threads: Vec<thread::JoinHandle<()>>,
    sequence: u64,
}

impl Pool {
    /// Starts one worker a shard.
    pub(super) fn start(count: usize, reader: &Arc<dyn StateReader>) -> std::io::Result<Self> {
        let (answers, done) = bounded(count);
        let mut pool = Self { jobs: Vec::new(), done, threads: Vec::new(), sequence: 0 };
        for (index, mesh) in Mesh::connect(count).into_iter().enumerate() {
            let (jobs, inbox) = bounded(1);
            let mut worker = Worker { index, mesh, reader: Arc::clone(reader), answers: answers.clone() };
            let thread = thread::Builder::new().name(format!("shard-{index}"));
            pool.threads.push(thread.spawn(move || worker.serve(&inbox))?);
            pool.jobs.push(jobs);
        }
        Ok(pool)
    }

    /// Hands out a commit.
    pub(super) fn start_commit(&mut self, shards: Vec<Shard>, operations: Vec<Operation>, at: Moment) {
        self.sequence += 1;
        let operations = Arc::new(operations);
        for (jobs, shard) in self.jobs.iter().zip(shards) {
            let job = Job { sequence: self.sequence, at, shard, operations: Arc::clone(&operations) };
            jobs.send(job).expect("workers serve as long as the pool exists");
        }
    }

    /// Waits for the commit, and takes the shards back. On a fault none of them has changed.
    ///
    /// # Panics
    /// Where a worker panicked: that is our own bug, and its shard is lost.
    pub(super) fn finish_commit(&mut self) -> (Vec<Shard>, Result<Vec<Part>, StateFault>) {
        let mut returned: Vec<_> = self.jobs.iter().map(|_| None).collect();
        for _ in 0..self.jobs.len() {
            match self.done.recv() {
                Ok(Ok(Done { index, shard, part })) => returned[index] = Some((shard, part)),
                Ok(Err(Panicked)) | Err(_) => panic!("a shard worker panicked"),
            }
        }
        let (mut shards, mut parts, mut fault) = (Vec::new(), Vec::new(), None);
        for (shard, part) in returned.into_iter().flatten() {
            shards.push(shard);
            match (part, &fault) {
                (Ok(part), _) => parts.push(part),
                (Err(found), None | Some(StateFault::OtherShard)) => fault = Some(found),
                (Err(_), Some(_)) => {}
            }
        }
        let Some(fault) = fault else { return (shards, Ok(parts)) };
        shards.iter_mut().for_each(|shard| shard.abandon());
        (shards, Err(fault))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs.clear();
        for thread in self.threads.drain(..) {
            // A panic was reported where it was noticed.
            let _ = thread.join();
        }
    }
}

/// What a worker thread holds.
struct Worker {
    index: usize,
    mesh: Mesh,
    reader: Arc<dyn StateReader>,
    answers: Sender<Result<Done, Panicked>>,
}

impl Worker {
    fn serve(&mut self, jobs: &Receiver<Job>) {
        for Job { sequence, at, mut shard, operations } in jobs {
            self.mesh.begin(sequence);
            let watch = Watch { mesh: &mut self.mesh, answers: &self.answers };
            let part = share(&mut shard, &operations, at, watch.mesh, &*self.reader);
            std::mem::forget(watch);
            // Nobody waits for the answer where the ledger is being dropped.
            let _ = self.answers.send(Ok(Done { index: self.index, shard, part }));
        }
    }
}

/// Tells the others when the worker unwinds.
struct Watch<'a> {
    mesh: &'a mut Mesh,
    answers: &'a Sender<Result<Done, Panicked>>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.mesh.abandon();
        let _ = self.answers.send(Err(Panicked));
    }
}

/// One shard's share of a commit.
fn share(
    shard: &mut Shard,
    operations: &[Operation],
    at: Moment,
    mesh: &mut Mesh,
    reader: &dyn StateReader,
) -> Result<Part, StateFault> {
    let queues = Queues::build(operations, at.time, mesh, shard);
    shard.load(reader).inspect_err(|_| mesh.abandon())?;
    let verdicts = queues.run(shard, mesh).map_err(|_| StateFault::OtherShard)?;
    let mut change = shard.settle(at.height);
    change.work.values_sent = mesh.sent();
    Ok(Part { verdicts, change })
}
