//! Keeps the rules while it is a member. Once it is removed it sends, all the time, its last block of the old epoch and
//! blocks of the new epoch under every member's name, on that epoch's genesis and on blocks that nobody made, signed with
//! the one key that it has.

use crate::config::{Config, genesis_refs};
use crate::sim::adversary::future_rounder::made_up;
use crate::sim::adversary::{Adversary, Sending, View};
use types::Round;

/// Time between two floods, in microseconds.
const PERIOD_US: u64 = 20_000;

#[derive(Debug)]
pub(crate) struct RemovedTalker;

impl Adversary for RemovedTalker {
    fn period_us(&self) -> Option<u64> {
        Some(PERIOD_US)
    }

    fn act(&mut self, view: &mut View<'_>, out: &mut Vec<Sending>) {
        let Some(next) = view.removed_from.clone() else { return };
        let mut blocks: Vec<_> = view.core.last_own.iter().cloned().collect();
        for victim in next.committee.indices() {
            let of = Config { me: victim, ..next.clone() };
            let mut genesis = genesis_refs(&of);
            genesis.swap(0, victim.index());
            blocks.push(view.keys.forged(view.config, &of, Round(1), genesis));
            let round = view.rng.between(2, 200);
            let mut parents = made_up(view, Round(round - 1));
            parents.retain(|parent| next.committee.authority(parent.author).is_some());
            parents.sort_unstable_by_key(|parent| (parent.author != victim, parent.author));
            blocks.push(view.keys.forged(view.config, &of, Round(round), parents));
        }
        for peer in view.peers() {
            out.extend(blocks.iter().map(|block| Sending::block(peer, block)));
        }
    }
}
