//! Drops at random: each time it makes a block, it sends each peer, with some chance, all that it has not sent it.

use crate::sim::adversary::{Adversary, Sending, View, hands_out};
use crate::sim::network::Message;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader};

#[derive(Debug)]
pub(crate) struct Dropper {
    share_permille: u64,
    /// Own blocks that each peer was not sent.
    kept: Vec<Vec<Arc<BlockHeader>>>,
}

impl Dropper {
    pub fn new(size: usize, share_permille: u64) -> Self {
        Self { share_permille, kept: vec![Vec::new(); size] }
    }
}

impl Adversary for Dropper {
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        for peer in view.peers() {
            let kept = &mut self.kept[peer.index()];
            kept.push(header.clone());
            if view.rng.chance(self.share_permille) {
                out.extend(kept.drain(..).map(|header| Sending::block(peer, &header)));
            }
        }
    }

    fn passes(&mut self, me: AuthorityIndex, _to: AuthorityIndex, message: &Message, asked: bool) -> bool {
        asked || !hands_out(message, me)
    }
}
