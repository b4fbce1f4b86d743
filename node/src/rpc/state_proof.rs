//! Proofs of what the state holds, out of the newest certified snapshot.

use crate::state_sync::snapshots::Snapshots;
use client::rpc::{HexBytes, StateProofInfo};
use types::StateKey;

/// The proof for a key; `None` while no snapshot is certified.
pub(super) fn prove(snapshots: &Snapshots, key: &StateKey) -> Option<StateProofInfo> {
    let (proof, vouched) = snapshots.prove(key)?;
    let (header, certificate) = vouched.certified.root.as_ref()?;
    Some(StateProofInfo {
        proof: HexBytes::encode(&proof),
        header: HexBytes::encode(header),
        certificate: HexBytes::encode(certificate),
        epochs: vouched.epochs.iter().map(HexBytes::encode).collect(),
    })
}
