//! Which state to take: the one that most peers offer with the same manifest, and of those the highest.

use crate::wire::state::{Offer, OffersResponse};
use std::collections::{BTreeMap, BTreeSet};
use types::{AuthorityIndex, Digest, Height};

/// A state, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is offered.
    pub offer: Offer,
    /// By whom.
    pub peers: BTreeSet<AuthorityIndex>,
}

/// The state to take above height `above`. One that was begun before a crash is gone on with if anybody still has it.
pub fn choose(
    answers: &BTreeMap<AuthorityIndex, OffersResponse>,
    above: Height,
    begun: Option<Digest>,
) -> Option<Source> {
    let mut sources: BTreeMap<(Height, Digest), Source> = BTreeMap::new();
    for (peer, answer) in answers {
        for offer in answer.offers.iter().filter(|offer| offer.height > above) {
            let empty = Source { offer: *offer, peers: BTreeSet::new() };
            sources.entry((offer.height, offer.manifest)).or_insert(empty).peers.insert(*peer);
        }
    }
    let rank = |source: &Source| (Some(source.offer.manifest) == begun, source.peers.len(), source.offer.height);
    sources.into_values().max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(offers: &[(u16, u64, &str)]) -> BTreeMap<AuthorityIndex, OffersResponse> {
        let mut answers: BTreeMap<AuthorityIndex, OffersResponse> = BTreeMap::new();
        for (peer, height, name) in offers {
            let offer = Offer { height: Height(*height), manifest: Digest::sha256(name.as_bytes()), bytes: 1 };
            answers.entry(AuthorityIndex(*peer)).or_default().offers.push(offer);
        }
        answers
    }

    fn peers(source: Option<Source>) -> Vec<u16> {
        source.map_or(Vec::new(), |source| source.peers.iter().map(|peer| peer.0).collect())
    }

    #[test]
    fn the_state_that_most_peers_have_is_taken_then_the_highest() {
        let offered = answers(&[(0, 10, "a"), (1, 10, "a"), (2, 20, "b")]);
        assert_eq!(peers(choose(&offered, Height(0), None)), [0, 1]);
        let offered = answers(&[(0, 10, "a"), (1, 10, "a"), (0, 20, "b"), (1, 20, "b"), (2, 20, "forged")]);
        let source = choose(&offered, Height(0), None);
        assert_eq!(source.as_ref().map(|source| source.offer.height), Some(Height(20)));
        assert_eq!(peers(source), [0, 1]);
    }

    #[test]
    fn nothing_that_is_not_above_the_own_height_is_taken() {
        assert_eq!(choose(&answers(&[(0, 10, "a")]), Height(10), None), None);
    }

    #[test]
    fn what_was_begun_is_gone_on_with_while_somebody_has_it() {
        let offered = answers(&[(0, 10, "a"), (1, 20, "b"), (2, 20, "b")]);
        assert_eq!(peers(choose(&offered, Height(0), Some(Digest::sha256(b"a")))), [0]);
        assert_eq!(peers(choose(&offered, Height(0), Some(Digest::sha256(b"gone")))), [1, 2]);
    }
}
