//! Which peer is asked for which heights next, and in which order answers are handed on.
//!
//! Ranges are asked for from the lowest missing height upward, so that the one that everything waits for is always under
//! way first. Bounded: [`RANGES_MAX`] ranges asked for, fetched, or handed on and not executed; [`PER_PEER_MAX`] requests
//! a peer. A peer that does not answer in time is left alone for a while that doubles, one that lies for
//! [`BANISHED_MS`]. Pure: time comes as milliseconds of a monotonic clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::{AuthorityIndex, Height};

/// Heights of a range. An answer ends earlier where it grows large, and the rest is asked for again.
pub const RANGE_HEIGHTS: u64 = 64;
/// Ranges that may be held at a time. An answer is at most twice [`crate::wire::RESPONSE_BYTES_SOFT`] and a block.
const RANGES_MAX: usize = 8;
/// Requests to one peer at a time.
const PER_PEER_MAX: usize = 2;
/// How long a peer without what is asked for is not asked again.
const EMPTY_PAUSE_MS: u64 = 250;
/// First and longest pause after a request that failed.
const FAILED_PAUSE_MS: (u64, u64) = (500, 60_000);
/// How long a peer that lied is not asked.
const BANISHED_MS: u64 = 600_000;

/// What is remembered of a peer.
#[derive(Debug, Default)]
struct Peer {
    asked: usize,
    /// Failures in a row.
    failures: u32,
    /// Not asked before this time.
    pause_until_ms: u64,
    /// What it said last of what it has, where it had nothing to give: a height below which it has given everything up, and
    /// the highest with a certificate.
    said: Option<(Height, Height)>,
}

impl Peer {
    fn may_have(&self, height: Height) -> bool {
        self.said.is_none_or(|(oldest, _)| oldest <= height)
    }
}

/// A request to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whom to ask.
    pub peer: AuthorityIndex,
    /// First height.
    pub from: Height,
    /// Last height.
    pub to: Height,
}

/// How an order ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Proven commits up to `last`, the first of them at [`Order::from`].
    Commits {
        /// The last height.
        last: Height,
        /// The commits.
        commits: T,
    },
    /// The peer had nothing to give.
    Nothing {
        /// The lowest height from [`Order::from`] on that it says it serves.
        oldest: Height,
        /// The highest height that it says is certified.
        certified: Height,
    },
    /// No answer in time, or none at all.
    Failed,
    /// An answer that proves itself wrong.
    Lied,
}

/// See the module. `T` is what an answer brings.
#[derive(Debug)]
pub struct Ranges<T> {
    /// The last height handed on.
    tip: Height,
    /// The highest height that is wanted.
    target: Height,
    asked: BTreeMap<Height, Order>,
    fetched: BTreeMap<Height, (Height, T)>,
    /// Last heights of ranges that were handed on and not executed.
    handed: VecDeque<Height>,
    peers: BTreeMap<AuthorityIndex, Peer>,
}

impl<T> Ranges<T> {
    /// Nothing is missing up to `tip`.
    pub fn new(tip: Height) -> Self {
        let peers = BTreeMap::new();
        let (asked, fetched, handed) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { tip, target: tip, asked, fetched, handed, peers }
    }

    /// Where the node stands by itself: commits up to `tip` came another way or were handed on, those up to `executed`
    /// are executed, and peers are believed to have `target`.
    pub fn advance(&mut self, tip: Height, executed: Height, target: Height) {
        self.tip = self.tip.max(tip);
        self.target = self.target.max(target);
        self.fetched.retain(|_, (last, _)| *last > self.tip);
        while self.handed.front().is_some_and(|last| *last <= executed) {
            self.handed.pop_front();
        }
    }

    /// What to ask next, of `linked` peers; `None` while nothing more may be asked.
    pub fn next(&mut self, now_ms: u64, linked: &BTreeSet<AuthorityIndex>) -> Option<Order> {
        let (from, to) = self.lowest_gap();
        let first = from == self.tip.next();
        let held = self.asked.len() + self.fetched.len() + self.handed.len();
        // What everything waits for is asked for even when later ranges have taken all the room.
        let room = held < RANGES_MAX || (first && self.handed.len() < RANGES_MAX);
        // Beyond the target there may be more; one range finds out.
        if !room || (from > self.target && !first) {
            return None;
        }
        let able = |peer: &&AuthorityIndex| {
            self.peers
                .get(peer)
                .is_none_or(|peer| peer.asked < PER_PEER_MAX && peer.pause_until_ms <= now_ms && peer.may_have(from))
        };
        let load = |peer: &&AuthorityIndex| self.peers.get(peer).map_or((0, 0), |peer| (peer.asked, peer.failures));
        // Among equals turns are taken by height.
        let turn = |peer: &&AuthorityIndex| (u64::from(peer.0) + from.0 / RANGE_HEIGHTS) % (linked.len() as u64).max(1);
        let peer = *linked.iter().filter(able).min_by_key(|peer| (load(peer), turn(peer)))?;
        let order = Order { peer, from, to };
        self.asked.insert(from, order);
        self.peers.entry(peer).or_default().asked += 1;
        Some(order)
    }

