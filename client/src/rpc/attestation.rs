//! What a validator's machine says of itself: the answer to [`stele_attestation`](super::method::ATTESTATION); and what proves
//! whose TPM says it: [`stele_endorsement`](super::method::ENDORSEMENT) and [`stele_activate`](super::method::ACTIVATE).

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

/// What a TPM's maker says of it. It proves nothing before `stele attest enrol` has verified it and challenged the TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementInfo {
    /// TPMT_PUBLIC of the TPM's attestation key.
    pub tpm_key: HexBytes,
    /// The certificates of its endorsement keys; empty where the maker left none.
    pub certificates: Vec<EndorsementCertificate>,
    /// Certificates between these and a root, X.509, DER, where they are in the TPM.
    pub chain: Vec<HexBytes>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementCertificate {
    /// The NV index where it is, four bytes: which kind of key it is for (TCG EK Credential Profile).
    pub nv_index: HexBytes,
    /// X.509, DER.
    pub certificate: HexBytes,
}

/// A secret for one TPM alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeInfo {
    /// Of the certificate whose key it is encrypted to.
    pub nv_index: HexBytes,
    /// TPMS_ID_OBJECT.
    pub identity: HexBytes,
    /// The encrypted seed.
    pub seed: HexBytes,
}
