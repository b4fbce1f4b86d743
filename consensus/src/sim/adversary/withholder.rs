//! Publishes its blocks only when it leads: late, and to each peer with some chance. A peer that is sent a block is sent
//! all that were kept from it before. What it is asked for it gives.

use crate::sim::adversary::{Adversary, Sending, View, hands_out};
use crate::sim::network::Message;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader};

#[derive(Debug)]
pub(crate) struct Withholder {
    delay_us: u64,
    share_permille: u64,
    /// Own blocks that each peer was not sent.
    kept: Vec<Vec<Arc<BlockHeader>>>,
}

impl Withholder {
    pub fn new(size: usize, delay_us: u64, share_permille: u64) -> Self {
        Self { delay_us, share_permille, kept: vec![Vec::new(); size] }
    }
}

impl Adversary for Withholder {
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        let leads = view.leader(header.round()) == view.me;
        for peer in view.peers() {
            let kept = &mut self.kept[peer.index()];
            kept.push(header.clone());
            if leads && view.rng.chance(self.share_permille) {
                let released = kept.drain(..).map(|header| Sending::block(peer, &header));
                out.extend(released.map(|sending| Sending { delay_us: self.delay_us, ..sending }));
            }
        }
    }

    fn passes(&mut self, me: AuthorityIndex, _to: AuthorityIndex, message: &Message, asked: bool) -> bool {
        asked || !hands_out(message, me)
    }
}
