//! Inclusion proofs for a height: that a transaction or a receipt stands under a root of the ledger header. Built here
//! from what storage keeps of the height, verified anywhere with [`types::MerkleProof::verify`].

use types::merkle::{leaf_hashes, root_of_hashes};
use types::{Digest, Encode, MerkleProof, Receipt, TransactionId};

/// The leaf content of a transaction: pass it to [`MerkleProof::verify`] with [`types::LedgerHeader::transaction_root`].
pub fn transaction_leaf(id: &TransactionId) -> Vec<u8> {
    id.to_bytes()
}

/// The leaf content of a receipt: pass it to [`MerkleProof::verify`] with [`types::LedgerHeader::receipt_root`].
pub fn receipt_leaf(receipt: &Receipt) -> Vec<u8> {
    receipt.to_bytes()
}

/// Root over the transaction ids of a height, in order; undecodable ones stand with the digest of their bytes.
pub fn transaction_root(ids: impl IntoIterator<Item = TransactionId>) -> Digest {
    root_of_hashes(hashes(ids))
}

/// Root over the receipts of a height, in order.
pub fn receipt_root(receipts: &[Receipt]) -> Digest {
    root_of_hashes(hashes(receipts.iter().copied()))
}

/// Proves that the transaction of receipt `index` stands at that position of the height; `None` past the end.
pub fn transaction_proof(receipts: &[Receipt], index: usize) -> Option<MerkleProof> {
    MerkleProof::build(hashes(receipts.iter().map(|receipt| receipt.transaction)), index)
}

/// Proves that receipt `index` stands at that position of the height; `None` past the end.
pub fn receipt_proof(receipts: &[Receipt], index: usize) -> Option<MerkleProof> {
    MerkleProof::build(hashes(receipts.iter().copied()), index)
}

fn hashes(leaves: impl IntoIterator<Item = impl Encode>) -> Vec<Digest> {
    let (mut contents, mut ends) = (Vec::new(), Vec::new());
    for leaf in leaves {
        leaf.encode(&mut contents);
        ends.push(contents.len());
    }
    let starts = [0].into_iter().chain(ends.iter().copied());
    leaf_hashes(starts.zip(&ends).map(|(start, end)| &contents[start..*end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Outcome, Reject};

    #[test]
    fn every_receipt_and_transaction_of_a_height_is_proven_at_its_place_and_at_no_other() {
        for count in 0..9u8 {
            let receipts: Vec<_> = (0..count)
                .map(|seed| Receipt {
                    transaction: TransactionId(Digest::sha256(&[seed])),
                    outcome: if seed % 2 == 0 { Outcome::Applied } else { Outcome::Rejected(Reject::Overdraft) },
                })
                .collect();
            let transactions = transaction_root(receipts.iter().map(|receipt| receipt.transaction));
            let root = receipt_root(&receipts);
            for (index, receipt) in receipts.iter().enumerate() {
                let proof = receipt_proof(&receipts, index).expect("there is such a receipt");
                assert!(proof.verify(&receipt_leaf(receipt), &root));
                let changed = Receipt { outcome: Outcome::Rejected(Reject::Expired), ..*receipt };
                assert!(!proof.verify(&receipt_leaf(&changed), &root));
                let proof = transaction_proof(&receipts, index).expect("there is such a transaction");
                assert!(proof.verify(&transaction_leaf(&receipt.transaction), &transactions));
                assert!(!proof.verify(&transaction_leaf(&receipt.transaction), &root));
            }
            assert_eq!(receipt_proof(&receipts, receipts.len()), None);
            assert_eq!(transaction_proof(&receipts, receipts.len()), None);
        }
    }
}
