//! What a node says, checked without trust in it: a receipt, up to the signatures of a quorum.
//!
//! Needs genesis, from a source that is trusted, never from the node that is checked. Where the committee has changed
//! since, a proof carries each change: the last header of an epoch names the next committee, and the committee before
//! has signed it (CONSENSUS.md §2.11). Deliberately absent: fetching anything.

use crate::rpc::{HexBytes, ProofInfo};
use thiserror::Error;
use types::{
    Certificate, CertificateError, ChainId, Committee, DecodeError, Encode, Epoch, EpochChain, EpochChange,
    EpochChangeError, Height, LedgerHeader, MerkleProof, Outcome, Receipt, StateProofError, TimestampMs, TransactionId,
};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// A part is not canonical.
    #[error("the {part} cannot be read: {source}")]
    Decode {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The receipt is of another transaction.
    #[error("the receipt is of transaction {0}")]
    OtherTransaction(TransactionId),
    /// The header is of another ledger.
    #[error("the header is of ledger {0}")]
    OtherChain(ChainId),
    /// An epoch does not follow from the one before.
    #[error("epoch {epoch} is not proven: {source}")]
    EpochChange {
        /// Which.
        epoch: Epoch,
        /// What is wrong with its proof.
        source: EpochChangeError,
    },
    /// The header is of an epoch with another committee than the last one that is proven.
    #[error("the header is of epoch {0}, whose committee is not proven")]
    OtherCommittee(Epoch),
    /// The two inclusion proofs are for different positions.
    #[error("transaction and receipt are proven at different positions")]
    Position,
    /// The transaction is not under the header's transaction root.
    #[error("the transaction is not included in the header")]
    TransactionNotIncluded,
    /// The receipt is not under the header's receipt root.
    #[error("the receipt is not included in the header")]
    ReceiptNotIncluded,
    /// The certificate is over another header.
    #[error("the certificate is over another header")]
    OtherHeader,
    /// The certificate does not hold.
    #[error("the certificate does not hold: {0}")]
    Certificate(#[from] CertificateError),
    /// The header's root is not that of the state, or the state holds something else.
    #[error("the state is not proven: {0}")]
    State(#[from] StateProofError),
}

/// What a proof has proven: validators with stake ≥ Q hold that this became of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// The committee whose validators they are.
    pub committee: Committee,
    /// Height at which the transaction stands.
    pub height: Height,
    /// Position among the transactions of that height.
    pub index: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// BFT time of that height.
    pub time: TimestampMs,
}

/// Checks that `proof` proves what became of transaction `id`: both inclusions, the header's digest, the certificate, and
/// each change of committee since the epochs that are trusted: those of genesis, or more that were proven before.
///
/// # Errors
/// [`ProofError`]: the first thing that does not hold.
pub fn verify_proof(
    proof: &ProofInfo,
    id: &TransactionId,
    trusted: &EpochChain,
) -> Result<VerifiedReceipt, ProofError> {
    let receipt: Receipt = decode("receipt", &proof.receipt)?;
    let transaction_proof: MerkleProof = decode("transaction's inclusion proof", &proof.transaction_proof)?;
    let receipt_proof: MerkleProof = decode("receipt's inclusion proof", &proof.receipt_proof)?;
    if receipt.transaction != *id {
        return Err(ProofError::OtherTransaction(receipt.transaction));
    }
    let epochs = extended(trusted, &proof.epochs)?;
    let epoch = decode::<LedgerHeader>("header", &proof.header)?.epoch;
    let committee = &epochs.epoch(epoch).ok_or(ProofError::OtherCommittee(epoch))?.committee;
    let header = verify_header(&proof.header, &proof.certificate, epochs.ledger(), committee)?;
    let position = |proof: &MerkleProof| (proof.index, proof.count);
    if position(&transaction_proof) != position(&receipt_proof) {
        return Err(ProofError::Position);
    }
    if !transaction_proof.verify(&id.to_bytes(), &header.transaction_root) {
        return Err(ProofError::TransactionNotIncluded);
    }
    if !receipt_proof.verify(&proof.receipt.0, &header.receipt_root) {
        return Err(ProofError::ReceiptNotIncluded);
    }
    let index = u32::try_from(receipt_proof.index).map_err(|_| ProofError::Position)?;
    let committee = committee.clone();
    Ok(VerifiedReceipt { committee, height: header.height, index, outcome: receipt.outcome, time: header.timestamp })
}

/// The trusted epochs and those that a proof adds to them.
pub(crate) fn extended(trusted: &EpochChain, changes: &[HexBytes]) -> Result<EpochChain, ProofError> {
    let mut epochs = trusted.clone();
    for change in changes {
        let change: EpochChange = decode("change of epoch", change)?;
        let epoch = change.start.epoch();
        if epoch > epochs.last().epoch() {
            epochs.push(change).map_err(|source| ProofError::EpochChange { epoch, source })?;
        }
    }
    Ok(epochs)
}

/// Checks that an encoded ledger header is certified by `committee`, and reads it.
///
/// # Errors
/// [`ProofError`]: the first thing that does not hold.
pub fn verify_header(
    header: &HexBytes,
    certificate: &HexBytes,
    chain: ChainId,
    committee: &Committee,
) -> Result<LedgerHeader, ProofError> {
    let header: LedgerHeader = decode("header", header)?;
    let certificate: Certificate = decode("certificate", certificate)?;
    if header.chain != chain {
        return Err(ProofError::OtherChain(header.chain));
    }
    if (header.epoch, header.committee) != (committee.epoch(), committee.digest()) {
        return Err(ProofError::OtherCommittee(header.epoch));
    }
    if (certificate.vote.height, certificate.vote.header) != (header.height, header.digest()) {
        return Err(ProofError::OtherHeader);
    }
    certificate.verify(chain, committee)?;
    Ok(header)
}

pub(crate) fn decode<T: types::Decode>(part: &'static str, bytes: &HexBytes) -> Result<T, ProofError> {
    bytes.decode().map_err(|source| ProofError::Decode { part, source })
}

#[cfg(test)]
mod tests;
