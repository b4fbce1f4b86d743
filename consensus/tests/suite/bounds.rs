//! Bad input: each with a typed reason, nothing lost, nothing unbounded.

use consensus::sim::Keys;
use consensus::{Config, Core, Effect, Input, InvalidHeader, Misbehaviour, genesis_refs};
use std::sync::Arc;
use types::{
    AuthorityIndex, BlockBody, BlockHeader, BlockRef, ChainId, Digest, Epoch, Evidence, PayloadDescriptor, Round,
    Stake, TimestampMs,
};

/// The reason for which a core refuses a header that `change` spoilt.
fn refusal(change: impl FnOnce(&mut Draft)) -> Option<InvalidHeader> {
    let keys = Keys::generate(4);
    let config = keys.config(AuthorityIndex(1));
    let mut draft = Draft {
        chain: config.chain,
        epoch: config.committee.epoch(),
        round: Round(1),
        author: AuthorityIndex(1),
        body: BlockBody {
            ancestors: [1, 0, 2, 3].map(|author| genesis_refs(&config)[author]).to_vec(),
            timestamp: TimestampMs(u64::MAX),
            payload: PayloadDescriptor::empty(),
            lane_roots: Vec::new(),
            misbehaviour: Vec::new(),
            end_of_epoch: false,
        },
    };
    change(&mut draft);
    let Draft { chain, epoch, round, author, body } = draft;
    let signature = sample(&keys, &config).signature().clone();
    let statement = BlockHeader::statement_for(chain, epoch, round, author, &body, &[]);
    let header = Arc::new(BlockHeader::new(statement, body, Vec::new(), signature));
    let mut effects = Vec::new();
    let from = AuthorityIndex(3);
    Core::new(keys.config(AuthorityIndex(0)), 0).step(0, Input::Header { header, from }, &mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Misbehaviour { peer, what: Misbehaviour::InvalidHeader { reason, .. } } if peer == from => Some(reason),
        _ => None,
    })
}

struct Draft {
    chain: ChainId,
    epoch: Epoch,
    round: Round,
    author: AuthorityIndex,
    body: BlockBody,
}

fn sample(keys: &Keys, config: &Config) -> Arc<BlockHeader> {
    keys.block(config, Round(1), genesis_refs(config), Vec::new(), 0, 0)
}

#[test]
fn every_field_beyond_its_limit_is_refused_by_name() {
    assert_eq!(refusal(|_| {}), None, "any timestamp is valid");
    assert_eq!(refusal(|draft| draft.chain = ChainId(Digest::ZERO)), Some(InvalidHeader::Chain));
    assert_eq!(refusal(|draft| draft.epoch = Epoch(2)), Some(InvalidHeader::Epoch(Epoch(2))));
    assert_eq!(refusal(|draft| draft.round = Round(0)), Some(InvalidHeader::RoundZero));
    let stranger = AuthorityIndex(4);
    assert_eq!(refusal(|draft| draft.author = stranger), Some(InvalidHeader::UnknownAuthor(stranger)));
    assert_eq!(refusal(|draft| draft.body.ancestors.clear()), Some(InvalidHeader::AncestorCount(0)));
    let five = |draft: &mut Draft| draft.body.ancestors.push(draft.body.ancestors[0]);
    assert_eq!(refusal(five), Some(InvalidHeader::AncestorCount(5)));
    assert_eq!(refusal(|draft| draft.body.ancestors.swap(0, 1)), Some(InvalidHeader::FirstAncestor));
    let repeated = |draft: &mut Draft| draft.body.ancestors[3] = draft.body.ancestors[1];
    assert_eq!(refusal(repeated), Some(InvalidHeader::RepeatedAuthor(AuthorityIndex(0))));
    let unknown = |draft: &mut Draft| draft.body.ancestors[3].author = stranger;
    assert!(matches!(refusal(unknown), Some(InvalidHeader::AncestorAuthor(_))));
    let future = |draft: &mut Draft| draft.body.ancestors[3].round = Round(1);
    assert!(matches!(refusal(future), Some(InvalidHeader::AncestorRound(_))));
    let forged = |draft: &mut Draft| draft.body.ancestors[3].digest = Digest::ZERO;
    assert!(matches!(refusal(forged), Some(InvalidHeader::NotGenesis(_))));
    assert_eq!(refusal(|draft| draft.body.ancestors.truncate(2)), Some(InvalidHeader::ParentStake(Stake(2))));
    assert_eq!(refusal(|draft| draft.round = Round(2)), Some(InvalidHeader::ParentStake(Stake(0))));
    let large = |draft: &mut Draft| draft.body.payload = descriptor((1 << 20) + 1, 1);
    assert!(matches!(refusal(large), Some(InvalidHeader::PayloadLimit { .. })));
    let many = |draft: &mut Draft| draft.body.payload = descriptor(1 << 20, 4_097);
    assert!(matches!(refusal(many), Some(InvalidHeader::PayloadLimit { .. })));
    assert_eq!(refusal(|draft| draft.body.payload = descriptor(1, 0)), Some(InvalidHeader::PayloadDescriptor));
    assert_eq!(refusal(|draft| draft.body.payload = descriptor(0, 0)), Some(InvalidHeader::PayloadDescriptor));
    assert_eq!(refusal(|draft| draft.body.lane_roots.push(Digest::ZERO)), Some(InvalidHeader::Lanes));
}

