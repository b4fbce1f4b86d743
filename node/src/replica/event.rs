//! Everything that the replica reacts to: facts from outside, which wait in a bounded queue, and the answers of its own
//! stages, which are few by construction and are taken first.

use crate::replica::contents::Contents;
use crate::wire::Request;
use consensus::HighestBlocks;
use hsm::refusal::Slot;
use std::sync::Arc;
use storage::log::LogFault;
use transport::Reply;
use types::{
    AuthorityIndex, BlockHeader, BlockRef, Certificate, CommitRecord, Digest, Epoch, EpochStart, Height, Payload,
};

/// A payload that was read and hashed, not yet compared with its header.
#[derive(Clone, Debug)]
pub struct ReceivedPayload {
    /// Which block it is said to belong to.
    pub block: BlockRef,
    /// The bytes.
    pub payload: Payload,
    /// What a header over these bytes would say.
    pub descriptor: types::PayloadDescriptor,
    /// Its transactions.
    pub contents: Arc<Contents>,
}

/// A commit from a peer, checked against a certificate.
#[derive(Clone, Debug)]
pub struct CertifiedCommit {
    /// The ordering.
    pub record: CommitRecord,
    /// Digest of the certified ledger header.
    pub header: Digest,
    /// Its blocks, in order; every payload matches its header, and the verdicts on its signatures are known.
    pub blocks: Vec<(Arc<BlockHeader>, ReceivedPayload)>,
}

/// A fact from outside.
pub enum Fact {
    /// A header whose signature verified.
    Header {
        /// The header.
        header: Arc<BlockHeader>,
        /// Who sent it.
        from: AuthorityIndex,
    },
    /// A payload, pushed by its author or asked for.
    Payload {
        /// The payload.
        received: ReceivedPayload,
        /// Who sent it.
        from: AuthorityIndex,
    },
    /// A peer broke a rule that needs no history.
    Misbehaviour {
        /// Who.
        peer: AuthorityIndex,
        /// What.
        what: &'static str,
    },
    /// A link is up.
    PeerUp(AuthorityIndex),
    /// A link is down.
    PeerDown(AuthorityIndex),
    /// A peer asks.
    Request {
        /// Who.
        peer: AuthorityIndex,
        /// What.
        request: Request,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A peer's block holds a transaction that does not decode or whose signature does not verify.
    InvalidTransaction {
        /// The block.
        block: BlockRef,
        /// The transaction's position.
        index: usize,
    },
    /// A peer said how far this validator's own chain went; signatures are verified.
    Highest {
        /// Who.
        peer: AuthorityIndex,
        /// What it said.
        blocks: HighestBlocks,
    },
    /// Transactions wait in the pool.
    Pooled,
    /// A peer sends blocks of another epoch.
    OtherEpoch {
        /// Who.
        peer: AuthorityIndex,
        /// The epoch, by its word.
        epoch: Epoch,
    },
    /// A certificate over the epoch's last header, verified.
    LastCertified(Box<Certificate>),
    /// Later epochs are proven: the present one is over.
    LaterEpochs,
    /// Members of the next epoch are in it, where this node has no part.
    MovedOn(Box<EpochStart>),
    /// Commits from a peer, in rising order.
    Certified(Vec<CertifiedCommit>),
    /// A state from peers is ready to take the place of this node's.
    StateReady,
    /// Stop.
    Stop,
}

impl Fact {
    /// How it ends whoever runs the epoch, if it does.
    pub fn ends(&self) -> Option<Ended> {
        match self {
            Self::Stop => Some(Ended::Stopped),
            Self::StateReady => Some(Ended::StateReady),
            Self::LaterEpochs => Some(Ended::EpochOver),
            Self::MovedOn(next) => Some(Ended::Left(next.clone())),
            _ => None,
        }
    }
}

/// An answer of an own stage.
pub enum Answer {
    /// The own block is signed.
    Signed(Arc<BlockHeader>),
    /// A height was executed and is durable.
    Executed {
        /// The height.
        height: Height,
        /// Digest of its ledger header.
        header: Digest,
        /// Transactions in it.
        transactions: usize,
        /// Whether a change is decided that ends the epoch.
        closing: bool,
        /// At the last height of the epoch: the next one.
        next_epoch: Option<Box<EpochStart>>,
    },
    /// A stage cannot go on, and so neither can the node.
    Failed(Failure),
}

/// Why the replica ended without a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// A state from peers is to take the place of this node's.
    StateReady,
    /// The epoch is over, and it is proven: the node starts again inside, towards the next one.
    EpochOver,
    /// The next epoch has begun without this node.
    Left(Box<EpochStart>),
    /// The signer signs only from this later round on: the node starts again inside, above what is refused.
    Fenced(Slot),
}

/// Why a node stops by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The log failed: nothing can be promised any more.
    #[error("the log failed: {0}")]
    Log(LogFault),
    /// No room for log or state.
    #[error("the disk is full")]
    DiskFull,
    /// The signer refused a statement, or is set up wrongly.
    #[error("the signer will not sign: {0}")]
    Signer(String),
    /// The signer's guard is fenced: own blocks of this epoch can be made again from a later round on.
    #[error("the signer signs from {from} on")]
    Fenced {
        /// The first round that it signs for.
        from: Slot,
    },
    /// The state database failed.
    #[error("the state failed: {0}")]
    State(String),
}

impl From<LogFault> for Failure {
    fn from(fault: LogFault) -> Self {
        if fault == LogFault::DiskFull { Self::DiskFull } else { Self::Log(fault) }
    }
}
