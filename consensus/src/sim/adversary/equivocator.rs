//! Signs two blocks for every round and sends each to some of the others.

use crate::sim::adversary::{Adversary, Sending, View};
use crate::sim::rng::Rng;
use std::sync::Arc;
use types::BlockHeader;

#[derive(Debug)]
pub(crate) struct Equivocator {
    /// Splits the committee as every other equivocator does, so that their blocks support each other.
    pub coalition: bool,
}

impl Adversary for Equivocator {
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        let time = header.body().timestamp.0;
        let twin = view.block(header.round(), header.ancestors().to_vec(), time, u64::MAX - header.round().0);
        view.made.push(twin.clone());
        let mut shared = Rng::new(header.round().0);
        for peer in view.peers() {
            let first = if self.coalition { shared.chance(500) } else { view.rng.chance(500) };
            out.push(Sending::block(peer, if first { header } else { &twin }));
        }
    }
}
