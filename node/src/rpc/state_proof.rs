//! Proofs of what the state holds, out of the newest certified snapshot.

use crate::rpc::error::AnswerError;
use crate::state_sync::snapshots::Snapshots;
use client::rpc::{HexBytes, StateProofInfo};
use types::StateKey;

/// The proof for a key; `None` while no snapshot is certified.
///
/// # Errors
/// [`AnswerError`]: faults of the disk.
pub(super) fn prove(snapshots: &Snapshots, key: &StateKey) -> Result<Option<StateProofInfo>, AnswerError> {
    let Some((proof, vouched)) = snapshots.prove(key)? else { return Ok(None) };
    let Some((header, certificate)) = &vouched.certified.root else { return Ok(None) };
    Ok(Some(StateProofInfo {
        proof: HexBytes::encode(&proof),
        header: HexBytes::encode(header),
        certificate: HexBytes::encode(certificate),
        epochs: vouched.epochs.iter().map(HexBytes::encode).collect(),
    }))
}