    /// An order has ended.
    pub fn ended(&mut self, now_ms: u64, order: Order, outcome: Outcome<T>) {
        self.asked.remove(&order.from);
        let peer = self.peers.entry(order.peer).or_default();
        peer.asked = peer.asked.saturating_sub(1);
        match outcome {
            Outcome::Commits { last, commits } => {
                (peer.failures, peer.said) = (0, None);
                if last > self.tip {
                    self.fetched.insert(order.from, (last, commits));
                }
            }
            Outcome::Nothing { oldest, certified } => {
                // It looked from the order's first height upward. What it gave up shows only where it had to look higher;
                // otherwise the heights are merely too new for it, and it may well have all those below.
                let said_before = peer.said.map_or(Height(0), |(oldest, _)| oldest);
                let oldest = if oldest > order.from { oldest } else { said_before.min(order.from) };
                (peer.failures, peer.said) = (0, Some((oldest, certified)));
                peer.pause_until_ms = now_ms + EMPTY_PAUSE_MS;
            }
            Outcome::Failed => {
                let pause = FAILED_PAUSE_MS.0 << peer.failures.min(16);
                peer.failures += 1;
                peer.pause_until_ms = now_ms + pause.min(FAILED_PAUSE_MS.1);
            }
            Outcome::Lied => peer.pause_until_ms = now_ms + BANISHED_MS,
        }
    }

    /// The next commits in order, once they are here. The first of them may lie below the tip.
    pub fn ready(&mut self) -> Option<T> {
        let (from, (last, _)) = self.fetched.first_key_value()?;
        if *from > self.tip.next() {
            return None;
        }
        let (from, last) = (*from, *last);
        let (_, commits) = self.fetched.remove(&from).expect("it was looked at just now");
        self.tip = self.tip.max(last);
        self.handed.push_back(last);
        Some(commits)
    }

    /// Whether every linked peer that could be asked and is ahead has said that it serves nothing as low as the next
    /// height, with the lowest height that one of them does serve.
    pub fn too_old(&self, now_ms: u64, linked: &BTreeSet<AuthorityIndex>) -> Option<Height> {
        // What was handed on and not applied says nothing of what peers keep below it.
        if !self.handed.is_empty() {
            return None;
        }
        let next = self.tip.next();
        // A liar says nothing, and who has only failed nothing yet; what was said before a failure still holds.
        let silent = |peer: &Peer| peer.said.is_none() && peer.failures > 0;
        let banished = |peer: &Peer| peer.pause_until_ms > now_ms + BANISHED_MS / 2;
        let mut oldest: Option<Height> = None;
        for peer in linked {
            let peer = self.peers.get(peer);
            if peer.is_some_and(|peer| silent(peer) || banished(peer)) {
                continue;
            }
            let (from, certified) = peer.and_then(|peer| peer.said)?;
            if certified >= next {
                oldest = Some(oldest.map_or(from, |oldest| oldest.min(from)));
            }
        }
        oldest.filter(|oldest| *oldest > next)
    }

    /// Peers that are being asked.
    pub fn peers_asked(&self) -> usize {
        self.peers.values().filter(|peer| peer.asked > 0).count()
    }

    /// The lowest heights that are neither here nor asked for.
    fn lowest_gap(&self) -> (Height, Height) {
        let mut from = self.tip.next();
        let asked = self.asked.values().map(|order| (order.from, order.to));
        let fetched = self.fetched.iter().map(|(from, (last, _))| (*from, *last));
        let mut taken: Vec<_> = asked.chain(fetched).collect();
        taken.sort_unstable();
        let mut to = Height(from.0 + RANGE_HEIGHTS - 1);
        for (first, last) in taken {
            if first > from {
                to = to.min(Height(first.0 - 1));
                break;
            }
            from = from.max(last.next());
            to = Height(from.0 + RANGE_HEIGHTS - 1);
        }
        (from, to)
    }
}

#[cfg(test)]
mod tests;
