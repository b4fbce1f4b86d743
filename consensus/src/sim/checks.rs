//! What must hold after every step of a simulation.

use crate::checkpoint::Checkpoint;
use crate::effect::{AdoptError, Misbehaviour, Status};
use std::collections::BTreeMap;
use thiserror::Error;
use types::{AuthorityIndex, BlockRef, CommitRecord, Digest, Encode, Hasher, Height, Round};

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
    /// Output stopped though at most f are faulty.
    #[error("node {node} halted")]
    Halted {
        /// The node.
        node: AuthorityIndex,
    },
}

/// What all honest nodes agreed on so far.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// Digests of the record and of the checkpoint at each height, from 1 on.
    commits: Vec<(Digest, Digest)>,
    output: BTreeMap<(Round, AuthorityIndex), BlockRef>,
    own: BTreeMap<(Round, AuthorityIndex), Digest>,
    checkpoint_bytes_max: usize,
}

impl Agreement {
    /// An honest node committed.
    pub fn committed(
        &mut self,
        node: AuthorityIndex,
        record: &CommitRecord,
        checkpoint: &Checkpoint,
    ) -> Result<(), Violation> {
        let height = record.height;
        let bytes = checkpoint.to_bytes();
        self.checkpoint_bytes_max = self.checkpoint_bytes_max.max(bytes.len());
        let state = Hasher::new("stele/sim-checkpoint/1").with(&bytes).finish();
        match self.commits.get(height.0 as usize - 1) {
            Some((digest, _)) if *digest != record.digest() => Err(Violation::Disagreement { node, height }),
            Some((_, other)) if *other != state => Err(Violation::Checkpoint { node, height }),
            Some(_) => Ok(()),
            None => {
                self.commits.push((record.digest(), state));
                let twice = record
                    .blocks
                    .iter()
                    .find(|block| self.output.insert((block.round, block.author), **block).is_some());
                twice.map_or(Ok(()), |block| Err(Violation::OutputTwice(*block)))
            }
        }
    }

    /// An honest node sent an own block.
    pub fn sent(&mut self, block: &BlockRef) -> Result<(), Violation> {
        let digest = self.own.entry((block.round, block.author)).or_insert(block.digest);
        if *digest == block.digest {
            return Ok(());
        }
        Err(Violation::Equivocated { author: block.author, round: block.round })
    }

    /// The highest commit of any honest node.
    pub fn height(&self) -> Height {
        Height(self.commits.len() as u64)
    }

    /// The most bytes that a checkpoint took.
    pub fn checkpoint_bytes_max(&self) -> usize {
        self.checkpoint_bytes_max
    }

    /// Whether a commit output this block.
    pub fn is_output(&self, block: &BlockRef) -> bool {
        self.output.get(&(block.round, block.author)) == Some(block)
    }
}

/// Whether a core's tables are within their bounds.
pub(crate) fn bounded(node: AuthorityIndex, status: &Status, size: usize, gc_depth: u64) -> Result<(), Violation> {
    let per_table = [
        ("suspended", status.suspended, size * 2 * gc_depth as usize),
        ("early payloads", status.early_payloads, size * 256),
        ("missing headers", status.missing_headers, 8_192),
        ("missing payloads", status.missing_payloads, 8_192),
    ];
    let over = per_table.into_iter().find(|(_, count, most)| count > most);
    over.map_or(Ok(()), |(what, count, _)| Err(Violation::Unbounded { node, what, count }))
}
