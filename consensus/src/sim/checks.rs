//! What must hold after every step of a simulation.

use crate::checkpoint::Checkpoint;
use crate::effect::{AdoptError, Misbehaviour, Status};
use std::collections::VecDeque;
use thiserror::Error;
use types::{AuthorityIndex, BlockRef, CommitRecord, Digest, Encode, Height, Round, TimestampMs};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// Two honest nodes committed different records, or one changed its mind.
    #[error("node {node} committed another record at height {height} than a node before it")]
    Disagreement {
        /// The second node.
        node: AuthorityIndex,
        /// The height.
        height: Height,
    },
    /// Two honest nodes have different state behind one commit, or recovery made another.
    #[error("node {node} has another checkpoint at height {height} than a node before it")]
    Checkpoint {
        /// The second node.
        node: AuthorityIndex,
        /// The height.
        height: Height,
    },
    /// A node skipped or repeated a height.
    #[error("node {node} committed height {height} after {after}")]
    Order {
        /// The node.
        node: AuthorityIndex,
        /// What it committed.
        height: Height,
        /// What it had committed.
        after: Height,
    },
    /// One block was output twice.
    #[error("block {0} was output twice")]
    OutputTwice(BlockRef),
    /// An honest node made two blocks for one round.
    #[error("honest node {author} made two blocks for round {round}")]
    Equivocated {
        /// The node.
        author: AuthorityIndex,
        /// The round.
        round: Round,
    },
    /// The guard was asked for a second digest.
    #[error("the guard of node {author} was asked for a second digest in round {round}")]
    GuardRefused {
        /// The node.
        author: AuthorityIndex,
        /// The round.
        round: Round,
    },
    /// An honest node was blamed for what is not its fault.
    #[error("honest node {peer} was blamed: {what}")]
    Blamed {
        /// The node.
        peer: AuthorityIndex,
        /// What for.
        what: Misbehaviour,
    },
    /// A durable commit was gone after a restart.
    #[error("node {node} came back at height {height} though {durable} was durable")]
    Lost {
        /// The node.
        node: AuthorityIndex,
        /// Where it came back.
        height: Height,
        /// What was durable.
        durable: Height,
    },
    /// Recovery refused an honest disk.
    #[error("node {node} could not recover: {reason}")]
    Unrecoverable {
        /// The node.
        node: AuthorityIndex,
        /// Why.
        reason: crate::RecoverError,
    },
    /// An honest node's commit was refused.
    #[error("node {node} refused to adopt: {reason}")]
    Refused {
        /// The node.
        node: AuthorityIndex,
        /// Why.
        reason: AdoptError,
    },
    /// A table grew beyond its bound.
    #[error("node {node} holds too much: {what} = {count}")]
    Unbounded {
        /// The node.
        node: AuthorityIndex,
        /// Which table.
        what: &'static str,
        /// Its size.
        count: usize,
    },
    /// A timer is due and stays due.
    #[error("the timer of node {node} stays due")]
    StuckTimer {
        /// The node.
        node: AuthorityIndex,
    },
    /// A transaction waits too long though the network is calm and at most f are faulty.
    #[error("node {node} waits for more than {bound_ms} ms for a transaction submitted at {submitted_ms} ms")]
    Stalled {
        /// The node.
        node: AuthorityIndex,
        /// When it was submitted, in simulated milliseconds.
        submitted_ms: u64,
        /// The bound, in milliseconds.
        bound_ms: u64,
    },
    /// A node does not catch up though the network is calm and at most f are faulty.
    #[error("node {node} is at height {height} though {top} was reached a bound ago")]
    Behind {
        /// The node.
        node: AuthorityIndex,
        /// Where it is.
        height: Height,
        /// Where the highest was.
        top: Height,
    },
    /// A node that had lost nothing came back as another.
    #[error("node {node} came back with another {what} though its log was whole")]
    NotRestored {
        /// The node.
        node: AuthorityIndex,
        /// What differs.
        what: &'static str,
    },
    /// Commit time went backwards.
    #[error("the time of commit {height} lies before that of the one below")]
    TimeBackwards {
        /// The commit.
        height: Height,
    },
    /// A run did not do what its scenario expects.
    #[error("{what} is {found}, expected {relation} {bound}")]
    Missed {
        /// What was measured, with its unit.
        what: &'static str,
        /// What was found.
        found: u64,
        /// "at most" or "at least".
        relation: &'static str,
        /// What was expected.
        bound: u64,
    },
    /// A rule that the scenario is about was never reached.
    #[error("the rule `{0}` was never reached")]
    Unreached(String),
    /// Output stopped though at most f are faulty.
    #[error("node {node} halted")]
    Halted {
        /// The node.
        node: AuthorityIndex,
    },
}

/// Commits whose checkpoints are kept to compare with.
const CHECKPOINTS_KEPT: usize = 4_096;

