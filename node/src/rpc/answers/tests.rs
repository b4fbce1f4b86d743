//! A small ledger in a temporary directory, and queries on it.

use super::*;
use client::rpc::OutcomeInfo;
use ledger::{Account, proof};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::state::{StateDb, StateOptions};
use types::{
    Amount, Authority, Certificate, ChainId, Committee, Epoch, HeaderStatement, HeaderVote, Outcome, Reject, Round,
    RoundStatement, SecretKey, Stake, TimestampMs, block::votes_digest,
};

/// Heights with transactions, the first of each rejected and the others applied. Every transaction certifies one document.
pub(in crate::rpc) struct Chain {
    pub(in crate::rpc) tables: Tables,
    pub(in crate::rpc) id: ChainId,
    pub(in crate::rpc) committee: Committee,
    key: SecretKey,
    _dir: tempfile::TempDir,
}

pub(in crate::rpc) fn a_document() -> Digest {
    Digest::sha256(b"a document")
}

pub(in crate::rpc) fn an_account() -> Address {
    Address::from_bytes([7; 32])
}

impl Chain {
    /// With this many transactions at heights 1, 2, …
    pub(in crate::rpc) fn with_heights(counts: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let db = StateDb::open(dir.path(), [1; 32], StateOptions::default()).expect("a new database");
        let key = SecretKey::ed25519_from_seed([1; 32]);
        let address = "127.0.0.1:1".parse().expect("an address");
        let authority = Authority {
            name: "only".to_owned(),
            consensus_key: key.public_key(),
            transport_key: SecretKey::ed25519_from_seed([2; 32]).public_key(),
            stake: Stake(1),
            peer_address: address,
            client_address: address,
            rpc_address: address,
        };
        let committee = Committee::new(Epoch(1), vec![authority]).expect("a committee of one");
        let id = ChainId(Digest::sha256(b"a chain"));
        let chain = Self { tables: Tables::new(Arc::new(db)), id, committee, key, _dir: dir };
        chain.execute(Height(0), 0);
        for (height, count) in counts.iter().enumerate() {
            chain.execute(Height(height as u64 + 1), *count);
        }
        chain
    }

    pub(in crate::rpc) fn execute(&self, height: Height, count: u8) {
        let id = |index| TransactionId(Digest::sha256(&[height.0 as u8, index]));
        let outcome = |index| if index == 0 { Outcome::Rejected(Reject::Overdraft) } else { Outcome::Applied };
        let receipts: Vec<_> =
            (0..count).map(|index| Receipt { transaction: id(index), outcome: outcome(index) }).collect();
        let header = LedgerHeader {
            version: types::header::HEADER_VERSION,
            chain: self.id,
            epoch: Epoch(1),
            committee: self.committee.digest(),
            height,
            previous: Digest::ZERO,
            commit: Digest::ZERO,
            transaction_root: proof::transaction_root(receipts.iter().map(|receipt| receipt.transaction)),
            receipt_root: proof::receipt_root(&receipts),
            state_digest: Digest::ZERO,
            state_root: Digest::ZERO,
            timestamp: TimestampMs(1_000 + height.0),
            next_committee: None,
        };
        let mut batch = self.tables.batch();
        batch.height(&header, None, &receipts);
        batch.value(
            &an_account().into(),
            Some(&Account { balance: Amount::from(100 + height.0), transfers_out: 0 }.into()),
        );
        for (index, receipt) in receipts.iter().enumerate() {
            let place = Place { height, index: index as u32 };
            batch.place(&receipt.transaction, place);
            batch.document(&a_document(), place);
        }
        self.tables.commit(batch).expect("written");
    }

    /// What a client trusts in.
    pub(in crate::rpc) fn trusted(&self) -> types::EpochChain {
        let (committee, parameters) = (self.committee.clone(), types::Parameters::default());
        let anchor = types::Anchor::genesis(TimestampMs(1_000));
        types::EpochChain::new(self.id, types::EpochStart { committee, parameters, anchor })
    }

