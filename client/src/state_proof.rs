//! What the state holds under a key at a certified height, checked without trust in the node: from genesis over the
//! committee's signatures on a header, the state root in it, down to the row; and that it holds nothing (`docs/proofs.md`).
//!
//! A proof speaks of the height of its snapshot and of no other: what has changed since is not in it. Deliberately
//! absent: fetching anything.

use crate::proof::{ProofError, decode, extended, verify_header};
use crate::rpc::StateProofInfo;
use types::{
    Amount, Committee, Decode, DecodeError, EpochChain, Grant, Height, LedgerHeader, Object, Reader, StateKey,
    StateProof, TimestampMs,
};

/// What a key of the state holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateValue {
    /// An account.
    Account {
        /// Its balance, in the ledger's unit.
        balance: Amount,
        /// Transfers from it that took effect.
        transfers_out: u64,
    },
    /// An object.
    Object(Object),
    /// A grant.
    Grant(Grant),
}

impl StateValue {
    /// Reads the encoded value of a key.
    ///
    /// # Errors
    /// [`DecodeError`] where it is not one of the key's domain.
    pub fn from_bytes(key: &StateKey, bytes: &[u8]) -> Result<Self, DecodeError> {
        match key {
            StateKey::Account(_) => {
                let mut reader = Reader::new(bytes);
                let (balance, transfers_out) = (Amount::decode(&mut reader)?, u64::decode(&mut reader)?);
                reader.finish()?;
                Ok(Self::Account { balance, transfers_out })
            }
            StateKey::Object(_) => Object::from_bytes(bytes).map(Self::Object),
            StateKey::Grant(_) => Grant::from_bytes(bytes).map(Self::Grant),
        }
    }
}

/// What a proof has proven: validators with stake ≥ Q hold that this was the state under the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedState {
    /// The committee whose validators they are.
    pub committee: Committee,
    /// The height behind which the state stood.
    pub height: Height,
    /// BFT time of that height.
    pub time: TimestampMs,
    /// What it held; `None` where it held nothing.
    pub value: Option<StateValue>,
    /// The later height whose header has the root of that state.
    pub root_height: Height,
}

/// Checks that `proof` proves what the state held under `key`: the row or its neighbours, the state's root in the header,
/// the certificate, and each change of committee since the epochs that are trusted.
///
/// # Errors
/// [`ProofError`]: the first thing that does not hold.
pub fn verify_state_proof(
    proof: &StateProofInfo,
    key: &StateKey,
    trusted: &EpochChain,
) -> Result<VerifiedState, ProofError> {
    let state: StateProof = decode("proof of state", &proof.proof)?;
    let epochs = extended(trusted, &proof.epochs)?;
    let epoch = decode::<LedgerHeader>("header", &proof.header)?.epoch;
    let committee = &epochs.epoch(epoch).ok_or(ProofError::OtherCommittee(epoch))?.committee;
    let header = verify_header(&proof.header, &proof.certificate, epochs.ledger(), committee)?;
    let value = state.verify(key, &header.state_root)?;
    if state.summary.chain != header.chain || state.summary.height >= header.height {
        return Err(ProofError::OtherChain(state.summary.chain));
    }
    let value = value.map(|value| StateValue::from_bytes(key, value)).transpose();
    let value = value.map_err(|source| ProofError::Decode { part: "value", source })?;
    let (height, time) = (state.summary.height, state.summary.timestamp);
    Ok(VerifiedState { committee: committee.clone(), height, time, value, root_height: header.height })
}

#[cfg(test)]
mod tests;
