//! Where the own chain goes on when the disk that held it is lost (CONSENSUS.md §2.10).
//!
//! An own block of round M stands on blocks of round M − 1 from stake ≥ Q, so validators of stake ≥ Q − f ≥ f + 1, among
//! any who answer with stake ≥ 2f + 1, made a block of round M − 1 before. One of them is neither faulty nor without
//! memory, and the block that he calls his last is of round M − 1 or above. So the highest such block, over answers from
//! stake ≥ 2f + 1 without the own, says which rounds may have been signed, even for blocks that nobody received; proposing
//! begins above the round after it. An answer counts when the block it names is in the DAG, or garbage, so that nobody can
//! name a round that the committee has not reached.
//!
//! **\[derived\]** The rule of the source asks for the own highest block that others hold; it is asked for here too, to be
//! the first ancestor, and is no longer what safety hangs on.

use crate::dag::Dag;
use crate::effect::Reclaiming;
use types::{AuthorityIndex, BlockRef, Committee, Round, Stake};

/// Pause between two questions to a peer.
const ASK_MS: u64 = 500;

/// The answers of the peers.
#[derive(Clone, Debug)]
pub(crate) struct Reclaim {
    me: AuthorityIndex,
    answers: Vec<Answer>,
    ask_at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    None,
    /// The peer's last block, or that it has none.
    Given(Option<BlockRef>),
}

impl Reclaim {
    pub fn new(me: AuthorityIndex, authors: usize, now_ms: u64) -> Self {
        Self { me, answers: vec![Answer::None; authors], ask_at_ms: now_ms }
    }

    /// A peer named its last block. Its first answer stays, so that it cannot move on faster than its blocks come.
    pub fn answered(&mut self, peer: AuthorityIndex, last: Option<BlockRef>) {
        if let Some(answer @ Answer::None) = self.answers.get_mut(peer.index()) {
            *answer = Answer::Given(last);
        }
    }

    /// The highest round that the own chain may have reached, once enough answers count.
    pub fn reached(&self, dag: &Dag, committee: &Committee) -> Option<Round> {
        let counted = || committee.indices().filter_map(|peer| Some((peer, self.counted(peer, dag)?)));
        let stake: u64 = counted().map(|(peer, _)| committee.stake(peer).0).sum();
        if stake < needed(committee).0 {
            return None;
        }
        // A block of round 1 stands on nothing that could be named: where nobody has made a block, none is taken to be.
        counted().filter_map(|(_, last)| last).map(|last| last.round.next()).max().or(Some(Round(0)))
    }

    /// Whom to ask now.
    pub fn poll(&mut self, now_ms: u64) -> Vec<AuthorityIndex> {
        if now_ms < self.ask_at_ms {
            return Vec::new();
        }
        self.ask_at_ms = now_ms + ASK_MS;
        let silent = |(_, answer): &(u16, &Answer)| **answer == Answer::None;
        (0..)
            .zip(&self.answers)
            .filter(silent)
            .map(|(peer, _)| AuthorityIndex(peer))
            .filter(|p| *p != self.me)
            .collect()
    }

    /// There is somebody new to ask.
    pub fn ask_again(&mut self) {
        self.ask_at_ms = 0;
    }

    /// When [`Self::poll`] has something to say.
    pub fn due_ms(&self) -> u64 {
        self.ask_at_ms
    }

    pub fn status(&self, dag: &Dag, committee: &Committee) -> Reclaiming {
        let others = committee.indices().filter(|peer| *peer != self.me);
        let (counted, waiting_for): (Vec<_>, Vec<_>) = others.partition(|peer| self.counted(*peer, dag).is_some());
        let answered = Stake(counted.into_iter().map(|peer| committee.stake(peer).0).sum());
        Reclaiming { answered, needed: needed(committee), waiting_for }
    }

    /// What a peer named, if it counts.
    fn counted(&self, peer: AuthorityIndex, dag: &Dag) -> Option<Option<BlockRef>> {
        match self.answers.get(peer.index())? {
            Answer::Given(last) if last.is_none_or(|last| dag.is_settled(&last)) => Some(*last),
            Answer::Given(_) | Answer::None => None,
        }
    }
}

/// Stake of the answers that are needed: 2f + 1, which is Q where N = 3f + 1.
fn needed(committee: &Committee) -> Stake {
    Stake(committee.faulty_max().0 * 2 + 1)
}
