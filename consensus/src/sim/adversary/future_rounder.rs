//! Signs, beside its block of each round, one of a round that is far ahead, on a quorum of parents that do not exist.

use crate::sim::adversary::{Adversary, Sending, View};
use std::sync::Arc;
use types::{BlockHeader, BlockRef, Digest, Round};

#[derive(Debug)]
pub(crate) struct FutureRounder {
    pub ahead: u64,
}

impl Adversary for FutureRounder {
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        out.extend(view.peers().map(|peer| Sending::block(peer, header)));
        let round = Round(header.round().0 + view.rng.between(2, self.ahead.max(2) * 2));
        let ancestors = made_up(view, Round(round.0 - 1));
        let future = view.block(round, ancestors, header.body().timestamp.0, round.0);
        out.extend(view.peers().map(|peer| Sending::block(peer, &future)));
    }
}

/// References of one round, its own first, to blocks that nobody made.
pub(crate) fn made_up(view: &mut View<'_>, round: Round) -> Vec<BlockRef> {
    let salt = view.rng.bits().to_le_bytes();
    let block = |author| BlockRef { round, author, digest: Digest::sha256(&salt) };
    std::iter::once(view.me).chain(view.peers()).map(block).collect()
}
