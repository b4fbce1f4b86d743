//! A proof holds as it was made, and fails when any one part of it is exchanged.

use super::*;
use types::block::votes_digest;
use types::merkle::{leaf_hash, root_of_hashes};
use types::{
    Anchor, AuthorityIndex, Digest, EpochStart, HeaderStatement, HeaderVote, Parameters, Reject, Round, RoundStatement,
    SecretKey, Stake,
};

const COUNT: u64 = 5;

struct Ledger {
    chain: ChainId,
    committee: Committee,
    keys: Vec<SecretKey>,
}

fn ledger() -> Ledger {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::ed25519_from_seed([seed; 32])).collect();
    let validators = keys.iter().enumerate().map(|(index, key)| types::Authority {
        name: format!("node-{index}"),
        consensus_key: key.public_key(),
        transport_key: SecretKey::ed25519_from_seed([100 + index as u8; 32]).public_key(),
        stake: Stake(1),
        peer_address: ([127, 0, 0, 1], 1).into(),
        client_address: ([127, 0, 0, 1], 2).into(),
        rpc_address: ([127, 0, 0, 1], 3).into(),
    });
    let committee = Committee::new(Epoch(1), validators.collect()).expect("four validators");
    Ledger { chain: ChainId(Digest::sha256(b"a genesis")), committee, keys }
}

fn receipt(index: u64) -> Receipt {
    let outcome = if index == 2 { Outcome::Rejected(Reject::Overdraft) } else { Outcome::Applied };
    Receipt { transaction: TransactionId(Digest::sha256(&[index as u8])), outcome }
}

