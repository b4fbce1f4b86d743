//! Guard files that are copied, restored, exported and imported, with a signer process on each.

use crate::fixture::Validator;
use hsm::child::SpawnError;
use hsm::guard::{Activation, Floor, Mark, MarkError};
use hsm::refusal::Slot;
use hsm::{ConfigError, Refusal, SignError, SignerClient, StoreError, guard_file};
use types::{ChainId, Digest, Epoch, HeaderVote, Height, Round};

fn reason(validator: &Validator) -> ConfigError {
    match validator.try_start() {
        Err(SpawnError::Start(StoreError::Config(reason))) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("started"),
    }
}

fn slot(round: u64) -> Slot {
    Slot { epoch: Epoch(1), round: Round(round) }
}

fn sign(validator: &Validator, client: &SignerClient, round: u64, height: u64) -> Result<(), SignError> {
    let votes = [HeaderVote { height: Height(height), header: Digest::sha256(b"header") }];
    client.sign_round(&validator.statement(round, 1, &votes), &votes).map(drop)
}

/// A validator that has signed up to a round and voted up to the same height, and does not run.
fn with_past(round: u64) -> Validator {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    sign(&validator, &client, round, round).expect("a new round");
    drop(_child);
    validator
}

#[test]
fn a_restored_copy_is_refused_until_an_operator_vouches_for_it() {
    let validator = with_past(5);
    let (guard, backup) = (&validator.config.guard, validator.dir.path().join("backup"));
    std::fs::copy(guard, &backup).expect("own directory");
    std::fs::rename(&backup, guard).expect("own directory");
    assert_eq!(reason(&validator), ConfigError::GuardMoved);
    let floor = Floor { from: slot(50), votes_above: Height(40) };
    assert_eq!(guard_file::activate(&validator.config, Activation::From(floor)), Ok(floor));
    let (_child, client) = validator.start();
    let stats = client.stats().expect("figures");
    assert_eq!((stats.signs_from, stats.signed_up_to), (Some(slot(50)), Some(slot(49))));
    assert_eq!(stats.votes_refused_up_to, Height(40));
    let early = sign(&validator, &client, 49, 50);
    assert!(matches!(early, Err(SignError::Refused(Refusal::Fenced { from, .. })) if from == slot(50)), "{early:?}");
    assert_eq!(sign(&validator, &client, 5, 5), Ok(()), "what the file knows");
    let low = sign(&validator, &client, 50, 40);
    assert!(matches!(low, Err(SignError::Refused(Refusal::ForgottenHeight { .. }))), "{low:?}");
    assert_eq!(sign(&validator, &client, 50, 41), Ok(()));
    assert_eq!(client.stats().expect("figures").signs_from, None, "the mark has passed it");
}

#[test]
fn an_acknowledged_copy_goes_on_where_it_stopped_and_says_so_later() {
    let validator = with_past(5);
    let (guard, backup) = (&validator.config.guard, validator.dir.path().join("backup"));
    std::fs::copy(guard, &backup).expect("own directory");
    std::fs::rename(&backup, guard).expect("own directory");
    let floor = guard_file::activate(&validator.config, Activation::Acknowledge).expect("the newest");
    assert_eq!(floor.from, slot(6));
    let (_child, client) = validator.start();
    assert_eq!(sign(&validator, &client, 6, 6), Ok(()));
    let review = guard_file::review(&validator.config).expect("also while a signer runs");
    let acts: Vec<_> = review.actions.iter().map(|action| action.act.name()).collect();
    assert_eq!((acts, review.bound_to), (vec!["created", "acknowledged"], "machine"));
}

#[test]
fn a_mark_moves_to_another_machine_and_the_old_guard_retires() {
    let (old, new) = (with_past(70), Validator::with_keystore());
    // The same keys, elsewhere.
    let mut moved = new.config.clone();
    moved.store = old.config.store.clone();
    std::fs::remove_file(&moved.guard).expect("own file");
    let new = Validator { config: moved, keys: old.keys.clone(), dir: new.dir };

    let mark = guard_file::export_mark(&old.config, true).expect("it does not run");
    let again = Mark::parse(&mark.to_json()).expect("its own words");
    assert_eq!(again, mark);
    assert_eq!(mark.floor(), Floor { from: slot(71), votes_above: Height(70) });
    let imported = guard_file::import_mark(&new.config, &new.keys, &again).expect("no guard there");
    assert_eq!((imported.created, imported.after), (true, mark.floor()));
    let (_child, client) = new.start();
    let low = sign(&new, &client, 70, 71);
    assert!(matches!(low, Err(SignError::Refused(Refusal::Fenced { .. }))), "{low:?}");
    assert_eq!(sign(&new, &client, 71, 71), Ok(()));

    let (_child, client) = old.start();
    let retired = sign(&old, &client, 1_000_000, 1_000_000);
    assert!(matches!(retired, Err(SignError::Refused(Refusal::Fenced { .. }))), "{retired:?}");
}

#[test]
fn an_import_only_raises() {
    let validator = with_past(9);
    let low = guard_file::export_mark(&validator.config, false).expect("it does not run");
    let (child, client) = validator.start();
    sign(&validator, &client, 20, 20).expect("a new round");
    let locked = guard_file::export_mark(&validator.config, false).expect_err("it runs");
    assert_eq!(locked.cause, ConfigError::GuardLocked.into());
    drop(child);
    let import = |mark: &Mark| guard_file::import_mark(&validator.config, &validator.keys, mark);
    let unchanged = import(&low).expect("its own past");
    assert_eq!((unchanged.created, unchanged.before), (false, unchanged.after));
    assert_eq!(unchanged.after.from, slot(21));
    let higher = low.to_json().replace("\"round\": 10", "\"round\": 500");
    let raised = import(&Mark::parse(&higher).expect("a round that is another")).expect("its own key");
    assert_eq!(raised.after, Floor { from: slot(500), votes_above: Height(20) });
    let kept = import(&low).expect("its own past");
    assert_eq!(kept.after.from, slot(500));
    let (_child, client) = validator.start();
    assert_eq!(client.stats().expect("figures").signs_from, Some(slot(500)));
}

#[test]
fn marks_of_others_and_what_is_no_mark_is_refused() {
    let (validator, other) = (with_past(1), with_past(2));
    let mark = guard_file::export_mark(&other.config, false).expect("it does not run");
    let import = |mark: &Mark| guard_file::import_mark(&validator.config, &validator.keys, mark);
    assert_eq!(import(&mark).expect_err("another key").cause, ConfigError::GuardForeign.into());
    let own = guard_file::export_mark(&validator.config, false).expect("it does not run").to_json();
    let chain = ChainId(Digest::sha256(b"another")).to_string();
    let foreign = own.replace(&validator.config.chain.to_string(), &chain);
    let foreign = import(&Mark::parse(&foreign).expect("a chain that is another"));
    assert_eq!(foreign.expect_err("another chain").cause, ConfigError::GuardForeign.into());
    assert!(matches!(Mark::parse(&own.replace("\"version\": 1", "\"version\": 2")), Err(MarkError::Unknown { .. })));
    for bad in ["", "{}", "[]", "null", &own[..own.len() - 2], &own.replace("votes_above", "votes_below")] {
        assert!(matches!(Mark::parse(bad), Err(MarkError::Unreadable(_))), "{bad}");
    }
}
