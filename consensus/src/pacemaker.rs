//! When to enter a round, and how long to wait in it (CONSENSUS.md §2.4 with the timing of §0.8 and §0.12).
//!
//! Owns the round, the delays and the leader timeout with its doubling. Whether the conditions hold that depend on the
//! DAG is asked by `engine::proposing`, which passes in what it found.

use crate::config::{Config, Pacing};
use crate::delays::Delays;
use types::{AuthorityIndex, Round};

/// Rounds in a row that ended by timeout, without a commit, before the timeout doubles.
const TIMEOUTS_BEFORE_DOUBLING: u32 = 3;

/// Commits after which the timeout follows the measured delays again.
const ADAPT_COMMITS: u32 = 100;

/// Round and time.
#[derive(Clone, Debug)]
pub(crate) struct Pacemaker {
    pacing: Pacing,
    round: Round,
    entered_ms: u64,
    /// When the last own block was asked for.
    proposed_ms: Option<u64>,
    /// When the last own block was last sent.
    sent_ms: u64,
    /// Times it was sent without progress.
    resent: u32,
    /// 2Δ, clamped, before doubling.
    base_timeout_ms: u64,
    doublings: u32,
    timeouts: u32,
    delays: Delays,
    /// Whether the delay to a quorum was ever known.
    is_measured: bool,
    /// Commits since the timeout was last adapted.
    commits: u32,
    local_pending: bool,
}

impl Pacemaker {
    pub fn new(config: &Config, now_ms: u64) -> Self {
        Self {
            pacing: config.pacing,
            round: Round(1),
            entered_ms: now_ms,
            proposed_ms: None,
            sent_ms: now_ms,
            resent: 0,
            base_timeout_ms: config.pacing.leader_timeout_ms_min.into(),
            doublings: 0,
            timeouts: 0,
            delays: Delays::new(config.committee.clone(), config.me),
            is_measured: false,
            commits: 0,
            local_pending: false,
        }
    }

    /// Enters a higher round.
    pub fn enter(&mut self, round: Round, now_ms: u64) {
        self.round = round;
        self.entered_ms = now_ms;
    }

    /// An own block was asked for; by timeout if the leader was not there.
    pub fn proposed(&mut self, now_ms: u64, by_timeout: bool) {
        self.proposed_ms = Some(now_ms);
        self.timeouts = if by_timeout { self.timeouts + 1 } else { 0 };
        if self.timeouts >= TIMEOUTS_BEFORE_DOUBLING {
            self.timeouts = 0;
            if self.leader_timeout_ms() < u64::from(self.pacing.leader_timeout_ms_cap) {
                self.doublings += 1;
            }
        }
    }

    /// The last own block was sent; again, if `again`.
    pub fn sent(&mut self, now_ms: u64, again: bool) {
        self.sent_ms = now_ms;
        self.resent = if again { (self.resent + 1).min(8) } else { 0 };
    }

    /// A commit came.
    pub fn progressed(&mut self) {
        self.timeouts = 0;
        self.doublings = self.doublings.saturating_sub(1);
        self.commits += 1;
        if self.commits >= ADAPT_COMMITS {
            self.adapt();
        }
    }

    /// Whether something waits here for a block.
    pub fn set_pending(&mut self, local: bool) {
        self.local_pending = local;
    }

    /// A delay was measured. The first time that a quorum is, the timeout follows at once.
    pub fn measured(&mut self, peer: AuthorityIndex, one_way_us: u64) {
        self.delays.add(peer, one_way_us);
        if !self.is_measured {
            self.adapt();
        }
    }

    /// Δ is twice the delay to a quorum, and the timeout 2Δ, clamped before any doubling.
    fn adapt(&mut self) {
        self.commits = 0;
        let Some(delay_us) = self.delays.to_quorum_us() else { return };
        self.is_measured = true;
        let (min, max) = (self.pacing.leader_timeout_ms_min.into(), self.pacing.leader_timeout_ms_max.into());
        self.base_timeout_ms = delay_us.saturating_mul(4).div_ceil(1_000).min(max).max(min);
    }