impl Ledger {
    fn header(&self) -> LedgerHeader {
        let root = |leaves: Vec<Vec<u8>>| root_of_hashes(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
        LedgerHeader {
            version: 1,
            chain: self.chain,
            epoch: self.committee.epoch(),
            committee: self.committee.digest(),
            height: Height(7),
            previous: Digest::sha256(b"previous"),
            commit: Digest::sha256(b"commit"),
            transaction_root: root((0..COUNT).map(|index| receipt(index).transaction.to_bytes()).collect()),
            receipt_root: root((0..COUNT).map(|index| receipt(index).to_bytes()).collect()),
            state_digest: Digest::sha256(b"state"),
            state_root: Digest::ZERO,
            timestamp: TimestampMs(1_000),
            next_committee: None,
        }
    }

    fn certificate(&self, header: &LedgerHeader, signers: &[u16]) -> Certificate {
        let vote = HeaderVote { height: header.height, header: header.digest() };
        let statements = signers.iter().map(|&author| {
            let votes = vec![vote];
            let statement = RoundStatement {
                chain: self.chain,
                epoch: self.committee.epoch(),
                round: Round(9),
                author: AuthorityIndex(author),
                body_digest: Digest::sha256(&[author as u8]),
                votes_digest: votes_digest(&votes),
            };
            let signature = self.keys[usize::from(author)].sign(&statement.message());
            HeaderStatement {
                round: statement.round,
                author: statement.author,
                body_digest: statement.body_digest,
                votes,
                signature: signature.into(),
            }
        });
        Certificate { vote, statements: statements.collect() }
    }

    fn proof(&self, index: u64) -> ProofInfo {
        let proof = |leaf: fn(u64) -> Vec<u8>| {
            let hashes = (0..COUNT).map(|at| leaf_hash(&leaf(at))).collect();
            HexBytes::encode(&MerkleProof::build(hashes, index as usize).expect("there is such a leaf"))
        };
        let header = self.header();
        ProofInfo {
            receipt: HexBytes::encode(&receipt(index)),
            transaction_proof: proof(|at| receipt(at).transaction.to_bytes()),
            receipt_proof: proof(|at| receipt(at).to_bytes()),
            certificate: HexBytes::encode(&self.certificate(&header, &[0, 1, 2])),
            header: HexBytes::encode(&header),
            epochs: Vec::new(),
        }
    }

    fn trusted(&self) -> EpochChain {
        let anchor = Anchor::genesis(TimestampMs(0));
        let (committee, parameters) = (self.committee.clone(), Parameters::default());
        EpochChain::new(self.chain, EpochStart { committee, parameters, anchor })
    }

    /// The ledger one epoch on, its first validator elsewhere; and the proof of that.
    fn next(&self) -> (Ledger, EpochChange) {
        let mut members = self.committee.authorities().to_vec();
        let epoch = self.committee.epoch().0;
        members[0].peer_address.set_port(epoch as u16 + 1);
        let committee = Committee::new(Epoch(epoch + 1), members).expect("four validators");
        let parameters = Parameters::default();
        let named = EpochStart::digest_of(&committee, &parameters);
        let last = LedgerHeader { height: Height(4 + epoch), next_committee: Some(named), ..self.header() };
        let certificate = self.certificate(&last, &[0, 1, 2]);
        let start = EpochStart { committee: committee.clone(), parameters, anchor: Anchor::of(&last) };
        (Ledger { chain: self.chain, committee, keys: self.keys.clone() }, EpochChange { start, last, certificate })
    }

    fn verify(&self, proof: &ProofInfo, index: u64) -> Result<VerifiedReceipt, ProofError> {
        verify_proof(proof, &receipt(index).transaction, &self.trusted())
    }
}

#[test]
fn every_receipt_of_a_certified_header_is_proven() {
    let ledger = ledger();
    for index in 0..COUNT {
        let outcome = receipt(index).outcome;
        let (committee, height, time) = (ledger.committee.clone(), Height(7), TimestampMs(1_000));
        let proven = VerifiedReceipt { committee, height, index: index as u32, outcome, time };
        assert_eq!(ledger.verify(&ledger.proof(index), index), Ok(proven));
    }
}

#[test]
fn an_exchanged_part_is_named() {
    let ledger = ledger();
    let (good, other) = (ledger.proof(2), ledger.proof(3));
    let with = |change: fn(&mut ProofInfo, ProofInfo)| {
        let mut proof = good.clone();
        change(&mut proof, other.clone());
        ledger.verify(&proof, 2)
    };
    let third = receipt(3).transaction;
    assert_eq!(with(|proof, other| proof.receipt = other.receipt), Err(ProofError::OtherTransaction(third)));
    assert_eq!(with(|proof, other| proof.receipt_proof = other.receipt_proof), Err(ProofError::Position));
    assert_eq!(with(|proof, other| proof.transaction_proof = other.transaction_proof), Err(ProofError::Position));
    let swapped = with(|proof, _| std::mem::swap(&mut proof.transaction_proof, &mut proof.receipt_proof));
    assert_eq!(swapped, Err(ProofError::TransactionNotIncluded));
    let bettered = with(|proof, _| {
        proof.receipt = HexBytes::encode(&Receipt { outcome: Outcome::Applied, ..receipt(2) });
    });
    assert_eq!(bettered, Err(ProofError::ReceiptNotIncluded));
    let cut = with(|proof, _| {
        proof.certificate.0.pop();
    });
    assert!(matches!(cut, Err(ProofError::Decode { part: "certificate", .. })));
}

#[test]
fn a_header_without_its_own_quorum_proves_nothing() {
    let ledger = ledger();
    let good = ledger.proof(2);
    let certify = |header: &LedgerHeader, signers: &[u16]| ProofInfo {
        header: HexBytes::encode(header),
        certificate: HexBytes::encode(&ledger.certificate(header, signers)),
        ..good.clone()
    };
    let verify = |proof: ProofInfo| ledger.verify(&proof, 2);

    let header = ledger.header();
    let too_few = CertificateError::NoQuorum { stake: 2, quorum: 3 };
    assert_eq!(verify(certify(&header, &[0, 1])), Err(ProofError::Certificate(too_few)));
    assert_eq!(verify(certify(&header, &[0, 0, 1])), Err(ProofError::Certificate(CertificateError::Order)));

    let later = LedgerHeader { timestamp: TimestampMs(2_000), ..header.clone() };
    let uncertified = ProofInfo { header: HexBytes::encode(&later), ..good.clone() };
    assert_eq!(verify(uncertified), Err(ProofError::OtherHeader));
    let epoch = LedgerHeader { epoch: Epoch(2), ..header.clone() };
    assert_eq!(verify(certify(&epoch, &[0, 1, 2])), Err(ProofError::OtherCommittee(Epoch(2))));
    let committee = LedgerHeader { committee: Digest::ZERO, ..header.clone() };
    assert_eq!(verify(certify(&committee, &[0, 1, 2])), Err(ProofError::OtherCommittee(Epoch(1))));
    let chain = LedgerHeader { chain: ChainId(Digest::ZERO), ..header };
    assert_eq!(verify(certify(&chain, &[0, 1, 2])), Err(ProofError::OtherChain(ChainId(Digest::ZERO))));
}

#[test]
fn a_later_committee_is_followed_from_genesis_and_no_step_can_be_left_out() {
    let first = ledger();
    let (second, to_second) = first.next();
    let (third, to_third) = second.next();
    let id = receipt(2).transaction;
    let proven = |changes: &[&EpochChange]| {
        let epochs = changes.iter().map(|change| HexBytes::encode(*change)).collect();
        verify_proof(&ProofInfo { epochs, ..third.proof(2) }, &id, &first.trusted())
    };
    assert_eq!(proven(&[&to_second, &to_third]).map(|proven| proven.committee), Ok(third.committee.clone()));
    assert_eq!(proven(&[&to_second]), Err(ProofError::OtherCommittee(Epoch(3))));
    assert_eq!(proven(&[]), Err(ProofError::OtherCommittee(Epoch(3))));
    let skipped = EpochChangeError::Order { before: Epoch(1), found: Epoch(3) };
    assert_eq!(proven(&[&to_third]), Err(ProofError::EpochChange { epoch: Epoch(3), source: skipped }));
    // The same committee, unless its predecessors have signed for another one.
    let mut forged = to_third.clone();
    forged.start.committee = Committee::new(Epoch(3), first.committee.authorities().to_vec()).expect("four validators");
    let named = ProofError::EpochChange { epoch: Epoch(3), source: EpochChangeError::NotNamed };
    assert_eq!(proven(&[&to_second, &forged]), Err(named));
    // Whoever has followed the epochs needs no proof of them, and reads older receipts as well.
    let mut followed = first.trusted();
    followed.push(to_second).expect("proven");
    followed.push(to_third).expect("proven");
    let proven = |ledger: &Ledger| verify_proof(&ledger.proof(2), &id, &followed).map(|proven| proven.committee);
    assert_eq!((proven(&first), proven(&third)), (Ok(first.committee.clone()), Ok(third.committee.clone())));
}
