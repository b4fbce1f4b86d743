//! Orders to scripted peers, with the clock cranked by hand, and a file that survives.

use super::*;
use crate::fixtures::{commits, header_over, packed};
use ledger::Account;
use types::{Address, Amount, Digest};

fn peers(indices: &[u16]) -> BTreeSet<AuthorityIndex> {
    indices.iter().map(|index| AuthorityIndex(*index)).collect()
}

fn plan(chunks: u32, of: &[u16]) -> Chunks {
    Chunks::new((0..chunks).collect(), &peers(of))
}

fn orders(plan: &mut Chunks, now_ms: u64) -> Vec<Order> {
    std::iter::from_fn(|| plan.next(now_ms)).collect()
}

#[test]
fn chunks_are_asked_of_all_peers_at_once_and_of_each_only_some() {
    let asked = orders(&mut plan(100, &[0, 1, 2]), 0);
    let expected: Vec<u32> = (0..3 * PER_PEER_MAX as u32).collect();
    assert_eq!(asked.iter().map(|order| order.index).collect::<Vec<_>>(), expected);
    for peer in 0..3 {
        assert_eq!(asked.iter().filter(|order| order.peer == AuthorityIndex(peer)).count(), PER_PEER_MAX);
    }
}

#[test]
fn the_chunk_of_a_liar_is_asked_of_another_and_he_is_asked_no_more() {
    let mut plan = plan(3, &[0, 1]);
    let asked = orders(&mut plan, 0);
    let lie = asked[0];
    plan.ended(1, lie, Outcome::Lied);
    asked[1..].iter().for_each(|order| plan.ended(1, *order, Outcome::Stored));
    let again = orders(&mut plan, 1);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].index, lie.index);
    assert_ne!(again[0].peer, lie.peer);
    plan.ended(2, again[0], Outcome::Stored);
    assert!(plan.is_asked());
    assert_eq!(plan.peers().len(), 1);
}

#[test]
fn a_peer_that_is_gone_is_given_up_after_some_tries_and_with_the_last_one_everything() {
    let mut plan = plan(1, &[7]);
    let mut tries = 0;
    for now_ms in (0..60_000).step_by(50) {
        if let Some(order) = plan.next(now_ms) {
            tries += 1;
            plan.ended(now_ms, order, Outcome::Failed);
        }
    }
    assert_eq!(tries, FAILURES_MAX + 1);
    assert!(plan.is_abandoned() && !plan.is_asked());
}

#[test]
fn after_a_crash_only_what_is_not_whole_is_missing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("stream");
    let mut accounts: Vec<_> = (0..10_000u32)
        .map(|index| Address::from_bytes(*Digest::sha256(&index.to_le_bytes()).as_bytes()))
        .map(|address| (address, Account { balance: Amount(7), transfers_out: 0 }))
        .collect();
    accounts.sort_unstable_by_key(|(address, _)| *address);
    let (manifest, chunk) = packed(&accounts, &header_over(&commits(30)));
    assert_eq!(chunk.len(), 3, "of 57 bytes a row");
    let (file, missing) = open(&path, &manifest).expect("a new file");
    assert_eq!(missing, BTreeSet::from([0, 1, 2]));
    assert_eq!(store(&file, &manifest, 2, &chunk[2]).expect("room"), Outcome::Stored);
    assert_eq!(store(&file, &manifest, 0, &chunk[0]).expect("room"), Outcome::Stored);
    drop(file);
    let (file, missing) = open(&path, &manifest).expect("the file");
    assert_eq!(missing, BTreeSet::from([1]));
    // A torn write over a chunk that was whole.
    file.write_all_at(&[0; 100], 50).expect("room");
    assert_eq!(open(&path, &manifest).expect("the file").1, BTreeSet::from([0, 1]));
}

#[test]
fn a_chunk_that_is_another_cut_grown_flipped_or_a_bomb_is_a_lie() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let accounts: Vec<_> = (0..200u8)
        .map(|index| (Address::from_bytes([index; 32]), Account { balance: Amount(index.into()), transfers_out: 0 }))
        .collect();
    let header = header_over(&commits(30));
    let (manifest, chunk) = packed(&accounts, &header);
    let (_, other) = packed(&accounts[..199], &header);
    let (file, _) = open(&dir.path().join("stream"), &manifest).expect("a new file");
    let lies = |packed: &[u8], index| store(&file, &manifest, index, packed).expect("room") == Outcome::Lied;
    assert!(lies(&other[0], 0), "of another state");
    assert!(lies(&chunk[0], 1), "there is no second");
    assert!(lies(&[], 0));
    let (rows, mut told) = (pack::unpack(&manifest.chunks[0], &chunk[0]).expect("its rows"), 0);
    for at in 0..chunk[0].len() {
        assert!(lies(&chunk[0][..at], 0), "cut at {at}");
        let mut flipped = chunk[0].clone();
        flipped[at] ^= 1 << (at % 8);
        // Some flips unpack to the very same rows, as zeros that are taken from elsewhere.
        let same = pack::unpack(&manifest.chunks[0], &flipped).ok() == Some(rows.clone());
        assert!(same || lies(&flipped, 0), "flipped at {at}");
        told += usize::from(!same);
    }
    assert!(told > chunk[0].len() / 2);
    assert!(lies(&[&chunk[0][..], &[0]].concat(), 0), "grown");
    // It claims four gigabytes, and is refused before anything is allocated.
    assert!(lies(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], 0));
    assert!(lies(&vec![0; PACKED_BYTES_MAX + 1], 0));
    assert!(!lies(&chunk[0], 0));
}
