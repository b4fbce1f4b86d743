//! What a core is told once: the chain, the committee, which member it is, consensus parameters, and local pacing.
//!
//! [`Config::parameters`] is consensus data; [`Pacing`] is local and can never change what is committed.

use std::sync::Arc;
use types::{Anchor, AuthorityIndex, BlockRef, ChainId, Committee, Hasher, Parameters, Round, Stake};

/// Everything that a [`Core`](crate::Core) is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ledger.
    pub chain: ChainId,
    /// The validators of the epoch.
    pub committee: Arc<Committee>,
    /// Which of them this is.
    pub me: AuthorityIndex,
    /// Numbers that all nodes share.
    pub parameters: Parameters,
    /// What the epoch goes on from: genesis, or the last commit of the epoch before.
    pub anchor: Anchor,
    /// Local timing.
    pub pacing: Pacing,
}

/// Local timing (CONSENSUS.md §0.8, §0.12, §2.4). All in milliseconds of the driver's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Least time between two own blocks while anything is pending. Default 5.
    pub round_delay_ms_min: u32,
    /// Time between two own blocks while nothing is pending anywhere. Default 250.
    pub idle_delay_ms: u32,
    /// Shortest wait for a leader, counted from the end of the delay: 2Δ with the floor of 50 ms for Δ. Default 100.
    pub leader_timeout_ms_min: u32,
    /// Longest wait for a leader before doubling. Default 2,000.
    pub leader_timeout_ms_max: u32,
    /// Where doubling ends. Default 60,000.
    pub leader_timeout_ms_cap: u32,
    /// How long a payload that its author is pushing may take before it is asked for. Default 30.
    pub payload_patience_ms: u32,
    /// Least time before something that was asked for is asked for again. Default 20.
    pub retry_ms_min: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            round_delay_ms_min: 5,
            idle_delay_ms: 250,
            leader_timeout_ms_min: 100,
            leader_timeout_ms_max: 2_000,
            leader_timeout_ms_cap: 60_000,
            payload_patience_ms: 30,
            retry_ms_min: 20,
        }
    }
}

/// Stakes that the rules compare with. Today each is the quorum Q; a fast path would set them apart (CONSENSUS.md §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Parents of a block in the round below, and blocks of a round before the next may be entered.
    pub quorum: Stake,
    /// Votes among the ancestors of a block that make it a certificate.
    pub certificate: Stake,
    /// Certificates that commit a leader directly.
    pub direct_commit: Stake,
    /// Non-votes that skip a slot directly.
    pub direct_skip: Stake,
    /// A set with this much stake has an honest member: f + 1.
    pub validity: Stake,
}

impl Thresholds {
    /// Of a committee: everything by quorum.
    pub fn of(committee: &Committee) -> Self {
        let quorum = committee.quorum();
        Self { quorum, certificate: quorum, direct_commit: quorum, direct_skip: quorum, validity: committee.validity() }
    }
}

/// The blocks of round 0, one for each validator, in order. They have no header and are always accepted. They derive from
/// the header that the epoch goes on from, so blocks of two histories never fit together.
pub fn genesis_refs(config: &Config) -> Vec<BlockRef> {
    let Config { chain, committee, anchor, .. } = config;
    let block = |author: AuthorityIndex| BlockRef {
        round: Round(0),
        author,
        digest: Hasher::new("stele/genesis-block/2")
            .with_encoded(chain)
            .with_encoded(&committee.epoch())
            .with_encoded(&anchor.header)
            .with_encoded(&author)
            .finish(),
    };
    committee.indices().map(block).collect()
}
