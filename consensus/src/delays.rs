//! One-way delays to the peers, as measured lately (CONSENSUS.md §2.4, §0.12): what a message needs to reach a quorum, in
//! all but one case of twenty.
//!
//! Bounded: the last [`SAMPLES`] measurements of each peer.

use std::collections::VecDeque;
use std::sync::Arc;
use types::{AuthorityIndex, Committee};

/// Measurements kept for each peer.
const SAMPLES: usize = 32;

/// The measurements.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    committee: Arc<Committee>,
    me: AuthorityIndex,
    /// In microseconds, oldest first.
    samples_us: Vec<VecDeque<u64>>,
}

impl Delays {
    pub fn new(committee: Arc<Committee>, me: AuthorityIndex) -> Self {
        Self { samples_us: vec![VecDeque::new(); committee.size()], committee, me }
    }

    /// A delay was measured.
    pub fn add(&mut self, peer: AuthorityIndex, one_way_us: u64) {
        let Some(samples) = self.samples_us.get_mut(peer.index()) else { return };
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(one_way_us);
    }

    /// The last measurement.
    pub fn last_us(&self, peer: AuthorityIndex) -> Option<u64> {
        self.samples_us.get(peer.index())?.back().copied()
    }

    /// The 95th percentile of the peer that completes a quorum with this node and the faster ones. `None` while too few
    /// were measured.
    pub fn to_quorum_us(&self) -> Option<u64> {
        let delay = |author: AuthorityIndex| if author == self.me { Some(0) } else { self.p95_us(author) };
        let measured = self.committee.indices().filter_map(|author| Some((delay(author)?, author)));
        let mut delays: Vec<(u64, AuthorityIndex)> = measured.collect();
        delays.sort_unstable();
        let mut stake = 0;
        let completes = |(_, author): &(u64, AuthorityIndex)| {
            stake += self.committee.stake(*author).0;
            stake >= self.committee.quorum().0
        };
        delays.into_iter().find(completes).map(|(delay_us, _)| delay_us)
    }

    /// The smallest measurement that at least 95 of 100 do not exceed.
    fn p95_us(&self, peer: AuthorityIndex) -> Option<u64> {
        let mut sorted: Vec<u64> = self.samples_us[peer.index()].iter().copied().collect();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Keys;

    fn delays(size: u16) -> Delays {
        Delays::new(Keys::generate(size).committee().clone(), AuthorityIndex(0))
    }

    #[test]
    fn the_peer_that_completes_a_quorum_counts() {
        let mut delays = delays(4);
        delays.add(AuthorityIndex(1), 10);
        assert_eq!(delays.to_quorum_us(), None, "two of four are no quorum");
        delays.add(AuthorityIndex(2), 30);
        assert_eq!(delays.to_quorum_us(), Some(30));
        delays.add(AuthorityIndex(3), 20);
        assert_eq!(delays.to_quorum_us(), Some(20), "the slowest is not needed");
        assert_eq!(delays.last_us(AuthorityIndex(2)), Some(30));
        delays.add(AuthorityIndex(9), 1);
        assert_eq!(self::delays(1).to_quorum_us(), Some(0), "a committee of one waits for nobody");
    }

    #[test]
    fn a_rare_spike_does_not_count_and_old_measurements_are_forgotten() {
        let mut delays = delays(2);
        let peer = AuthorityIndex(1);
        (0..31).for_each(|_| delays.add(peer, 100));
        delays.add(peer, 9_000);
        assert_eq!(delays.to_quorum_us(), Some(100), "one of 32");
        delays.add(peer, 8_000);
        assert_eq!(delays.to_quorum_us(), Some(8_000), "two of 32 are more than one in twenty");
        (0..SAMPLES).for_each(|_| delays.add(peer, 50));
        assert_eq!(delays.to_quorum_us(), Some(50));
    }
}
