//! Whether the own wall clock agrees with those of the peers (CONSENSUS.md §0.10).
//!
//! The alarm is on while the clocks of peers with stake ≥ Q are all ahead, or all behind, by more than half a second. A
//! header that waited on its way makes its author's clock look slow and never fast, so the largest of the last few
//! differences counts. That is no proof of a slow clock when everything is late, as under overload; so a peer is behind
//! only if a block of his that stands on one of this node's also bears an earlier time than that one. (By nearly half a
//! second at most: a peer holds back what comes from the future.)
//!
//! What was measured of a peer counts for five seconds. So the alarm ends when a quorum brings no news, whatever the rest
//! sends: where this node is needed for a quorum, its own next block brings them.
//!
//! Where the own clock is set, everything that was measured by it moves along, so the alarm goes on, or off, with the step
//! and need not wait for measurements, which come as slowly as rounds do. Deliberately absent: the clock; the driver
//! measures, and sees by its monotonic clock when the other one is set.

use std::collections::VecDeque;
use std::sync::Arc;
use types::{AuthorityIndex, Committee, TimestampMs};

/// Measurements kept for each peer.
const SAMPLES: usize = 8;
/// Measurements without which a peer says nothing.
const SAMPLES_MIN: usize = 4;
/// A clock that differs by more is wrong.
const ALARM_MS: i64 = 500;
/// The alarm ends below this, so that it does not come and go.
const HEALED_MS: i64 = 400;
/// How much earlier than the own block below it a block of a peer is that is behind.
const PROVEN_MS: i64 = 200;
/// Measurements of a peer without a successor count for this long.
const NEWS_MS: u64 = 5_000;

#[derive(Clone, Debug, Default)]
struct Peer {
    /// The peer's clock less the own one, in milliseconds, oldest first.
    offsets_ms: VecDeque<i64>,
    /// When the last of them came.
    measured_ms: u64,
    /// By how much its last block that stands on an own one is later than that one.
    after_own_ms: i64,
}

impl Peer {
    fn old_at(&self) -> u64 {
        self.measured_ms.saturating_add(NEWS_MS)
    }
}

/// What is known of the peers' clocks.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    committee: Arc<Committee>,
    peers: Vec<Peer>,
    alarm_ms: Option<i64>,
}

impl WallClock {
    pub fn new(committee: Arc<Committee>) -> Self {
        Self { peers: vec![Peer::default(); committee.size()], committee, alarm_ms: None }
    }

    /// A peer's clock was compared. Whether the alarm has gone on or off.
    pub fn compared(&mut self, peer: AuthorityIndex, offset_ms: i64, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        let Some(Peer { offsets_ms, measured_ms, .. }) = self.peers.get_mut(peer.index()) else { return false };
        if offsets_ms.len() == SAMPLES {
            offsets_ms.pop_front();
        }
        offsets_ms.push_back(offset_ms);
        *measured_ms = now_ms;
        self.update()
    }

    /// The own clock was set, `by_ms` forward. Whether the alarm has gone on or off.
    pub fn stepped(&mut self, by_ms: i64, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        for peer in &mut self.peers {
            peer.offsets_ms.iter_mut().for_each(|offset_ms| *offset_ms = offset_ms.saturating_sub(by_ms));
            // An own block of this moment would bear that much later a time.
            peer.after_own_ms = peer.after_own_ms.saturating_sub(by_ms);
        }
        self.update()
    }

    /// A block of a peer stands on an own one.
    pub fn answered(&mut self, peer: AuthorityIndex, time: TimestampMs, own: TimestampMs) {
        let signed = |time: TimestampMs| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.peers[peer.index()].after_own_ms = signed(time) - signed(own);
    }

    /// A peer is gone, and with it what was measured of it. Whether the alarm has gone off.
    pub fn forget(&mut self, peer: AuthorityIndex) -> bool {
        let Some(slot) = self.peers.get_mut(peer.index()) else { return false };
        *slot = Peer::default();
        self.update()
    }

