//! Which heights have snapshots and roots; proofs of presence and absence, and every way to forge one that came to mind.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::merkle::{MerkleProof, leaf_hash, root_of_hashes};
use crate::{Address, StateKey};

/// A state of accounts with these first bytes in their addresses, `per_chunk` rows a chunk.
struct State {
    chunks: Vec<Vec<Vec<u8>>>,
    manifest: StateManifest,
}

fn key(first: u8) -> StateKey {
    Address::from_bytes([first; 32]).into()
}

fn state(accounts: &[u8], per_chunk: usize) -> State {
    let row = |first: &u8| {
        let mut row = Vec::new();
        put_row(&mut row, RowKind::Value, &key(*first).to_row_key(), &[*first, 1]);
        row
    };
    let rows: Vec<Vec<u8>> = accounts.iter().map(row).collect();
    let chunks: Vec<Vec<Vec<u8>>> = rows.chunks(per_chunk).map(<[_]>::to_vec).collect();
    let described = |rows: &Vec<Vec<u8>>| StateChunk {
        rows: rows.len() as u32,
        bytes: rows.iter().map(Vec::len).sum::<usize>() as u32,
        root: merkle_root(rows),
    };
    let entries: Vec<StateChunk> = chunks.iter().map(described).collect();
    let summary = StateSummary {
        chain: ChainId(Digest::sha256(b"ledger")),
        height: Height(64),
        header: Digest::sha256(b"header"),
        timestamp: TimestampMs(5),
        rows: accounts.len() as u64,
        bytes: rows.iter().map(|row| row.len() as u64).sum(),
        chunks: entries.len() as u32,
        chunk_root: StateManifest::root_of(&entries),
    };
    State { chunks, manifest: StateManifest { summary, chunks: entries } }
}

impl State {
    fn row(&self, chunk: usize, row: usize) -> RowProof {
        let rows = &self.chunks[chunk];
        let leaves = rows.iter().map(|row| leaf_hash(row)).collect();
        let chunks = self.manifest.chunks.iter().map(|chunk| leaf_hash(&chunk.to_bytes())).collect();
        RowProof {
            row: rows[row].clone(),
            in_chunk: MerkleProof::build(leaves, row).unwrap(),
            chunk: self.manifest.chunks[chunk],
            in_state: MerkleProof::build(chunks, chunk).unwrap(),
        }
    }

    fn proof(&self, rows: &[(usize, usize)]) -> StateProof {
        let rows = rows.iter().map(|(chunk, row)| self.row(*chunk, *row)).collect();
        StateProof { summary: self.manifest.summary.clone(), rows }
    }

    fn says(&self, rows: &[(usize, usize)], first: u8) -> Result<Option<Vec<u8>>, StateProofError> {
        let proof = StateProof::from_bytes(&self.proof(rows).to_bytes()).expect("it is read as it was written");
        proof.verify(&key(first), &self.manifest.root()).map(|value| value.map(<[u8]>::to_vec))
    }
}

const FORGED: Result<Option<Vec<u8>>, StateProofError> = Err(StateProofError::OtherRows);

#[test]
fn snapshots_follow_the_anchor_and_roots_follow_half_an_interval_later() {
    let plan = SnapshotPlan::new(Height(100), 16);
    let taken: Vec<u64> = (90..150).filter(|height| plan.is_taken(Height(*height))).collect();
    assert_eq!(taken, [100, 116, 132, 148]);
    let due: Vec<(u64, u64)> =
        (90..150).filter_map(|height| plan.root_due(Height(height)).map(|of| (height, of.0))).collect();
    assert_eq!(due, [(108, 100), (124, 116), (140, 132)]);
    assert_eq!(plan.root_height(Height(116)), Height(124));
    assert_eq!((plan.last(Height(99)), plan.last(Height(131))), (None, Some(Height(116))));
    let none = SnapshotPlan::new(Height(0), 0);
    assert!((0..100).all(|height| !none.is_taken(Height(height)) && none.root_due(Height(height)).is_none()));
}

#[test]
fn a_row_is_proven_and_so_is_the_absence_of_one_at_every_place() {
    for per_chunk in [1, 2, 3, 10] {
        let accounts = [10, 20, 30, 40, 50, 60, 70];
        let state = state(&accounts, per_chunk);
        let at = |index: usize| (index / per_chunk, index % per_chunk);
        for (index, account) in accounts.iter().enumerate() {
            assert_eq!(state.says(&[at(index)], *account), Ok(Some(vec![*account, 1])));
            if index > 0 {
                assert_eq!(state.says(&[at(index - 1), at(index)], account - 5), Ok(None));
            }
        }
        assert_eq!(state.says(&[at(0)], 5), Ok(None), "before the first");
        assert_eq!(state.says(&[at(6)], 99), Ok(None), "behind the last");
    }
    assert_eq!(state(&[], 1).says(&[], 5), Ok(None));
}

