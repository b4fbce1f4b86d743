//! Simulated links: which are up, and when and how often a message arrives.

use crate::sim::rng::Rng;
use crate::sim::scenario::Links;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Height, Round};

/// What nodes send each other.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Headers(Vec<Arc<BlockHeader>>),
    Payload(BlockRef),
    RequestHeaders { refs: Vec<BlockRef>, frontier: Vec<Round> },
    RequestPayload(Vec<BlockRef>),
    RequestCommits(Height),
    Commits(Vec<(CommitRecord, Vec<Arc<BlockHeader>>)>),
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    links: Links,
    size: usize,
    /// Links that do not exist, by sender and receiver.
    cut: Vec<bool>,
    /// The side of each node in a partition.
    side: Vec<u8>,
    /// When the last message of each link, and of each payload link, arrives.
    last: Vec<u64>,
}

impl Network {
    pub fn new(size: usize, links: Links) -> Self {
        Self { links, size, cut: vec![false; size * size], side: vec![0; size], last: vec![0; 2 * size * size] }
    }

    /// Takes both directions of a link away, or gives them back.
    pub fn set_cut(&mut self, a: AuthorityIndex, b: AuthorityIndex, cut: bool) {
        let size = self.size;
        self.cut[a.index() * size + b.index()] = cut;
        self.cut[b.index() * size + a.index()] = cut;
    }

    /// Puts each node on a side; links between sides are down.
    pub fn set_sides(&mut self, side: Vec<u8>) {
        self.side = side;
    }

    /// Changes delays and losses.
    pub fn set_links(&mut self, links: Links) {
        self.links = links;
    }

    /// Whether messages pass from one node to another.
    pub fn is_up(&self, from: AuthorityIndex, to: AuthorityIndex) -> bool {
        from != to
            && !self.cut[from.index() * self.size + to.index()]
            && self.side[from.index()] == self.side[to.index()]
    }

    /// When copies of a message sent now arrive: none, one or two.
    pub fn arrivals(
        &mut self,
        rng: &mut Rng,
        now_us: u64,
        (from, to): (AuthorityIndex, AuthorityIndex),
        payload: bool,
    ) -> Vec<u64> {
        if !self.is_up(from, to) || rng.chance(self.links.loss_permille) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.chance(self.links.duplicate_permille));
        let stream = (from.index() * self.size + to.index()) * 2 + usize::from(payload);
        (0..copies)
            .map(|_| {
                let extra = if payload { rng.between(0, self.links.payload_us_max) } else { 0 };
                let arrival = now_us + extra + rng.between(self.links.delay_us_min, self.links.delay_us_max);
                if self.links.reorder {
                    return arrival;
                }
                self.last[stream] = self.last[stream].max(arrival);
                self.last[stream]
            })
            .collect()
    }

    /// The usual delay, in microseconds.
    pub fn typical_us(&self) -> u64 {
        (self.links.delay_us_min + self.links.delay_us_max) / 2
    }
}