    pub(in crate::rpc) fn certify(&self, height: Height) {
        let header = self.tables.header(height).expect("readable").expect("executed");
        let vote = HeaderVote { height, header: header.digest() };
        let statement = RoundStatement {
            chain: self.id,
            epoch: Epoch(1),
            round: Round(9),
            author: AuthorityIndex(0),
            body_digest: Digest::ZERO,
            votes_digest: votes_digest(&[vote]),
        };
        let signed = HeaderStatement {
            round: statement.round,
            author: statement.author,
            body_digest: statement.body_digest,
            votes: vec![vote],
            signature: self.key.sign(&statement.message()).into(),
        };
        let mut batch = self.tables.batch();
        batch.certificate(&Certificate { vote, statements: vec![signed] });
        self.tables.commit(batch).expect("written");
    }

    pub(in crate::rpc) fn ids(&self, height: Height) -> Vec<TransactionId> {
        let receipts = self.tables.receipts(height).expect("readable").expect("executed");
        receipts.iter().map(|receipt| receipt.transaction).collect()
    }
}

#[test]
fn an_account_is_told_with_the_height_that_it_has_even_when_the_tip_is_old() {
    let chain = Chain::with_heights(&[1, 1, 1]);
    for tip in 0..=3 {
        let info = account(&chain.tables, &an_account(), Height(tip)).expect("readable").expect("an account");
        assert_eq!((info.balance, info.height), (Amount(103), Height(3)));
    }
    assert_eq!(account(&chain.tables, &Address::from_bytes([8; 32]), Height(0)).expect("readable"), None);
}

#[test]
fn a_transaction_is_found_at_its_place() {
    let chain = Chain::with_heights(&[2, 3]);
    let id = chain.ids(Height(2))[2];
    let info = transaction(&chain.tables, &id).expect("readable").expect("executed");
    assert_eq!((info.id, info.height, info.index, info.time_ms), (id, Height(2), 2, 1_002));
    assert_eq!(info.outcome, OutcomeInfo::Applied);
    let rejected = transaction(&chain.tables, &chain.ids(Height(2))[0]).expect("readable").expect("executed");
    assert_eq!(rejected.outcome, OutcomeInfo::Rejected(Reject::Overdraft));
    assert_eq!(transaction(&chain.tables, &TransactionId(a_document())).expect("readable"), None);
}

#[test]
fn all_transactions_of_a_document_come_oldest_first() {
    let chain = Chain::with_heights(&[2, 0, 3]);
    let found = document(&chain.tables, &a_document()).expect("readable");
    let places: Vec<_> = found.iter().map(|info| (info.height.0, info.index)).collect();
    assert_eq!(places, [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]);
    assert_eq!(found.iter().map(|info| info.id).collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(document(&chain.tables, &Digest::sha256(b"another")).expect("readable"), []);
}

#[test]
fn a_header_has_its_certificate_once_there_is_one() {
    let chain = Chain::with_heights(&[1]);
    let before = header(&chain.tables, Height(1)).expect("readable").expect("executed");
    assert_eq!(before.certificate, None);
    assert_eq!(before.encoded.decode::<LedgerHeader>().expect("canonical").digest(), before.digest);
    chain.certify(Height(1));
    let after = header(&chain.tables, Height(1)).expect("readable").expect("executed");
    let certificate = after.certificate.expect("certified");
    client::verify_header(&after.encoded, &certificate, chain.id, &chain.committee).expect("the certificate holds");
    assert_eq!(header(&chain.tables, Height(2)).expect("readable"), None);
}

#[test]
fn a_place_whose_receipts_are_gone_is_a_fault_and_no_panic() {
    let chain = Chain::with_heights(&[1]);
    let mut batch = chain.tables.batch();
    let id = TransactionId(Digest::sha256(b"lost"));
    batch.place(&id, Place { height: Height(1), index: 5 });
    batch.place(&TransactionId(a_document()), Place { height: Height(9), index: 0 });
    chain.tables.commit(batch).expect("written");
    assert!(matches!(transaction(&chain.tables, &id), Err(AnswerError::Incomplete(Height(1)))));
    let missing = transaction(&chain.tables, &TransactionId(a_document()));
    assert!(matches!(missing, Err(AnswerError::Incomplete(Height(9)))));
}
