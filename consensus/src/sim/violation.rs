//! What must not happen in a simulation, in words.

use crate::effect::{AdoptError, Misbehaviour};
use thiserror::Error;
use types::{AuthorityIndex, BlockRef, Height, Round};

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
    /// Two honest nodes end an epoch with different commits, or one goes on behind the end.
    #[error("node {node} has another end of its epoch, at height {height}, than a node before it")]
    AnotherEnd {
        /// The second node.
        node: AuthorityIndex,
        /// Where it is.
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
    /// A core changed its mind about a slot.
    #[error("node {node} decided the slot of round {round} once more and otherwise")]
    DecidedOtherwise {
        /// The node.
        node: AuthorityIndex,
        /// The round.
        round: Round,
    },
    /// Output stopped though at most f are faulty.
    #[error("node {node} halted")]
    Halted {
        /// The node.
        node: AuthorityIndex,
    },
}
