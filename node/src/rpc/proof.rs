//! Proofs of what became of a transaction, from the rows of its height.

use crate::rpc::answers::Rows;
use crate::rpc::error::AnswerError;
use crate::tables::Tables;
use client::rpc::{HexBytes, ProofInfo};
use ledger::proof;
use types::{Epoch, Height, TransactionId};

/// The proof; `None` where the transaction is unknown or its height not certified yet. `certified` is the highest height
/// with a certificate.
///
/// # Errors
/// [`AnswerError::CertificateElsewhere`] where a later height is certified and this one has no certificate of its own
/// here, as on a node that was away; [`AnswerError::EpochElsewhere`] likewise; faults of the database.
pub(super) fn prove(tables: &Tables, id: &TransactionId, certified: Height) -> Result<Option<ProofInfo>, AnswerError> {
    let Some(place) = tables.place(id)? else { return Ok(None) };
    let Some(certificate) = tables.certificate(place.height)? else {
        let later = certified > place.height;
        return if later { Err(AnswerError::CertificateElsewhere(place.height)) } else { Ok(None) };
    };
    let rows = Rows::of(tables, place.height)?;
    let receipt = rows.receipt(place.index)?;
    let index = place.index as usize;
    let transaction = proof::transaction_proof(&rows.receipts, index);
    let inclusion = proof::receipt_proof(&rows.receipts, index);
    let (transaction, inclusion) = transaction.zip(inclusion).ok_or(AnswerError::Incomplete(place.height))?;
    Ok(Some(ProofInfo {
        receipt: HexBytes::encode(receipt),
        transaction_proof: HexBytes::encode(&transaction),
        receipt_proof: HexBytes::encode(&inclusion),
        header: HexBytes::encode(&rows.header),
        certificate: HexBytes::encode(&certificate),
        epochs: epochs(tables, rows.header.epoch)?,
    }))
}

/// How an epoch follows from the first one.
fn epochs(tables: &Tables, epoch: Epoch) -> Result<Vec<HexBytes>, AnswerError> {
    let mut changes = Vec::new();
    for epoch in (2..=epoch.0).map(Epoch) {
        let change = tables.epoch_change(epoch)?.ok_or(AnswerError::EpochElsewhere(epoch))?;
        changes.push(HexBytes::encode(&change));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::answers::tests::Chain;
    use types::{Outcome, Reject};

    #[test]
    fn a_proof_from_the_tables_convinces_a_client() {
        let chain = Chain::with_heights(&[3, 5, 1]);
        let trusted = chain.trusted();
        chain.certify(Height(2));
        for (index, id) in chain.ids(Height(2)).into_iter().enumerate() {
            let proof = prove(&chain.tables, &id, Height(2)).expect("readable").expect("certified");
            let verified = client::verify_proof(&proof, &id, &trusted).expect("the proof holds");
            assert_eq!((verified.height, verified.index), (Height(2), index as u32));
            let expected = if index == 0 { Outcome::Rejected(Reject::Overdraft) } else { Outcome::Applied };
            assert_eq!(verified.outcome, expected);
            let other = chain.ids(Height(1))[0];
            assert!(client::verify_proof(&proof, &other, &trusted).is_err());
        }
    }

    #[test]
    fn before_its_certificate_there_is_no_proof_and_under_a_later_one_the_client_is_told_to_come_back() {
        let chain = Chain::with_heights(&[2, 2]);
        let id = chain.ids(Height(1))[1];
        assert_eq!(prove(&chain.tables, &id, Height(0)).expect("readable"), None);
        assert_eq!(prove(&chain.tables, &chain.ids(Height(2))[0], Height(2)).expect("readable"), None);
        let elsewhere = prove(&chain.tables, &id, Height(2)).expect_err("certified through height 2 alone");
        assert!(matches!(elsewhere, AnswerError::CertificateElsewhere(Height(1))));
        let unknown = TransactionId(types::Digest::sha256(b"nobody sent this"));
        assert_eq!(prove(&chain.tables, &unknown, Height(2)).expect("readable"), None);
    }
}
