//! What becomes of an own block that commits have overtaken, and of a node whose clock is wrong.

use consensus::sim::{Keys, Rng};
use consensus::{Core, Effect, Input, genesis_refs};
use types::{AuthorityIndex, BlockRef, CommitRecord, Round};

use crate::oracle_tests::{feed, records};
use crate::random_dag::random_dag;

/// The own block of round 1 is at the signer while commits beyond garbage collection are adopted: it can no longer be
/// committed, and its transactions are the driver's again. It is sent all the same, since it is signed.
#[test]
fn an_own_block_that_adopted_commits_have_overtaken_is_dropped() {
    let mut keys = Keys::generate(4);
    keys.parameters.gc_depth_rounds = 6;
    let config = keys.config(AuthorityIndex(0));
    let dag = random_dag(&keys, &mut Rng::new(3), 40);
    let commits: Vec<CommitRecord> = records(&feed(&mut Core::new(config.clone(), 0), &dag));
    let (mut core, mut effects) = (Core::new(config.clone(), 0), Vec::new());
    core.step(0, Input::Pending { local: true }, &mut effects);
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Propose { round: Round(1), .. }));
    assert!(asked(&effects));
    for record in commits {
        let find = |block: &BlockRef| dag.iter().find(|header| header.block_ref() == *block).unwrap().clone();
        let headers = record.blocks.iter().map(find).collect();
        core.step(0, Input::Adopt { record, headers }, &mut effects);
    }
    assert!(core.status().gc_round > Round(1), "{:?}", core.status());
    effects.clear();
    let own = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 0, 7);
    core.step(1, Input::Proposed { header: own.clone() }, &mut effects);
    let dropped = |effect: &Effect| matches!(effect, Effect::Dropped { block } if *block == own.block_ref());
    assert_eq!(effects.iter().filter(|effect| dropped(effect)).count(), 1);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Broadcast { header } if *header == own)));
}

#[test]
fn a_node_with_a_wrong_clock_proposes_nothing_until_it_agrees_again() {
    let keys = Keys::generate(4);
    let (mut core, mut effects) = (Core::new(keys.config(AuthorityIndex(0)), 0), Vec::new());
    let compare = |core: &mut Core, now, offset_ms| {
        let mut effects = Vec::new();
        for peer in [1, 2, 3].map(AuthorityIndex).into_iter().flat_map(|peer| [peer; 8]) {
            core.step(now, Input::Clock { peer, offset_ms }, &mut effects);
        }
        let asks = effects.iter().any(|effect| matches!(effect, Effect::Propose { .. }));
        let said = effects.into_iter().filter_map(|effect| match effect {
            Effect::ClockAlarm { offset_ms } => Some(offset_ms),
            _ => None,
        });
        (said.collect::<Vec<_>>(), asks)
    };
    core.step(0, Input::Clock { peer: AuthorityIndex(0), offset_ms: 9_000 }, &mut effects);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Propose { .. })), "the own clock does not count");
    let config = keys.config(AuthorityIndex(0));
    let own = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 0, 0);
    assert_eq!(compare(&mut core, 10, 700), (vec![Some(700)], false));
    core.step(11, Input::Proposed { header: own }, &mut effects);
    for author in 1..4 {
        let mut ancestors = genesis_refs(&config);
        ancestors.swap(0, author);
        let header = keys.block(&keys.config(AuthorityIndex(author as u16)), Round(1), ancestors, Vec::new(), 0, 0);
        core.step(12, Input::Header { header, from: AuthorityIndex(author as u16) }, &mut effects);
    }
    effects.clear();
    core.step(4_000, Input::Tick, &mut effects);
    let proposes = |effect: &Effect| matches!(effect, Effect::Propose { .. });
    assert!(!effects.iter().any(proposes), "its round is due, and its clock is wrong");
    assert_eq!(core.status().clock_alarm_ms, Some(700));
    assert_eq!(compare(&mut core, 4_100, 20), (vec![None], true), "the clock was set");
}
