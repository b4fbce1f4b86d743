//! A validator whose log holds no own block: its disk is new, or it is (CONSENSUS.md §2.10).
//!
//! The core makes no block before peers with stake 2f + 1 have said how far its own chain went. Less is enough where
//! nothing can be signed twice: the signer's guard remembers what it signed, and the core starts above that; or nobody
//! of a quorum, this node counted, has ever seen a block of this validator, as on a new ledger. The operator may take it
//! on himself with `--accept-lost-disk`.

use crate::replica::driver::{Loop, Replica};
use consensus::{HighestBlocks, Input};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, Round};

/// What is known while own blocks are missing.
#[derive(Debug)]
pub struct LostDisk {
    /// The highest round that the signer's guard remembers.
    pub signed_up_to: Option<Round>,
    /// Whether the operator accepts that own blocks may be signed twice.
    pub accepted: bool,
    /// Who has answered, and whether with a block of this validator.
    pub answers: BTreeMap<AuthorityIndex, bool>,
}

impl LostDisk {
    /// A log without own blocks, with what the guard remembers and what the operator said.
    pub fn new(signed_up_to: Option<Round>, accepted: bool) -> Self {
        match signed_up_to {
            Some(round) => tracing::warn!(
                round = round.0,
                "the log holds no own block, but the signer has signed: the disk is a new one; asking peers before proposing"
            ),
            None => tracing::info!("the log holds no own block and the signer has signed none; asking peers for some"),
        }
        Self { signed_up_to, accepted, answers: BTreeMap::new() }
    }

    /// Whether fewer answers than the core waits for are enough.
    fn is_enough(&self) -> bool {
        self.signed_up_to.is_some() || self.accepted || self.answers.values().all(|known| !known)
    }
}

impl Replica {
    pub(super) fn highest(&mut self, peer: AuthorityIndex, blocks: HighestBlocks, state: &mut Loop) {
        // They are blocks as any others: what the core keeps is kept here too.
        for header in blocks.asker.iter().chain(&blocks.peer) {
            self.take_header(Arc::clone(header), peer, state);
        }
        if let Some(lost) = &mut self.lost_disk {
            lost.answers.insert(peer, blocks.asker.is_some());
        }
        self.step(Input::Highest { peer, blocks });
    }

    /// Proposes without more answers where that is safe, or wanted. Not before this node stands where the others do: what
    /// it signed in the past lies below.
    pub(super) fn reclaim_if_enough(&mut self, behind: bool) {
        let Some(lost) = &self.lost_disk else { return };
        let answered = lost.answers.keys().copied().chain([self.me]);
        if !behind && lost.is_enough() && self.checker.committee.is_quorum(answered) {
            if lost.accepted && lost.signed_up_to.is_none() && lost.answers.values().any(|known| *known) {
                tracing::warn!("proposing with fewer answers than are safe, as --accept-lost-disk says");
            }
            self.step(Input::AcceptLostDisk);
        }
    }

    pub(super) fn reclaimed(&mut self, above: Round) {
        tracing::info!(above = above.0, "own blocks are made above this round");
        self.lost_disk = None;
    }
}