    /// The round.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Half a round trip to a peer, in milliseconds, rounded up; the timeout's share where it is not known.
    pub fn one_way_ms(&self, peer: AuthorityIndex) -> u64 {
        let known = self.delays.last_us(peer);
        known.map_or(self.base_timeout_ms / 4, |us| us.div_ceil(1_000).min(self.base_timeout_ms))
    }

    /// When the delay since the last own block is over. `load`: transactions wait for a commit somewhere.
    pub fn ready_at(&self, load: bool) -> u64 {
        let delay = if load || self.local_pending { self.pacing.round_delay_ms_min } else { self.pacing.idle_delay_ms };
        self.proposed_ms.map_or(self.entered_ms, |at| at + u64::from(delay))
    }

    /// When a round without its leader is given up. Counts from the end of the delay that everybody keeps: what waits
    /// here alone does not hurry the others.
    pub fn timeout_at(&self, load: bool) -> u64 {
        let delay = if load { self.pacing.round_delay_ms_min } else { self.pacing.idle_delay_ms };
        let ready = self.proposed_ms.map_or(self.entered_ms, |at| at + u64::from(delay));
        ready.max(self.entered_ms) + self.leader_timeout_ms()
    }

    /// When the last own block is sent again because nothing moves.
    pub fn resend_at(&self) -> u64 {
        let stall = u64::from(self.pacing.idle_delay_ms) + 2 * self.leader_timeout_ms();
        self.sent_ms + (stall << self.resent.min(3))
    }

    /// How long a leader is waited for.
    pub fn leader_timeout_ms(&self) -> u64 {
        let doubled = self.base_timeout_ms.saturating_mul(1u64 << self.doublings.min(20));
        doubled.min(self.pacing.leader_timeout_ms_cap.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Keys;

    fn pacemaker() -> Pacemaker {
        Pacemaker::new(&Keys::generate(4).config(AuthorityIndex(0)), 0)
    }

    fn measure(pacemaker: &mut Pacemaker, one_way_us: u64, times: u32) {
        (0..times).for_each(|_| (1..4).for_each(|peer| pacemaker.measured(AuthorityIndex(peer), one_way_us)));
    }

    #[test]
    fn the_timeout_follows_the_delays_at_once_and_then_every_hundred_commits() {
        let mut pacemaker = pacemaker();
        assert_eq!(pacemaker.leader_timeout_ms(), 100, "the floor, while nothing is known");
        measure(&mut pacemaker, 60_000, 1);
        assert_eq!(pacemaker.leader_timeout_ms(), 240, "four one-way delays");
        measure(&mut pacemaker, 150_000, 32);
        (0..99).for_each(|_| pacemaker.progressed());
        assert_eq!(pacemaker.leader_timeout_ms(), 240);
        pacemaker.progressed();
        assert_eq!(pacemaker.leader_timeout_ms(), 600);
        assert_eq!(pacemaker.one_way_ms(AuthorityIndex(1)), 150);
    }

    #[test]
    fn the_timeout_is_clamped_before_it_doubles() {
        let mut pacemaker = pacemaker();
        measure(&mut pacemaker, 900_000_000, 1);
        assert_eq!(pacemaker.leader_timeout_ms(), 2_000);
        let time_out = |pacemaker: &mut Pacemaker| (0..3).for_each(|_| pacemaker.proposed(0, true));
        pacemaker.proposed(0, true);
        pacemaker.proposed(0, true);
        pacemaker.proposed(0, false);
        pacemaker.proposed(0, true);
        assert_eq!(pacemaker.leader_timeout_ms(), 2_000, "three in a row are needed");
        pacemaker.proposed(0, false);
        time_out(&mut pacemaker);
        assert_eq!(pacemaker.leader_timeout_ms(), 4_000);
        (0..20).for_each(|_| time_out(&mut pacemaker));
        assert_eq!(pacemaker.leader_timeout_ms(), 60_000, "and there it ends");
        (0..3).for_each(|_| pacemaker.progressed());
        assert!(pacemaker.leader_timeout_ms() < 60_000, "progress takes it back");
        (0..3).for_each(|_| pacemaker.progressed());
        assert_eq!(pacemaker.leader_timeout_ms(), 2_000);
    }
}
