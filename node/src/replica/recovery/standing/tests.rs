//! Where a node stands after a crash at each step of the passage, by what its database holds.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use types::{Anchor, Authority, Change, Height, LedgerHeader};

fn setup(name: &str) -> Setup {
    let genesis = genesis();
    let text = format!("genesis = \"g\"\nvalidator = \"{name}\"\n[signer]\nsocket = \"s\"\n");
    Setup {
        chain: genesis.chain_id(),
        first: Arc::new(EpochStart::first(&genesis).expect("a committee")),
        genesis: Arc::new(genesis),
        data_dir: PathBuf::new(),
        signer_socket: PathBuf::new(),
        signer_patience: std::time::Duration::ZERO,
        accept_lost_disk: false,
        join: false,
        ask: Vec::new(),
        hardware: None,
        machines: None,
        config: toml::from_str(&text).expect("a configuration"),
    }
}

fn keys(authority: &Authority) -> PublicKeys {
    PublicKeys { consensus: authority.consensus_key.clone(), transport: authority.transport_key.clone() }
}

/// The keys of a validator of genesis.
fn held(index: usize) -> PublicKeys {
    keys(&genesis().validators[index])
}

fn empty() -> (TempDir, Tables) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = storage::state::StateOptions::default();
    let db = storage::state::StateDb::open(dir.path().join("state"), [1; 32], options).expect("a database");
    (dir, Tables::new(Arc::new(db)))
}

/// The epoch after `before` that a change makes, behind the height of ten times its number. Signatures do not matter:
/// what stands in the database was verified before.
fn after(before: &EpochStart, change: &Change) -> EpochChange {
    let height = 10 * (before.epoch().0 + 1);
    let (committee, parameters) = change.apply(&before.committee, &before.parameters).expect("a change");
    let next_committee = Some(EpochStart::digest_of(&committee, &parameters));
    let last = LedgerHeader { next_committee, epoch: before.epoch(), ..header_over(&commits(height)) };
    let anchor = Anchor::of(&last);
    EpochChange { start: EpochStart { committee, parameters, anchor }, certificate: certificate(&last), last }
}

fn first() -> EpochStart {
    EpochStart::first(&genesis()).expect("a committee")
}

fn other_gc(rounds: u64) -> Change {
    let parameters = types::Parameters { gc_depth_rounds: rounds, ..genesis().parameters };
    Change::Parameters { parameters }
}

fn remove(name: &str) -> Change {
    Change::Remove { name: name.into() }
}

fn write(tables: &Tables, rows: impl FnOnce(&mut crate::tables::Batch)) {
    let mut batch = tables.batch();
    rows(&mut batch);
    tables.commit(batch).expect("a batch");
}

/// Epoch, next epoch, and whether that one's certificate is here and has no part for this node.
fn member(standing: Standing) -> (u64, Option<u64>, bool) {
    match standing {
        Standing::Member { plan, next, certified } => {
            (plan.epoch.epoch().0, next.map(|next| next.epoch().0), certified.is_some())
        }
        Standing::Behind { past, .. } => panic!("behind, in epoch {}", past.epoch()),
    }
}

#[test]
fn a_member_enters_the_next_epoch_when_its_start_and_its_certificate_are_both_durable() {
    let (_dir, tables) = empty();
    let (setup, held) = (setup("node-2"), held(2));
    let find = || member(find(&setup, &held, &tables).expect("it has a part"));
    assert_eq!(find(), (1, None, false), "before the last height is executed");
    let second = after(&first(), &other_gc(200));
    write(&tables, |batch| batch.epoch(&second.start));
    assert_eq!(find(), (1, Some(2), false), "after it, before it is certified");
    let other = LedgerHeader { timestamp: types::TimestampMs(1), ..second.last.clone() };
    write(&tables, |batch| batch.certificate(&certificate(&other)));
    assert_eq!(find(), (1, Some(2), false), "a certificate over another header is none");
    write(&tables, |batch| batch.certificate(&second.certificate));
    assert_eq!(find(), (2, None, false));
    let third = after(&second.start, &other_gc(201));
    write(&tables, |batch| batch.epoch(&third.start));
    assert_eq!(find(), (2, Some(3), false), "and so on, from epoch to epoch");
}

