//! Proofs that come from the driver: carried once, one large one a block, and refused where they prove nothing.

use consensus::sim::Keys;
use consensus::{Core, Effect, Input, InvalidHeader, Misbehaviour, genesis_refs};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Evidence, InvalidTransaction, Payload, Round};

const ME: AuthorityIndex = AuthorityIndex(0);

fn block(keys: &Keys, author: u16, misbehaviour: Vec<Evidence>, nonce: u64) -> Arc<BlockHeader> {
    let config = keys.config(AuthorityIndex(author));
    let mut ancestors = genesis_refs(&config);
    let own = ancestors.remove(usize::from(author));
    ancestors.insert(0, own);
    keys.block(&config, Round(1), ancestors, misbehaviour, 0, nonce)
}

/// The simulator's payload is one transaction that does not decode.
fn invalid(keys: &Keys, author: u16) -> Evidence {
    let payload = Payload::build([b"a simulated transaction"]);
    let proof = InvalidTransaction::of(&block(keys, author, Vec::new(), 1), &payload, 0).unwrap();
    Evidence::InvalidTransaction(proof)
}

fn refusal(keys: &Keys, misbehaviour: Vec<Evidence>) -> Option<InvalidHeader> {
    let mut effects = Vec::new();
    let header = block(keys, 1, misbehaviour, 0);
    Core::new(keys.config(ME), 0).step(0, Input::Header { header, from: AuthorityIndex(1) }, &mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Misbehaviour { what: Misbehaviour::InvalidHeader { reason, .. }, .. } => Some(reason),
        _ => None,
    })
}

#[test]
fn a_proof_is_reported_and_carried_once_and_large_ones_one_at_a_time() {
    let keys = Keys::generate(4);
    let mut core = Core::new(keys.config(ME), 0);
    let mut effects = Vec::new();
    for culprit in [2, 3, 2] {
        core.step(0, Input::Evidence { evidence: Box::new(invalid(&keys, culprit)) }, &mut effects);
    }
    let (mut reported, mut carried) = (Vec::new(), Vec::new());
    let mut below = genesis_refs(&keys.config(ME));
    for round in 1..4 {
        for now in [round * 1_000, round * 1_000 + 500] {
            core.step(now, Input::Tick, &mut effects);
        }
        let mut own = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Misbehaviour { peer, what: Misbehaviour::InvalidTransaction(_) } => reported.push(peer.0),
                Effect::Propose { round, ancestors, misbehaviour, .. } => {
                    carried.push(misbehaviour.iter().map(|proof| proof.culprit().0).collect::<Vec<_>>());
                    own = Some(keys.block(&keys.config(ME), round, ancestors, misbehaviour, 0, 0));
                }
                _ => {}
            }
        }
        let own = own.unwrap();
        // The others make theirs over everybody.
        let others: Vec<_> = (1..4u16)
            .map(|author| {
                let mut ancestors = below.clone();
                let first = ancestors.iter().position(|ancestor| ancestor.author.0 == author).unwrap();
                ancestors.swap(0, first);
                keys.block(&keys.config(AuthorityIndex(author)), own.round(), ancestors, Vec::new(), 0, 0)
            })
            .collect();
        below = others.iter().chain([&own]).map(|header| header.block_ref()).collect();
        core.step(round * 1_000 + 500, Input::Proposed { header: own }, &mut effects);
        for header in others {
            let from = header.author();
            core.step(round * 1_000 + 500, Input::Header { header, from }, &mut effects);
        }
    }
    assert_eq!(reported, [2, 3]);
    assert_eq!(carried, [vec![2], vec![3], vec![]]);
}

#[test]
fn proofs_that_prove_nothing_or_are_too_many_make_a_header_invalid() {
    let keys = Keys::generate(4);
    assert_eq!(refusal(&keys, vec![invalid(&keys, 2)]), None);
    let two = vec![invalid(&keys, 2), invalid(&keys, 3)];
    assert_eq!(refusal(&keys, two), Some(InvalidHeader::EvidenceCount(2)));
    let other = Payload::build([b"a transaction of no block"]);
    let foreign = InvalidTransaction::of(&block(&keys, 2, Vec::new(), 1), &other, 0).unwrap();
    let foreign = Evidence::InvalidTransaction(foreign);
    assert_eq!(refusal(&keys, vec![foreign]), Some(InvalidHeader::Evidence(AuthorityIndex(2))));
    let strangers = Keys::generate(7);
    assert_eq!(refusal(&keys, vec![invalid(&strangers, 5)]), Some(InvalidHeader::Evidence(AuthorityIndex(5))));
}
