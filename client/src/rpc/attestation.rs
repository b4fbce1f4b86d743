//! What a validator's machine says of itself: the answer to [`stele_attestation`](super::method::ATTESTATION).

use super::HexBytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{ChainId, PublicKey};

/// Most bytes of an event log in an answer; a longer one is left out.
pub const EVENT_LOG_BYTES_MAX: usize = 256 << 10;

/// A TPM's quote, bound to a validator. It proves nothing before `stele attest verify` has read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationInfo {
    /// The ledger.
    pub chain: ChainId,
    /// The validator's keys.
    pub consensus_key: PublicKey,
    /// The one that has signed this.
    pub transport_key: PublicKey,
    /// The asker's 32 bytes.
    pub nonce: HexBytes,
    /// TPMT_PUBLIC of the TPM's attestation key.
    pub tpm_key: HexBytes,
    /// TPMS_ATTEST.
    pub quote: HexBytes,
    /// TPMT_SIGNATURE over it.
    pub quote_signature: HexBytes,
    /// The quoted registers of the bank of SHA-256.
    pub registers: BTreeMap<u8, HexBytes>,
    /// The transport key's signature, encoded.
    pub signature: HexBytes,
    /// The firmware's list of what it measured, where the node can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<HexBytes>,
}
