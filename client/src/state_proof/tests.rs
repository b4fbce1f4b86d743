//! Proofs of state hold as they were made and fail when any part is exchanged; and the vectors of `docs/vectors`, which
//! another implementation can be held against, are what this one makes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::rpc::{HexBytes, ProofInfo};
use crate::{ProofError, verify_proof};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::block::votes_digest;
use types::merkle::leaf_hash;
use types::snapshot::{RowKind, RowProof, put_row};
use types::{
    Address, Amount, Authority, AuthorityIndex, Certificate, ChainId, Digest, Encode, Genesis, GrantId,
    HeaderStatement, HeaderVote, MerkleProof, ObjectId, ObjectRights, Outcome, Parameters, Receipt, Reject, Round,
    RoundStatement, SecretKey, Stake, StateChunk, StateManifest, StateProofError, StateSummary, TransactionId,
    merkle_root,
};

fn key(index: u16) -> SecretKey {
    SecretKey::ed25519_from_seed([index as u8 + 1; 32])
}

fn genesis() -> Genesis {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let validator = |index: u16| Authority {
        name: format!("validator-{index}"),
        consensus_key: key(index).public_key(),
        transport_key: SecretKey::ed25519_from_seed([50 + index as u8; 32]).public_key(),
        stake: Stake(1),
        peer_address: address(7000 + index),
        client_address: address(7100 + index),
        rpc_address: address(7200 + index),
    };
    Genesis {
        ceremonies: Vec::new(),
        name: "vectors".into(),
        created_ms: 1_000,
        signature_algorithms: vec!["ed25519".into()],
        parameters: Parameters { snapshot_interval_heights: 16, ..Parameters::default() },
        governance: Default::default(),
        validators: (0..4).map(validator).collect(),
        accounts: vec![types::Allocation { address: account(10), balance: balance(10) }],
    }
}

fn account(first: u8) -> Address {
    Address::from_bytes([first; 32])
}

fn object() -> (StateKey, Object) {
    let content = Digest::sha256(b"what it is");
    let rights = ObjectRights { transferable: true, divisible: false };
    let object =
        Object { owner: account(10), issuer: account(20), asset: content, content, quantity: Amount(7), rights };
    (ObjectId::from_bytes([25; 32]).into(), object)
}

fn grant() -> (StateKey, Grant) {
    let (grantor, grantee, resource) = (account(10), account(20), Digest::sha256(b"a file"));
    let (expires, audit) = (TimestampMs(9_000), Digest::sha256(b"trail"));
    let grant = Grant { grantor, grantee, resource, rights: 3, expires, entries: 1, audit };
    (GrantId::from_bytes([45; 32]).into(), grant)
}

/// More than 64 bits hold.
fn balance(first: u8) -> Amount {
    Amount(u128::from(first) * 10u128.pow(29))
}

/// A state of four accounts, an object and a grant, in chunks of three rows, behind height 16.
struct State {
    chunks: Vec<Vec<Vec<u8>>>,
    manifest: StateManifest,
}

impl State {
    fn new(header: &LedgerHeader) -> Self {
        let mut values: Vec<(StateKey, Vec<u8>)> = [10, 20, 30, 40]
            .map(|first| (account(first).into(), balance(first), u64::from(first) / 10))
            .map(|(key, balance, transfers)| (key, [balance.to_bytes(), transfers.to_bytes()].concat()))
            .into();
        values.push((object().0, object().1.to_bytes()));
        values.push((grant().0, grant().1.to_bytes()));
        values.sort_by_key(|(key, _)| key.to_row_key());
        let row = |(key, value): &(StateKey, Vec<u8>)| {
            let mut row = Vec::new();
            put_row(&mut row, RowKind::Value, &key.to_row_key(), value);
            row
        };
        let rows: Vec<Vec<u8>> = values.iter().map(row).collect();
        let chunks: Vec<Vec<Vec<u8>>> = rows.chunks(3).map(<[_]>::to_vec).collect();
        let described = |rows: &Vec<Vec<u8>>| StateChunk {
            rows: rows.len() as u32,
            bytes: rows.iter().map(Vec::len).sum::<usize>() as u32,
            root: merkle_root(rows),
        };
        let described: Vec<StateChunk> = chunks.iter().map(described).collect();
        let summary = StateSummary {
            chain: header.chain,
            height: header.height,
            header: header.digest(),
            timestamp: header.timestamp,
            rows: rows.len() as u64,
            bytes: rows.iter().map(|row| row.len() as u64).sum(),
            chunks: described.len() as u32,
            chunk_root: StateManifest::root_of(&described),
        };
        Self { chunks, manifest: StateManifest { summary, chunks: described } }
    }