fn descriptor(bytes: u32, count: u32) -> PayloadDescriptor {
    PayloadDescriptor { root: Digest::ZERO, bytes, count }
}

#[test]
fn evidence_that_proves_nothing_is_refused() {
    let keys = Keys::generate(4);
    let signed = |author: u16, time: u64| {
        let config = keys.config(AuthorityIndex(author));
        let mut ancestors = genesis_refs(&config);
        ancestors.swap(0, usize::from(author));
        let header = keys.block(&config, Round(1), ancestors, Vec::new(), time, 0);
        (*header.statement(), header.signature().clone())
    };
    let against =
        |first, second| refusal(|draft| draft.body.misbehaviour.push(Evidence::Equivocation { first, second }));
    let (mut a, mut b) = (signed(2, 1), signed(2, 2));
    if a.0.digest() > b.0.digest() {
        std::mem::swap(&mut a, &mut b);
    }
    assert_eq!(against(a.clone(), b.clone()), None);
    let refused = Some(InvalidHeader::Evidence(AuthorityIndex(2)));
    assert_eq!(against(b.clone(), a.clone()), refused, "in the wrong order");
    assert_eq!(against(a.clone(), a.clone()), refused, "the same twice");
    assert_eq!(against(a, signed(3, 1)), refused, "of two authors");
}

#[test]
fn a_flood_of_blocks_without_history_stays_bounded() {
    let mut keys = Keys::generate(4);
    keys.parameters.gc_depth_rounds = 30;
    let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
    (1..4).for_each(|peer| core.step(0, Input::PeerUp { peer: AuthorityIndex(peer) }, &mut Vec::new()));
    let author = keys.config(AuthorityIndex(3));
    let mut effects = Vec::new();
    for round in (2..2_000).chain(2..60).map(Round) {
        for twin in 0..4u64 {
            let invented = |author: u16| BlockRef {
                round: round.saturating_sub(1),
                author: AuthorityIndex(author),
                digest: Digest::sha256(&[twin as u8, round.0 as u8, author as u8]),
            };
            let ancestors = [3, 0, 1, 2].map(invented).to_vec();
            let header = keys.block(&author, round, ancestors, Vec::new(), twin, 0);
            core.step(round.0, Input::Header { header, from: AuthorityIndex(3) }, &mut effects);
        }
        let status = core.status();
        assert!(status.suspended <= 60 && status.missing_headers <= 60 * 4 * 4, "{status:?}");
    }
    let flooded = |effect: &Effect| matches!(effect, Effect::Misbehaviour { what: Misbehaviour::Flood { .. }, .. });
    assert!(effects.iter().any(flooded));
    let lagging = effects.iter().any(|effect| matches!(effect, Effect::Lagging { .. }));
    assert!(!lagging, "one member's far rounds are not the committee's");

    // Payload notices without headers are bounded too.
    for number in 0..10_000u32 {
        let digest = Digest::sha256(&number.to_le_bytes());
        let block = BlockRef { round: Round(5), author: AuthorityIndex(2), digest };
        core.step(3_000, Input::PayloadReady { block }, &mut effects);
    }
    assert!(core.status().early_payloads <= 256);
}

#[test]
fn that_others_are_out_of_reach_is_said_again_until_they_are_not() {
    let mut keys = Keys::generate(4);
    keys.parameters.gc_depth_rounds = 30;
    let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
    let mut effects = Vec::new();
    let signed_for = |core: &mut Core, author: u16, round: u64, effects: &mut Vec<Effect>| {
        let invented = |of: u16| BlockRef {
            round: Round(round - 1),
            author: AuthorityIndex(of),
            digest: Digest::sha256(&[round as u8, of as u8]),
        };
        let ancestors = [author, 0, 1].map(invented).to_vec();
        let header = keys.block(&keys.config(AuthorityIndex(author)), Round(round), ancestors, Vec::new(), 0, 0);
        core.step(1_000, Input::Header { header, from: AuthorityIndex(author) }, effects);
    };
    signed_for(&mut core, 2, 40, &mut effects);
    signed_for(&mut core, 3, 40, &mut effects);
    let said =
        |effects: &mut Vec<Effect>| effects.drain(..).filter(|effect| matches!(effect, Effect::Lagging { .. })).count();
    assert_eq!(said(&mut effects), 1);
    for now_ms in [1_499, 1_500, 1_501, 2_000] {
        core.step(now_ms, Input::Tick, &mut effects);
    }
    assert_eq!(said(&mut effects), 2, "at 1,500 and 2,000 ms, though nothing came");
}

