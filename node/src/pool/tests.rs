//! The pool by scenario.

use super::*;
use crate::fixtures::transfer;

fn pending(nonce: u64) -> Pending {
    Pending { transaction: transfer(nonce, 10_000), origin: Origin::Rpc }
}

fn enter(pool: &Pool, nonce: u64) {
    let pending = pending(nonce);
    pool.reserve(pending.transaction.id()).expect("there is room");
    pool.settle([(pending, true)]);
}

#[test]
fn a_transaction_enters_once_until_it_is_executed() {
    let pool = Pool::new(10, 1 << 20);
    enter(&pool, 1);
    let id = pending(1).transaction.id();
    assert_eq!(pool.reserve(id), Err(Refusal::Duplicate), "it waits");
    let (taken, _) = pool.take(10, 1 << 20, TimestampMs(0));
    assert_eq!(taken.len(), 1);
    assert_eq!(pool.reserve(id), Err(Refusal::Duplicate), "an own block holds it");
    pool.forget([id]);
    assert_eq!(pool.reserve(id), Ok(()), "from here on the ledger remembers it");
}

#[test]
fn places_are_counted_from_the_moment_they_are_reserved() {
    let pool = Pool::new(2, 1 << 20);
    let ids: Vec<_> = (0..3).map(|nonce| pending(nonce).transaction.id()).collect();
    assert_eq!(pool.reserve(ids[0]), Ok(()));
    assert_eq!(pool.reserve(ids[1]), Ok(()));
    assert_eq!(pool.reserve(ids[2]), Err(Refusal::Full));
    pool.cancel(&ids[..1]);
    assert_eq!(pool.reserve(ids[2]), Ok(()));
}

#[test]
fn an_invalid_transaction_leaves_no_trace() {
    let pool = Pool::new(1, 1 << 20);
    let id = pending(0).transaction.id();
    pool.reserve(id).expect("there is room");
    pool.settle([(pending(0), false)]);
    assert_eq!((pool.len(), pool.reserve(id)), (0, Ok(())));
}

#[test]
fn a_block_takes_the_oldest_within_its_limits_and_leaves_out_what_expired() {
    let pool = Pool::new(10, 1 << 20);
    (0..4).for_each(|nonce| enter(&pool, nonce));
    let bytes = pending(0).transaction.raw().len() + 4;
    let (taken, expired) = pool.take(10, 2 * bytes, TimestampMs(10_000));
    let nonces: Vec<_> = taken.iter().map(|pending| pending.transaction.nonce()).collect();
    assert_eq!((nonces, expired.len()), (vec![0, 1], 0));
    let (taken, expired) = pool.take(10, 1 << 20, TimestampMs(10_001));
    assert_eq!((taken.len(), expired.len(), pool.len()), (0, 2, 0));
}

#[test]
fn transactions_of_a_lost_block_come_first_and_in_their_order() {
    let pool = Pool::new(10, 1 << 20);
    (0..3).for_each(|nonce| enter(&pool, nonce));
    let (lost, _) = pool.take(2, 1 << 20, TimestampMs(0));
    pool.put_back(lost);
    let (taken, _) = pool.take(10, 1 << 20, TimestampMs(0));
    let nonces: Vec<_> = taken.iter().map(|pending| pending.transaction.nonce()).collect();
    assert_eq!(nonces, [0, 1, 2]);
}

#[test]
fn what_waits_and_what_own_blocks_give_back_outlives_the_sessions_that_it_came_from() {
    let pool = Pool::new(10, 1 << 20);
    for nonce in 0..3 {
        let pending = Pending { origin: Origin::Session { session: 5, sequence: nonce }, ..pending(nonce) };
        pool.reserve(pending.transaction.id()).expect("there is room");
        pool.settle([(pending, true)]);
    }
    let (block, _) = pool.take(2, 1 << 20, TimestampMs(0));
    pool.put_back(block);
    pool.outlive_sessions();
    let (taken, _) = pool.take(10, 1 << 20, TimestampMs(0));
    let expected: Vec<_> = (0..3).map(|nonce| pending(nonce).transaction.id()).collect();
    assert_eq!(taken.iter().map(|pending| pending.transaction.id()).collect::<Vec<_>>(), expected);
    assert!(taken.iter().all(|pending| pending.origin == Origin::Rpc), "a session of the same number is another one");
}
