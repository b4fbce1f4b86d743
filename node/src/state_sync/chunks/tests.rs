//! Orders to scripted peers, with the clock cranked by hand, and a file that survives.

use super::*;
use types::{Digest, Height};

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
    assert_eq!(asked.iter().map(|order| order.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
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
    let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 10).map(|byte| (byte / 7) as u8).collect();
    let chunks: Vec<Digest> = content.chunks(CHUNK_BYTES).map(chunk_digest).collect();
    let manifest = Manifest { height: Height(1), header: Digest::ZERO, bytes: content.len() as u64, chunks };
    let (file, missing) = open(&path, &manifest).expect("a new file");
    assert_eq!(missing, BTreeSet::from([0, 1, 2]));
    let chunk = |index: usize| content.chunks(CHUNK_BYTES).nth(index).expect("three chunks");
    assert_eq!(store(&file, &manifest, 2, chunk(2)).expect("room"), Outcome::Stored);
    assert_eq!(store(&file, &manifest, 0, chunk(0)).expect("room"), Outcome::Stored);
    assert_eq!(store(&file, &manifest, 1, chunk(0)).expect("room"), Outcome::Lied);
    assert_eq!(store(&file, &manifest, 3, chunk(0)).expect("room"), Outcome::Lied);
    drop(file);
    assert_eq!(open(&path, &manifest).expect("the file").1, BTreeSet::from([1]));
}