/// What all honest nodes agreed on so far.
#[derive(Debug)]
pub(crate) struct Agreement {
    /// Digests of the records, from height 1 on.
    commits: Vec<Digest>,
    leaders: Vec<BlockRef>,
    /// The last checkpoints.
    checkpoints: VecDeque<Checkpoint>,
    time: TimestampMs,
    /// By author, then by round: what was output, and what its author sent.
    output: Vec<Vec<Option<Digest>>>,
    own: Vec<Vec<Option<Digest>>>,
    checkpoint_bytes_max: usize,
}

impl Agreement {
    pub fn new(size: usize) -> Self {
        Self {
            commits: Vec::new(),
            leaders: Vec::new(),
            checkpoints: VecDeque::new(),
            time: TimestampMs(0),
            output: vec![Vec::new(); size],
            own: vec![Vec::new(); size],
            checkpoint_bytes_max: 0,
        }
    }

    /// An honest node committed.
    pub fn committed(
        &mut self,
        node: AuthorityIndex,
        record: &CommitRecord,
        checkpoint: &Checkpoint,
    ) -> Result<(), Violation> {
        let (height, index) = (record.height, record.height.0 as usize - 1);
        if let Some(digest) = self.commits.get(index) {
            if *digest != record.digest() {
                return Err(Violation::Disagreement { node, height });
            }
            let same = self.checkpoint(index).is_none_or(|kept| kept == checkpoint);
            return if same { Ok(()) } else { Err(Violation::Checkpoint { node, height }) };
        }
        self.commits.push(record.digest());
        self.leaders.push(record.leader);
        if height.0.is_multiple_of(16) {
            self.checkpoint_bytes_max = self.checkpoint_bytes_max.max(checkpoint.to_bytes().len());
        }
        self.checkpoints.push_back(checkpoint.clone());
        if self.checkpoints.len() > CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
        if record.timestamp < self.time {
            return Err(Violation::TimeBackwards { height });
        }
        self.time = record.timestamp;
        for block in &record.blocks {
            if place(&mut self.output, block).replace(block.digest).is_some() {
                return Err(Violation::OutputTwice(*block));
            }
        }
        Ok(())
    }

    /// An honest node sent an own block.
    pub fn sent(&mut self, block: &BlockRef) -> Result<(), Violation> {
        let sent = place(&mut self.own, block);
        if *sent.get_or_insert(block.digest) == block.digest {
            return Ok(());
        }
        Err(Violation::Equivocated { author: block.author, round: block.round })
    }

    /// The highest commit of any honest node.
    pub fn height(&self) -> Height {
        Height(self.commits.len() as u64)
    }

    /// The leaders of all commits, in order.
    pub fn leaders(&self) -> &[BlockRef] {
        &self.leaders
    }

    /// The state behind a commit, counted from 0, if it is kept.
    pub fn checkpoint(&self, index: usize) -> Option<&Checkpoint> {
        let oldest = self.commits.len() - self.checkpoints.len();
        self.checkpoints.get(index.checked_sub(oldest)?)
    }

    /// The most bytes that a checkpoint took, of every sixteenth.
    pub fn checkpoint_bytes_max(&self) -> usize {
        self.checkpoint_bytes_max
    }

    /// Whether a commit output this block.
    pub fn is_output(&self, block: &BlockRef) -> bool {
        let row = self.output.get(block.author.index());
        row.and_then(|row| row.get(block.round.0 as usize)) == Some(&Some(block.digest))
    }
}

fn place<'a>(table: &'a mut [Vec<Option<Digest>>], block: &BlockRef) -> &'a mut Option<Digest> {
    let row = &mut table[block.author.index()];
    let round = usize::try_from(block.round.0).expect("a simulation is short");
    if row.len() <= round {
        row.resize(round + 1, None);
    }
    &mut row[round]
}

/// Whether a core's tables are within their bounds.
pub(crate) fn bounded(node: AuthorityIndex, status: &Status, size: usize, gc_depth: u64) -> Result<(), Violation> {
    let depth = gc_depth as usize;
    let rounds = (status.highest_round.0 - status.gc_round.0.min(status.highest_round.0)) as usize;
    let per_table = [
        ("suspended", status.suspended, size * (2 * depth + 1)),
        ("early payloads", status.early_payloads, size * 256),
        ("missing headers", status.missing_headers, 8_192),
        ("missing payloads", status.missing_payloads, 8_192),
        ("blocks of the DAG", status.dag_blocks, 2 * size * (rounds + 1)),
    ];
    let over = per_table.into_iter().find(|(_, count, most)| count > most);
    over.map_or(Ok(()), |(what, count, _)| Err(Violation::Unbounded { node, what, count }))
}

/// What a core that lost nothing came back without, or with too much of.
pub(crate) fn difference(before: &Status, after: &Status) -> Option<&'static str> {
    let fields = [
        ("height", before.last_commit_height == after.last_commit_height),
        ("leader", before.last_leader_round == after.last_leader_round),
        ("last decided round", before.last_decided_round == after.last_decided_round),
        ("garbage collection round", before.gc_round == after.gc_round),
        ("highest round", before.highest_round == after.highest_round),
        ("last own round", before.last_own_round == after.last_own_round),
        ("leader table", before.excluded == after.excluded),
        ("number of blocks", before.dag_blocks == after.dag_blocks),
    ];
    fields.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}