    fn proof(&self, rows: &[usize]) -> StateProof {
        let row = |index: &usize| {
            let (chunk, row) = (index / 3, index % 3);
            let leaves = self.chunks[chunk].iter().map(|row| leaf_hash(row)).collect();
            let chunks = self.manifest.chunks.iter().map(|chunk| leaf_hash(&chunk.to_bytes())).collect();
            RowProof {
                row: self.chunks[chunk][row].clone(),
                in_chunk: MerkleProof::build(leaves, row).unwrap(),
                chunk: self.manifest.chunks[chunk],
                in_state: MerkleProof::build(chunks, chunk).unwrap(),
            }
        };
        StateProof { summary: self.manifest.summary.clone(), rows: rows.iter().map(row).collect() }
    }
}

fn receipts() -> Vec<Receipt> {
    let outcome = |index| if index == 1 { Outcome::Rejected(Reject::Overdraft) } else { Outcome::Applied };
    (0..3)
        .map(|index| Receipt { transaction: TransactionId(Digest::sha256(&[index])), outcome: outcome(index) })
        .collect()
}

fn header(height: u64, state_root: Digest) -> LedgerHeader {
    let genesis = genesis();
    LedgerHeader {
        version: types::header::HEADER_VERSION,
        chain: genesis.chain_id(),
        epoch: types::Epoch(1),
        committee: genesis.committee().unwrap().digest(),
        height: Height(height),
        previous: Digest::sha256(b"previous"),
        commit: Digest::sha256(b"commit"),
        transaction_root: merkle_root(receipts().iter().map(|receipt| receipt.transaction.to_bytes())),
        receipt_root: merkle_root(receipts().iter().map(Encode::to_bytes)),
        state_digest: Digest::sha256(b"the sum over the state"),
        state_root,
        timestamp: TimestampMs(1_000 + height),
        next_committee: None,
    }
}

fn certificate(header: &LedgerHeader, signers: &[u16]) -> Certificate {
    let vote = HeaderVote { height: header.height, header: header.digest() };
    let statement = |author: &u16| {
        let votes = vec![vote];
        let (round, body_digest) = (Round(90), Digest::sha256(&author.to_le_bytes()));
        let statement = RoundStatement {
            chain: header.chain,
            epoch: header.epoch,
            round,
            author: AuthorityIndex(*author),
            body_digest,
            votes_digest: votes_digest(&votes),
        };
        let signature = key(*author).sign(&statement.message()).into();
        HeaderStatement { round, author: AuthorityIndex(*author), body_digest, votes, signature }
    };
    Certificate { vote, statements: signers.iter().map(statement).collect() }
}

fn info(proof: &StateProof, header: &LedgerHeader, certificate: &Certificate) -> StateProofInfo {
    StateProofInfo {
        proof: HexBytes::encode(proof),
        header: HexBytes::encode(header),
        certificate: HexBytes::encode(certificate),
        epochs: Vec::new(),
    }
}

/// The state behind height 16, and the header of height 24 with its root.
fn scene() -> (State, LedgerHeader) {
    let state = State::new(&header(16, Digest::ZERO));
    let root = header(24, state.manifest.root());
    (state, root)
}

fn trusted() -> EpochChain {
    EpochChain::from_genesis(&genesis()).unwrap()
}

#[test]
fn what_the_state_holds_is_proven_from_genesis_and_so_is_that_it_holds_nothing() {
    let (state, root) = scene();
    let certificate = certificate(&root, &[0, 1, 2]);
    let says = |rows: &[usize], key: StateKey| {
        verify_state_proof(&info(&state.proof(rows), &root, &certificate), &key, &trusted())
    };
    let proven = says(&[0], account(10).into()).unwrap();
    assert_eq!(proven.value, Some(StateValue::Account { balance: balance(10), transfers_out: 1 }));
    assert_eq!((proven.height, proven.time, proven.root_height), (Height(16), TimestampMs(1_016), Height(24)));
    assert_eq!(says(&[2], object().0).unwrap().value, Some(StateValue::Object(object().1)));
    assert_eq!(says(&[5], grant().0).unwrap().value, Some(StateValue::Grant(grant().1)));
    assert_eq!(says(&[2, 3], account(26).into()).unwrap().value, None, "across the seam of two chunks");
    assert_eq!(says(&[5], account(50).into()).unwrap().value, None);
    let forged = Err(ProofError::State(StateProofError::OtherRows));
    assert_eq!(says(&[1, 3], object().0), forged, "what stands between is left out");
    assert_eq!(says(&[0], account(20).into()), forged);
}