#[test]
fn neighbours_that_are_none_prove_no_absence() {
    for per_chunk in [1, 2, 3, 10] {
        let state = state(&[10, 20, 30, 40, 50, 60, 70], per_chunk);
        let at = |index: usize| (index / per_chunk, index % per_chunk);
        assert_eq!(state.says(&[at(0), at(2)], 20), FORGED, "20 is left out");
        assert_eq!(state.says(&[at(0), at(2)], 15), FORGED, "not next to each other");
        assert_eq!(state.says(&[at(1), at(0)], 15), FORGED, "the wrong way round");
        assert_eq!(state.says(&[at(0), at(0)], 15), FORGED);
        assert_eq!(state.says(&[at(1)], 15), FORGED, "a row in the middle alone");
        assert_eq!(state.says(&[at(1)], 25), FORGED);
        assert_eq!(state.says(&[at(0)], 15), FORGED, "the first row says nothing of what follows it");
        assert_eq!(state.says(&[at(6)], 65), FORGED);
        assert_eq!(state.says(&[at(0), at(1)], 10), FORGED, "it is there");
        assert_eq!(state.says(&[at(0), at(1)], 25), FORGED, "another gap");
        assert_eq!(state.says(&[], 15), FORGED);
    }
}

#[test]
fn what_is_changed_anywhere_in_a_proof_no_longer_holds() {
    let state = state(&[10, 20, 30, 40, 50], 2);
    let root = state.manifest.root();
    let proof = state.proof(&[(0, 1), (1, 0)]);
    assert_eq!(proof.verify(&key(25), &root), Ok(None));
    assert_eq!(proof.verify(&key(25), &Digest::sha256(b"another")), Err(StateProofError::OtherState));
    let bytes = proof.to_bytes();
    for at in 0..bytes.len() {
        for bit in [0, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let verdict = StateProof::from_bytes(&flipped).ok().map(|proof| proof.verify(&key(25), &root).is_ok());
            assert_ne!(verdict, Some(true), "byte {at}");
        }
        assert!(StateProof::from_bytes(&bytes[..at]).is_err());
    }
    // A leaf of the tree of chunks passed off as a row, and rows of another state.
    let mut forged = state.proof(&[(0, 0)]);
    forged.rows[0].row = forged.rows[0].chunk.to_bytes();
    assert_eq!(forged.verify(&key(10), &root), Err(StateProofError::NotIncluded));
    let other = super::tests::state(&[10, 40, 50], 2);
    let mut forged = other.proof(&[(0, 0), (0, 1)]);
    forged.summary = state.manifest.summary.clone();
    assert_eq!(forged.verify(&key(25), &root), Err(StateProofError::NotIncluded));
}

#[test]
fn a_chunk_that_claims_fewer_rows_than_its_tree_has_proves_nothing() {
    // Whoever could choose the counts could make any row the last one.
    let state = state(&[10, 20, 30, 40], 4);
    let mut proof = state.proof(&[(0, 1)]);
    proof.rows[0].in_chunk.count = 2;
    assert_eq!(proof.verify(&key(25), &state.manifest.root()), Err(StateProofError::NotIncluded));
    proof.rows[0].chunk.rows = 2;
    assert_eq!(proof.verify(&key(25), &state.manifest.root()), Err(StateProofError::NotIncluded));
}

#[test]
fn a_manifest_adds_up_or_is_not_read() {
    let manifest = state(&[10, 20, 30, 40, 50], 2).manifest;
    assert_eq!(StateManifest::from_bytes(&manifest.to_bytes()), Ok(manifest.clone()));
    let refused = |change: &dyn Fn(&mut StateManifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        StateManifest::from_bytes(&changed.to_bytes()).is_err()
    };
    assert!(refused(&|manifest| manifest.chunks[1].root = Digest::ZERO));
    assert!(refused(&|manifest| manifest.chunks.swap(0, 1)));
    assert!(refused(&|manifest| manifest.chunks.truncate(2)));
    assert!(refused(&|manifest| manifest.chunks[0].rows += 1));
    assert!(refused(&|manifest| manifest.chunks[0].bytes = CHUNK_BYTES_MAX as u32 + 1));
    assert!(refused(&|manifest| manifest.summary.rows += 1));
    assert!(refused(&|manifest| manifest.summary.bytes += 1));
    let mut newer = manifest.to_bytes();
    newer[0] = STATE_VERSION + 1;
    assert_eq!(
        StateManifest::from_bytes(&newer),
        Err(DecodeError::UnknownTag { field: "state version", value: (STATE_VERSION + 1).into() })
    );
    assert_eq!(manifest.root(), manifest.summary.root());
    assert_eq!(
        root_of_hashes(manifest.chunks.iter().map(|chunk| leaf_hash(&chunk.to_bytes())).collect()),
        manifest.summary.chunk_root
    );
}
