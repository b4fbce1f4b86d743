//! Calls of contracts among a few traders who know few things, so that steps often meet what others have left.

use super::{Dice, ordered};
use ledger::OrderedTransaction;
use types::*;

/// Accounts at the front that call contracts.
const TRADERS: usize = 5;

/// A call at `time`, which is spoilt by chance at one of `odd` in a hundred, in its signers, its keys or its time.
pub fn entry(dice: &mut Dice, keys: &[SecretKey], chain: &ChainId, time: u64, odd: u32) -> OrderedTransaction {
    let steps: Vec<Step> = (0..1 + dice.below(3)).map(|_| step(dice, keys, time)).collect();
    let first = dice.below(TRADERS);
    // All sign, or the first alone, or one more.
    let signers: Vec<&SecretKey> = match dice.below(4) {
        0 => vec![&keys[first]],
        1 => vec![&keys[first], &keys[(first + 1) % TRADERS]],
        _ => (0..TRADERS).map(|offset| &keys[(first + offset) % TRADERS]).collect(),
    };
    let cosigners = signers[1..].iter().map(|key| key.public_key()).collect();
    let mut call = Call::new(&signers[0].public_key().address(), cosigners, steps, Default::default());
    let (mut valid_until, mut signature_valid) = (time + dice.below(3_001) as u64, true);
    if dice.percent(odd) {
        spoil(dice, keys, &mut call, &mut valid_until, &mut signature_valid, time);
    }
    let body = TransactionBody::Call(Box::new(call));
    let transaction = Transaction::sign_together(chain, &signers, valid_until, dice.next(), body).unwrap();
    OrderedTransaction { signature_valid, ..ordered(transaction) }
}

fn spoil(
    dice: &mut Dice,
    keys: &[SecretKey],
    call: &mut Call,
    valid_until: &mut u64,
    signature_valid: &mut bool,
    time: u64,
) {
    let which = dice.below(call.access.len());
    match dice.below(7) {
        0 => drop(call.access.remove(which)),
        1 => call.access[which].write = false,
        2 => call.access.clear(),
        3 => {
            // Up to 8 slots, or beyond.
            let count = dice.below(12);
            let more = (0..count).map(|_| Access { key: any_account(dice, keys).into(), write: dice.percent(50) });
            call.access.extend(more.collect::<Vec<_>>());
            call.access.sort_by_key(|access| access.key);
            call.access.dedup_by_key(|access| access.key);
            call.access.truncate(16);
        }
        4 => *valid_until = time - 1,
        5 => *signature_valid = false,
        _ => call.access[which].key = any_object(dice, keys).into(),
    }
    call.access.sort_by_key(|access| access.key);
    call.access.dedup_by_key(|access| access.key);
}

fn any_account(dice: &mut Dice, keys: &[SecretKey]) -> Address {
    keys[dice.below(keys.len())].public_key().address()
}

fn trader(dice: &mut Dice, keys: &[SecretKey]) -> Address {
    keys[dice.below(TRADERS)].public_key().address()
}

/// What a trader issued, or a part of it.
fn any_object(dice: &mut Dice, keys: &[SecretKey]) -> ObjectId {
    let object = ObjectId::issued(&trader(dice, keys), dice.below(2) as u64);
    if dice.percent(40) { ObjectId::part(&object, dice.below(2) as u64) } else { object }
}

fn step(dice: &mut Dice, keys: &[SecretKey], time: u64) -> Step {
    let (object, quantity) = (any_object(dice, keys), dice.below(40) as u128);
    let (one, other) = (trader(dice, keys), trader(dice, keys));
    let resource = Digest::sha256(&[dice.below(2) as u8]);
    match dice.below(13) {
        0 | 1 => Step::Pay {
            from: one,
            to: if dice.percent(50) { any_account(dice, keys) } else { other },
            amount: Amount(quantity),
        },
        2..=4 => {
            let rights = ObjectRights { transferable: dice.percent(80), divisible: dice.percent(80) };
            let (salt, content) = (dice.below(2) as u64, Digest::sha256(b"content"));
            Step::Create { issuer: one, salt, owner: other, quantity: Amount(3 * quantity), rights, content }
        }
        5 | 6 => Step::Transfer { object, to: other },
        7 => Step::Split { object, salt: dice.below(2) as u64, quantity: Amount(quantity) },
        8 => {
            let object = ObjectId::issued(&one, dice.below(2) as u64);
            let part = ObjectId::part(&object, dice.below(2) as u64);
            let into = if dice.percent(80) { part } else { any_object(dice, keys) };
            if dice.percent(50) { Step::Merge { object, into } } else { Step::Merge { object: into, into: object } }
        }
        9 => Step::Burn { object },
        step @ 10..=12 => {
            // Between few parties, most often for all there is to give.
            let (grantor, grantee) = (keys[dice.below(2)].public_key(), keys[1 + dice.below(2)].public_key());
            let (grantor, grantee) = (grantor.address(), grantee.address());
            let rights = dice.below(8) as u32;
            match step {
                10 => {
                    let expires = TimestampMs((time + dice.below(5_000) as u64).saturating_sub(100));
                    let rights = if rights == 0 { 0 } else { rights | 3 };
                    Step::Grant { grantor, grantee, resource, rights, expires }
                }
                11 => Step::Revoke { grantor, grantee, resource },
                _ => Step::Exercise { grantee, grantor, resource, rights: rights & 3, purpose: resource },
            }
        }
        _ => unreachable!("a die of thirteen sides"),
    }
}