#[test]
fn a_root_that_no_quorum_of_this_ledger_signed_proves_nothing() {
    let (state, root) = scene();
    let (proof, key) = (state.proof(&[0]), StateKey::from(account(10)));
    let says = |header: &LedgerHeader, certificate: &Certificate| {
        verify_state_proof(&info(&proof, header, certificate), &key, &trusted())
    };
    assert!(says(&root, &certificate(&root, &[0, 1, 2])).is_ok());
    assert!(matches!(says(&root, &certificate(&root, &[0, 1])), Err(ProofError::Certificate(_))));
    let other = LedgerHeader { state_root: Digest::sha256(b"another"), ..root.clone() };
    assert_eq!(says(&other, &certificate(&other, &[0, 1, 2])), Err(ProofError::State(StateProofError::OtherState)));
    assert_eq!(says(&other, &certificate(&root, &[0, 1, 2])), Err(ProofError::OtherHeader));
    // A header whose root is over a state of a later height, or of another ledger: nobody honest signs one.
    let early = LedgerHeader { height: Height(16), ..root.clone() };
    assert!(says(&early, &certificate(&early, &[0, 1, 2])).is_err());
    let elsewhere = LedgerHeader { chain: ChainId(Digest::sha256(b"elsewhere")), ..root };
    assert!(matches!(says(&elsewhere, &certificate(&elsewhere, &[0, 1, 2])), Err(ProofError::OtherChain(_))));
}

/// What stands in `docs/vectors/proofs.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vectors {
    genesis_chain_id: ChainId,
    header: HexBytes,
    header_digest: Digest,
    certificate: HexBytes,
    receipt: Vector<ProofInfo, TransactionId>,
    manifest: HexBytes,
    state_root: Digest,
    present: Vector<StateProofInfo, StateKey>,
    object: Vector<StateProofInfo, StateKey>,
    absent: Vector<StateProofInfo, StateKey>,
    absent_behind_the_last: Vector<StateProofInfo, StateKey>,
    forged_neighbours: Vector<StateProofInfo, StateKey>,
}

/// A proof, and what it is about.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector<P, K> {
    of: K,
    holds: bool,
    proof: P,
}

fn vectors() -> Vectors {
    let (state, root) = scene();
    let certificate = certificate(&root, &[0, 2, 3]);
    let vector = |rows: &[usize], of: StateKey, holds| Vector {
        of,
        holds,
        proof: info(&state.proof(rows), &root, &certificate),
    };
    let inclusion = |leaves: Vec<Vec<u8>>| {
        let leaves = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        HexBytes::encode(&MerkleProof::build(leaves, 1).unwrap())
    };
    let receipt = ProofInfo {
        receipt: HexBytes::encode(&receipts()[1]),
        transaction_proof: inclusion(receipts().iter().map(|receipt| receipt.transaction.to_bytes()).collect()),
        receipt_proof: inclusion(receipts().iter().map(Encode::to_bytes).collect()),
        header: HexBytes::encode(&root),
        certificate: HexBytes::encode(&certificate),
        epochs: Vec::new(),
    };
    Vectors {
        genesis_chain_id: genesis().chain_id(),
        header: HexBytes::encode(&root),
        header_digest: root.digest(),
        certificate: HexBytes::encode(&certificate),
        receipt: Vector { of: receipts()[1].transaction, holds: true, proof: receipt },
        manifest: HexBytes::encode(&state.manifest),
        state_root: state.manifest.root(),
        present: vector(&[0], account(10).into(), true),
        object: vector(&[2], object().0, true),
        absent: vector(&[2, 3], account(26).into(), true),
        absent_behind_the_last: vector(&[5], account(50).into(), true),
        forged_neighbours: vector(&[1, 3], object().0, false),
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

#[test]
fn the_vectors_are_what_this_implementation_makes_and_each_says_what_it_should() {
    let text = std::fs::read_to_string(folder().join("genesis.toml")).unwrap();
    let genesis = Genesis::from_toml(&text).unwrap();
    let text = std::fs::read_to_string(folder().join("proofs.json")).unwrap();
    let read: Vectors = serde_json::from_str(&text).unwrap();
    assert_eq!(read, vectors());
    assert_eq!(genesis.chain_id(), read.genesis_chain_id);
    let trusted = EpochChain::from_genesis(&genesis).unwrap();
    assert!(verify_proof(&read.receipt.proof, &read.receipt.of, &trusted).is_ok());
    for vector in [&read.present, &read.object, &read.absent, &read.absent_behind_the_last, &read.forged_neighbours] {
        assert_eq!(verify_state_proof(&vector.proof, &vector.of, &trusted).is_ok(), vector.holds, "{}", vector.of);
    }
    let manifest: StateManifest = read.manifest.decode().unwrap();
    assert_eq!(manifest.root(), read.state_root);
}

/// The vectors: `cargo test -p stele-client -- --ignored write_the_vectors`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_vectors() {
    std::fs::write(folder().join("genesis.toml"), genesis().to_toml()).unwrap();
    let text = serde_json::to_string_pretty(&vectors()).unwrap();
    std::fs::write(folder().join("proofs.json"), text + "\n").unwrap();
}