/// What the others let go of between their commits and this node's it waits for in vain, and its own blocks would have
/// to stand on theirs.
#[test]
fn commits_are_asked_for_when_blocks_of_more_than_f_wait_and_nothing_is_committed() {
    let keys = Keys::generate(4);
    let says = |authors: &[u16]| {
        let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
        let mut effects = Vec::new();
        for author in authors {
            let gone =
                |of: u16| BlockRef { round: Round(1), author: AuthorityIndex(of), digest: Digest::sha256(b"gone") };
            let ancestors = [*author, 0, (author % 3) + 1].map(gone).to_vec();
            let header = keys.block(&keys.config(AuthorityIndex(*author)), Round(2), ancestors, Vec::new(), 0, 0);
            core.step(100, Input::Header { header, from: AuthorityIndex(*author) }, &mut effects);
        }
        let mut said = Vec::new();
        for now_ms in (100..4_000).step_by(100) {
            let mut effects = Vec::new();
            core.step(now_ms, Input::Tick, &mut effects);
            said.extend(effects.iter().any(|effect| matches!(effect, Effect::Lagging { .. })).then_some(now_ms));
        }
        said
    };
    assert_eq!(says(&[2, 3]), [2_100, 2_600, 3_100, 3_600]);
    // One of four may say what it likes.
    assert_eq!(says(&[2]), [0; 0]);
}

#[test]
fn a_block_waits_for_its_payload_in_either_order() {
    let keys = Keys::generate(4);
    let config = keys.config(AuthorityIndex(2));
    let mut ancestors = genesis_refs(&config);
    ancestors.swap(0, 2);
    let header = keys.block(&config, Round(1), ancestors, Vec::new(), 0, 7);
    let (block, from) = (header.block_ref(), AuthorityIndex(2));
    let accepted = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Accepted { .. }));
    for payload_first in [false, true] {
        let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
        core.step(0, Input::PeerUp { peer: from }, &mut Vec::new());
        let mut inputs = [Input::Header { header: header.clone(), from }, Input::PayloadReady { block }];
        if payload_first {
            inputs.reverse();
        }
        let (mut effects, [first, second]) = (Vec::new(), inputs);
        core.step(0, first, &mut effects);
        assert!(!accepted(&effects));
        // Patience first, then it is asked for.
        core.step(29, Input::Tick, &mut effects);
        let asks = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::RequestPayload { .. }));
        assert!(!asks(&effects));
        core.step(30, Input::Tick, &mut effects);
        assert_eq!(asks(&effects), !payload_first);
        core.step(31, second, &mut effects);
        assert!(accepted(&effects));
        assert_eq!((core.status().missing_payloads, core.status().early_payloads), (0, 0));
    }
}

#[test]
fn a_block_whose_history_comes_late_still_waits_for_its_payload() {
    let keys = Keys::generate(4);
    let genesis = genesis_refs(&keys.config(AuthorityIndex(0)));
    let below: Vec<Arc<BlockHeader>> = (1..4u16)
        .map(|author| {
            let mut ancestors = genesis.clone();
            ancestors.swap(0, usize::from(author));
            keys.block(&keys.config(AuthorityIndex(author)), Round(1), ancestors, Vec::new(), 0, 0)
        })
        .collect();
    let ancestors = below.iter().map(|header| header.block_ref()).collect();
    let child = keys.block(&keys.config(AuthorityIndex(1)), Round(2), ancestors, Vec::new(), 0, 7);
    let (block, from) = (child.block_ref(), AuthorityIndex(1));
    let (mut core, mut effects) = (Core::new(keys.config(AuthorityIndex(0)), 0), Vec::new());
    core.step(0, Input::Header { header: child, from }, &mut effects);
    for header in below {
        let from = header.author();
        core.step(0, Input::Header { header, from }, &mut effects);
    }
    assert_eq!((core.status().dag_blocks, core.status().suspended), (3, 1));
    core.step(0, Input::PayloadReady { block }, &mut effects);
    assert_eq!((core.status().dag_blocks, core.status().suspended), (4, 0));
}
