//! Whether the others have what this node cannot get from them block by block, so that it needs their commits
//! (CONSENSUS.md §2.9).
//!
//! That is so when they are far ahead: what they have let go of then lies above what this node has. It may also be so when they
//! are a little ahead. What became garbage for them between their commits and this node's nobody gives any more, and if this
//! node waits for it, so do all the blocks that stand on it. From inside that looks like this: no commit for a while, and
//! blocks of validators with more than f stake that cannot be accepted. Faulty validators alone cannot bring it about, since
//! nobody honest stands on what is not there.

use crate::effect::Effect;
use crate::engine::Core;
use types::{Height, Round};

/// Pause between two [`Effect::Lagging`].
const LAGGING_MS: u64 = 500;
/// How long blocks are held up without a commit until more than patience is needed: several requests have been in vain.
const HELD_UP_MS: u64 = 2_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    /// It was said a moment ago, and is not said again before.
    said_until_ms: Option<u64>,
    /// Since when blocks of more than f stake wait, and at which height of this node.
    held_up: Option<(u64, Height)>,
}

impl Lag {
    /// When to look again.
    pub fn due_ms(&self) -> Option<u64> {
        self.said_until_ms.or_else(|| self.held_up.map(|(since_ms, _)| since_ms + HELD_UP_MS))
    }
}

impl Core {
    /// Says that commits are needed, and says it again and again while they are, also when nothing comes any more: the
    /// others may wait for this very node.
    pub(crate) fn note_lag(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.lag.said_until_ms.is_some_and(|until_ms| now_ms < until_ms) {
            return;
        }
        let (seen, decided, height) = (self.seen_by_honest(), self.committer.last_decided(), self.tip.height);
        let since = self.lag.held_up.filter(|(_, at)| *at == height).unwrap_or((now_ms, height));
        let held_up = self.are_others_held_up().then_some(since);
        let is_far = seen.0 > decided.0 + self.config.parameters.gc_depth_rounds / 2;
        let needed = is_far || held_up.is_some_and(|(since_ms, _)| since_ms + HELD_UP_MS <= now_ms);
        self.lag = Lag { said_until_ms: needed.then_some(now_ms + LAGGING_MS), held_up };
        if needed {
            self.marks.lags += 1;
            self.marks.held_up += u64::from(!is_far);
            effects.push(Effect::Lagging { seen, decided, height });
        }
    }

    /// The highest round for which stake above f has signed: one that an honest validator has reached.
    fn seen_by_honest(&self) -> Round {
        let committee = &self.config.committee;
        let mut seen: Vec<(Round, u64)> =
            committee.indices().map(|a| (self.seen[a.index()], committee.stake(a).0)).collect();
        seen.sort_unstable();
        let mut stake = 0;
        let honest = seen.into_iter().rev().find(|(_, weight)| {
            stake += weight;
            stake >= self.thresholds.validity.0
        });
        honest.map_or(Round(0), |(round, _)| round)
    }

    /// Whether stake above f has signed for rounds of which this node could not accept a block.
    fn are_others_held_up(&self) -> bool {
        let (committee, accepted) = (&self.config.committee, self.dag.frontier());
        let held_up = committee.indices().filter(|a| self.seen[a.index()] > accepted[a.index()]);
        held_up.map(|a| committee.stake(a).0).sum::<u64>() >= self.thresholds.validity.0
    }
}
