//! Never votes for a leader other than itself if a quorum of parents is left without him: it has his block, and lies
//! about it by leaving it out.

use crate::sim::adversary::{Adversary, Draft, View};

#[derive(Debug)]
pub(crate) struct VoteLiar;

impl Adversary for VoteLiar {
    fn propose(&mut self, view: &mut View<'_>, draft: &mut Draft) {
        let committee = &view.config.committee;
        let leader = view.leader(draft.round.saturating_sub(1));
        let parents = draft.ancestors.iter().filter(|ancestor| ancestor.round.next() == draft.round);
        let others = parents.filter(|parent| parent.author != leader).map(|parent| committee.stake(parent.author).0);
        if leader != view.me && others.sum::<u64>() >= committee.quorum().0 {
            draft.ancestors.retain(|ancestor| ancestor.author != leader);
        }
    }
}