#[test]
fn a_member_that_is_removed_serves_the_last_epoch_and_after_another_one_has_no_part() {
    let (_dir, tables) = empty();
    let (setup, held) = (setup("node-2"), held(2));
    let second = after(&first(), &remove("node-2"));
    write(&tables, |batch| batch.epoch_change(&second));
    assert_eq!(member(find(&setup, &held, &tables).expect("it serves")), (1, Some(2), true));
    write(&tables, |batch| batch.known_change(&after(&second.start, &other_gc(200))));
    let Err(RecoveryError::Outside(no_part)) = find(&setup, &held, &tables) else { panic!("it has no part") };
    assert_eq!(no_part.start.epoch(), Epoch(3));
    assert_eq!(no_part.why, Outside::NotNamed { name: "node-2".into(), epoch: Epoch(3) });
}

#[test]
fn who_stays_keeps_its_name_and_changes_its_place() {
    let (_dir, tables) = empty();
    write(&tables, |batch| batch.epoch_change(&after(&first(), &remove("node-1"))));
    let Ok(Standing::Member { plan, .. }) = find(&setup("node-3"), &held(3), &tables) else { panic!("a member") };
    assert_eq!((plan.me.0, plan.own_entry().name.as_str()), (2, "node-3"));
}

#[test]
fn a_new_validator_has_no_part_until_its_epoch_is_known_and_is_behind_until_its_state_is_there() {
    let (_dir, tables) = empty();
    let genesis = genesis();
    let validator = Authority {
        name: "node-4".into(),
        consensus_key: crate::fixtures::account(10).public_key(),
        transport_key: crate::fixtures::account(9).public_key(),
        peer_address: ([127, 0, 0, 1], 900).into(),
        client_address: ([127, 0, 0, 1], 901).into(),
        rpc_address: ([127, 0, 0, 1], 902).into(),
        ..genesis.validators[0].clone()
    };
    let (setup, held) = (setup("node-4"), keys(&validator));
    assert!(matches!(find(&setup, &held, &tables), Err(RecoveryError::Outside(_))));
    let second = after(&first(), &other_gc(200));
    let third = after(&second.start, &Change::Add { validator });
    write(&tables, |batch| [&second, &third].into_iter().for_each(|change| batch.known_change(change)));
    for (reached, last) in [(1, second.last.height), (2, third.last.height)] {
        let Ok(Standing::Behind { plan, past, change }) = find(&setup, &held, &tables) else { panic!("behind") };
        assert_eq!((plan.epoch.epoch(), plan.me.0), (Epoch(3), 4), "it is linked to the last committee");
        assert_eq!(
            (past.epoch(), change.last.height),
            (Epoch(reached), last),
            "and takes commits of the epoch it is in"
        );
        // As execution of the last height leaves it; the certificate came with the proof.
        write(&tables, |batch| batch.epoch(&change.start));
    }
    assert_eq!(member(find(&setup, &held, &tables).expect("a member")), (3, None, false));
    let certified = tables.certificate(third.last.height).expect("readable");
    assert_eq!(certified, Some(third.certificate), "whoever asks for it next finds it");
    assert_eq!(tables.certificate(Height(7)).expect("readable"), None);
}

#[test]
fn other_keys_than_the_committee_names_give_no_part_until_an_epoch_names_them() {
    let (_dir, tables) = empty();
    let renewed = PublicKeys {
        consensus: crate::fixtures::account(7).public_key(),
        transport: crate::fixtures::account(8).public_key(),
    };
    let rekey = Change::Rekey {
        name: "node-2".into(),
        consensus_key: renewed.consensus.clone(),
        transport_key: renewed.transport.clone(),
    };
    let setup = setup("node-2");
    let Err(RecoveryError::Outside(no_part)) = find(&setup, &renewed, &tables) else { panic!("it has no part") };
    assert!(matches!(no_part.why, Outside::OtherKey { role: "consensus", .. }));
    write(&tables, |batch| batch.epoch_change(&after(&first(), &rekey)));
    assert_eq!(member(find(&setup, &renewed, &tables).expect("a member")), (2, None, false));
    assert_eq!(member(find(&setup, &held(2), &tables).expect("it serves")), (1, Some(2), true));
}
