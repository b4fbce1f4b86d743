//! What a simulation tells of itself: where nodes stand, how long things took, what was said.

use crate::effect::Status;
use crate::engine::Core;
use crate::marks::Marks;
use crate::sim::Simulation;
use crate::sim::node::Clients;
use crate::sim::traffic::Traffic;
use types::{Digest, Height};

impl Simulation {
    /// Simulated milliseconds so far.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// Where a node stands; none while it is down.
    pub fn status(&self, node: u16) -> Option<Status> {
        self.nodes[usize::from(node)].core.as_ref().map(Core::status)
    }

    /// The last height that a node committed.
    pub fn height(&self, node: u16) -> Height {
        self.nodes[usize::from(node)].height
    }

    /// The highest height that any honest node committed.
    pub fn top(&self) -> Height {
        self.agreement.height()
    }

    /// Transactions that wait or are in own blocks that no commit took, over all running honest nodes.
    pub fn unsettled(&self) -> usize {
        let running = self.nodes.iter().filter(|node| node.is_running() && node.is_honest());
        running.map(|node| node.clients.unsettled()).sum()
    }

    /// From submission to commit at the same honest node, in microseconds, of every committed transaction that was
    /// submitted from some millisecond on; sorted.
    pub fn latencies_us(&self, from_ms: u64) -> Vec<u64> {
        self.times_us(from_ms, u64::MAX, |clients| &clients.committed)
    }

    /// The same of those submitted up to some millisecond, it not included.
    pub fn latencies_between_us(&self, from_ms: u64, until_ms: u64) -> Vec<u64> {
        self.times_us(from_ms, until_ms, |clients| &clients.committed)
    }

    /// From the making of a block with transactions to its commit at its honest author, in the same way.
    pub fn block_latencies_us(&self, from_ms: u64) -> Vec<u64> {
        self.times_us(from_ms, u64::MAX, |clients| &clients.blocks_committed)
    }

    fn times_us(&self, from_ms: u64, until_ms: u64, of: impl Fn(&Clients) -> &Vec<(u64, u64)>) -> Vec<u64> {
        let honest = self.nodes.iter().filter(|node| node.is_honest());
        let committed = honest.flat_map(|node| of(&node.clients));
        let span = from_ms.saturating_mul(1_000)..until_ms.saturating_mul(1_000);
        let mut all: Vec<u64> =
            committed.filter(|(at_us, _)| span.contains(at_us)).map(|(_, took_us)| *took_us).collect();
        all.sort_unstable();
        all
    }

    /// Transactions that were committed at the honest node that they were submitted to.
    pub fn committed_transactions(&self) -> u64 {
        let honest = self.nodes.iter().filter(|node| node.is_honest());
        honest.map(|node| node.clients.committed.len() as u64).sum()
    }

    /// The most bytes that a checkpoint took.
    pub fn checkpoint_bytes_max(&self) -> usize {
        self.agreement.checkpoint_bytes_max()
    }

    /// Digest over everything that happened, in order.
    pub fn trace(&self) -> Digest {
        self.trace.digest()
    }

    /// Keeps a line of text for each thing that happens from now on, for [`Simulation::take_lines`].
    pub fn keep_lines(&mut self) {
        self.trace.keep_lines();
    }

    /// The lines since the last call.
    pub fn take_lines(&mut self) -> String {
        self.trace.take_lines()
    }

    /// Number of events that happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How often honest nodes have reached each rare rule, and what was done to them, by name.
    pub fn marks(&self) -> Vec<(&'static str, u64)> {
        let mut marks = Marks::default();
        for node in self.nodes.iter().filter(|node| node.is_honest()) {
            marks.add(&node.marks);
            node.core.iter().for_each(|core| marks.add(core.marks()));
        }
        marks.iter().chain(self.faults.iter()).collect()
    }

    /// What all nodes have sent and checked so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}
