//! Sends its own blocks to a few members only, so that the others must fetch them. What it is asked for it does not give
//! to those it does not serve.

use crate::sim::adversary::{Adversary, Sending, View, hands_out};
use crate::sim::network::Message;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader};

#[derive(Debug)]
pub(crate) struct SelectiveSender {
    pub peers: u16,
}

impl SelectiveSender {
    /// The first members that are not itself.
    fn serves(&self, me: AuthorityIndex, peer: AuthorityIndex) -> bool {
        let place = if peer > me { peer.0 - 1 } else { peer.0 };
        place < self.peers
    }
}

impl Adversary for SelectiveSender {
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        let served = view.peers().filter(|peer| self.serves(view.me, *peer));
        out.extend(served.map(|peer| Sending::block(peer, header)));
    }

    fn passes(&mut self, me: AuthorityIndex, to: AuthorityIndex, message: &Message, _asked: bool) -> bool {
        self.serves(me, to) || !hands_out(message, me)
    }
}