    /// Whether the alarm has gone off for want of news.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let due = self.due_ms().is_some_and(|due| due <= now_ms);
        if due {
            self.forget_old(now_ms);
        }
        due && self.update()
    }

    /// When [`Self::expire`] has something to do.
    pub fn due_ms(&self) -> Option<u64> {
        let measured = self.peers.iter().filter(|peer| !peer.offsets_ms.is_empty());
        self.alarm_ms.and_then(|_| measured.map(Peer::old_at).min())
    }

    /// By how much peers are ahead of the own clock, while that is too much.
    pub fn alarm_ms(&self) -> Option<i64> {
        self.alarm_ms
    }

    fn forget_old(&mut self, now_ms: u64) {
        let old = self.peers.iter_mut().filter(|peer| !peer.offsets_ms.is_empty() && peer.old_at() <= now_ms);
        old.for_each(|peer| *peer = Peer::default());
    }

    fn update(&mut self) -> bool {
        let limit = if self.alarm_ms.is_some() { HEALED_MS } else { ALARM_MS };
        let ahead = self.agreed(|_, offset_ms| offset_ms > limit);
        let behind = || self.agreed(|peer, offset_ms| offset_ms < -limit && peer.after_own_ms < -PROVEN_MS);
        let alarm = ahead.or_else(behind);
        let changed = alarm.is_some() != self.alarm_ms.is_some();
        self.alarm_ms = alarm;
        changed
    }

    /// The middle one of the differences that are `wrong`, if a quorum's are.
    fn agreed(&self, wrong: impl Fn(&Peer, i64) -> bool) -> Option<i64> {
        let (mut agreeing, mut stake) = (Vec::new(), 0);
        for (author, peer) in self.committee.indices().zip(&self.peers) {
            let estimate = peer.offsets_ms.iter().max().filter(|_| peer.offsets_ms.len() >= SAMPLES_MIN);
            if let Some(offset_ms) = estimate.copied().filter(|offset_ms| wrong(peer, *offset_ms)) {
                agreeing.push(offset_ms);
                stake += self.committee.stake(author).0;
            }
        }
        agreeing.sort_unstable();
        agreeing.get(agreeing.len() / 2).copied().filter(|_| stake >= self.committee.quorum().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Keys;

    fn watch() -> WallClock {
        WallClock::new(Keys::generate(4).committee().clone())
    }

    /// Whether the alarm changed when each of these peers was measured often enough.
    fn measure(clock: &mut WallClock, peers: &[u16], offset_ms: i64) -> bool {
        let before = clock.alarm_ms().is_some();
        for peer in peers.iter().flat_map(|peer| [*peer; SAMPLES]) {
            clock.compared(AuthorityIndex(peer), offset_ms, 7);
        }
        before != clock.alarm_ms().is_some()
    }

    #[test]
    fn a_quorum_ahead_raises_the_alarm_and_its_return_ends_it() {
        let mut clock = watch();
        assert!(!measure(&mut clock, &[1, 2], 9_000), "two of four are no quorum");
        assert!(!measure(&mut clock, &[3], 500), "half a second is allowed");
        assert!(measure(&mut clock, &[3], 501));
        assert_eq!(clock.alarm_ms(), Some(9_000), "the middle one of three");
        assert!(!measure(&mut clock, &[3], 450), "it does not flicker");
        assert!(measure(&mut clock, &[3], 399));
        assert_eq!(clock.alarm_ms(), None);
    }

    #[test]
    fn late_headers_are_no_wrong_clock() {
        let mut clock = watch();
        assert!(!measure(&mut clock, &[1, 2, 3], -2_000), "everything is late");
        (1..4).for_each(|peer| clock.answered(AuthorityIndex(peer), TimestampMs(1_000), TimestampMs(1_300)));
        assert!(measure(&mut clock, &[1], -2_000), "their blocks are earlier than what they stand on");
        assert_eq!(clock.alarm_ms(), Some(-2_000));
        assert!(clock.compared(AuthorityIndex(1), 0, 7), "one that came in time shows the difference");
        assert_eq!(clock.alarm_ms(), None);
    }

    #[test]
    fn the_alarm_goes_with_a_step_of_the_own_clock() {
        let mut clock = watch();
        assert!(!measure(&mut clock, &[1, 2, 3], 20));
        assert!(clock.stepped(-5_800, 8), "set back");
        assert_eq!(clock.alarm_ms(), Some(5_820));
        assert!(clock.stepped(5_780, 9), "set right");
        assert_eq!(clock.alarm_ms(), None);
        assert!(clock.stepped(9_000, 10), "set forward: no block of a peer is later than an own one would be now");
        assert_eq!(clock.alarm_ms(), Some(-8_960));
        assert!(!clock.stepped(i64::MIN, 11), "from one end to the other");
        assert!(clock.alarm_ms().is_some_and(|ahead_ms| ahead_ms > 0), "it stays on, the other way");
    }

    #[test]
    fn a_step_says_nothing_of_peers_that_were_not_heard_of_for_long() {
        let mut clock = watch();
        measure(&mut clock, &[1, 2, 3], 0);
        assert!(!clock.stepped(9_000, 5_007));
        assert!(measure(&mut clock, &[1, 2, 3], 600), "new measurements are by the clock as it is");
    }

    #[test]
    fn directions_are_not_mixed_and_few_measurements_say_nothing() {
        let mut clock = watch();
        (1..4).for_each(|peer| clock.answered(AuthorityIndex(peer), TimestampMs(0), TimestampMs(u64::MAX)));
        assert!(!measure(&mut clock, &[1, 2], i64::MAX));
        assert!(!measure(&mut clock, &[3], i64::MIN));
        let mut clock = watch();
        (1..4).for_each(|peer| assert!(!clock.compared(AuthorityIndex(peer), 9_000, 7)));
    }

    #[test]
    fn without_news_the_alarm_ends() {
        let mut clock = watch();
        assert!(measure(&mut clock, &[1, 2, 3], 600));
        assert_eq!(clock.due_ms(), Some(5_007));
        assert!(!clock.expire(5_006));
        assert!(clock.expire(5_007));
        assert_eq!((clock.alarm_ms(), clock.due_ms()), (None, None));
        assert!(measure(&mut clock, &[1, 2, 3], 600));
        assert!(clock.forget(AuthorityIndex(2)), "and when too few are left");
    }

    #[test]
    fn what_one_peer_goes_on_sending_does_not_keep_the_alarm_on() {
        let mut clock = watch();
        assert!(measure(&mut clock, &[1, 2, 3], 600));
        (1..50).for_each(|step| {
            clock.compared(AuthorityIndex(3), 600, 7 + step * 100);
        });
        assert_eq!((clock.alarm_ms(), clock.due_ms()), (Some(600), Some(5_007)));
        assert!(clock.expire(5_007), "two of a quorum were not heard of for five seconds");
        assert_eq!((clock.alarm_ms(), clock.due_ms()), (None, None));
        assert!(!clock.compared(AuthorityIndex(3), 600, 5_100));
    }
}
