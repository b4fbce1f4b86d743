//! The JSON of the RPC: method names, parameters, results, error codes. The server and [`RpcClient`]
//! share these types, so that neither can drift.
//!
//! Names are snake_case. Digests, keys and addresses stand in their text forms, bytes in hexadecimal. Parameters are
//! positional. Deliberately absent: how a query is answered.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use types::{
    Address, Amount, AuthorityIndex, ChainId, Decode, DecodeError, Digest, Encode, Epoch, Height, LedgerHeader,
    Outcome, Parameters, PublicKey, Reject, Stake, TransactionId,
};

mod attestation;
mod client;
mod contracts;
mod governance;
mod status;

pub use attestation::{AttestationInfo, ChallengeInfo, EVENT_LOG_BYTES_MAX, EndorsementCertificate, EndorsementInfo};
pub use client::{AtHeight, Follow, RpcClient, RpcError};
pub use contracts::{EventsInfo, GrantInfo, HistoryCursor, ObjectInfo, Subject};
pub use governance::{ApprovedChange, GovernanceInfo};
pub use status::{
    CertifiedMs, CertifiedUntil, EngineStatus, LogStatus, NodeState, NodeStatus, SignerStatus, SyncStatus, VerifyStatus,
};

/// Names of methods, subscriptions and their notifications.
pub mod method {
    /// `[]` → [`ChainInfo`](super::ChainInfo).
    pub const CHAIN: &str = "stele_chain";
    /// `[]` → [`GovernanceInfo`](super::GovernanceInfo).
    pub const GOVERNANCE: &str = "stele_governance";
    /// `[]` → [`NodeStatus`](super::NodeStatus).
    pub const STATUS: &str = "stele_status";
    /// `[transaction: hex]` → [`Submitted`](super::Submitted), once it was taken into the node's queue.
    pub const SUBMIT: &str = "stele_submit";
    /// `[address]` → [`AccountInfo`](super::AccountInfo) or null.
    pub const ACCOUNT: &str = "stele_account";
    /// `[id]` → [`TransactionInfo`](super::TransactionInfo) or null.
    pub const TRANSACTION: &str = "stele_transaction";
    /// `[height | null for the latest]` → [`HeaderInfo`](super::HeaderInfo) or null.
    pub const HEADER: &str = "stele_header";
    /// `[id]` → [`ProofInfo`](super::ProofInfo) or null: unknown, or not certified yet.
    pub const PROOF: &str = "stele_proof";
    /// `[address, object or grant]` → [`StateProofInfo`](super::StateProofInfo) or null: no snapshot is certified yet.
    pub const STATE_PROOF: &str = "stele_state_proof";
    /// `[digest]` → list of [`TransactionInfo`](super::TransactionInfo), oldest first, at most
    /// [`DOCUMENT_TRANSACTIONS_MAX`](super::DOCUMENT_TRANSACTIONS_MAX).
    pub const DOCUMENT: &str = "stele_document";
    /// `[object]` → [`ObjectInfo`](super::ObjectInfo) or null.
    pub const OBJECT: &str = "stele_object";
    /// `[grant]` → [`GrantInfo`](super::GrantInfo) or null.
    pub const GRANT: &str = "stele_grant";
    /// `[id]` → [`EventsInfo`](super::EventsInfo) or null: what a transaction emitted.
    pub const EVENTS: &str = "stele_events";
    /// `[object or grant, after: HistoryCursor?]` → list of [`EventsInfo`](super::EventsInfo) about it, oldest first, at
    /// most [`HISTORY_MAX`](super::HISTORY_MAX).
    pub const HISTORY: &str = "stele_history";
    /// `[nonce: hex of 32 bytes]` → [`AttestationInfo`](super::AttestationInfo); one at a time, or [`BUSY_CODE`](super::BUSY_CODE).
    pub const ATTESTATION: &str = "stele_attestation";
    /// `[]` → [`EndorsementInfo`](super::EndorsementInfo); in turn with [`ATTESTATION`].
    pub const ENDORSEMENT: &str = "stele_endorsement";
    /// `[challenge: ChallengeInfo]` → the secret in hexadecimal, or null: it is not for this TPM; likewise.
    pub const ACTIVATE: &str = "stele_activate";
    /// `[from_epoch?]` → list of [`EpochInfo`](super::EpochInfo) from that epoch on, or from the first, at most
    /// [`EPOCHS_MAX`](super::EPOCHS_MAX).
    pub const EPOCHS: &str = "stele_epochs";
    /// `[from_height?]`, over WebSocket: a [`HeaderInfo`](super::HeaderInfo) for each height from there on; without a
    /// start, from the next one on.
    pub const SUBSCRIBE_HEADERS: &str = "stele_subscribe_headers";
    /// Ends [`SUBSCRIBE_HEADERS`].
    pub const UNSUBSCRIBE_HEADERS: &str = "stele_unsubscribe_headers";
    /// Notification of [`SUBSCRIBE_HEADERS`].
    pub const HEADERS: &str = "stele_headers";
    /// `[from_height?, filter?]`, over WebSocket: a [`ReceiptsInfo`](super::ReceiptsInfo) for each height with
    /// receipts that pass the [`ReceiptFilter`](super::ReceiptFilter).
    pub const SUBSCRIBE_RECEIPTS: &str = "stele_subscribe_receipts";
    /// Ends [`SUBSCRIBE_RECEIPTS`].
    pub const UNSUBSCRIBE_RECEIPTS: &str = "stele_unsubscribe_receipts";
    /// Notification of [`SUBSCRIBE_RECEIPTS`].
    pub const RECEIPTS: &str = "stele_receipts";
}

/// Most transactions in an answer to [`method::DOCUMENT`].
pub const DOCUMENT_TRANSACTIONS_MAX: usize = 1_000;
/// Most transactions in an answer to [`method::HISTORY`].
pub const HISTORY_MAX: usize = 256;
/// Most epochs in an answer to [`method::EPOCHS`].
pub const EPOCHS_MAX: usize = 16;
/// JSON-RPC error code of a full queue; its data is [`BusyData`].
pub const BUSY_CODE: i32 = -31_999;
const REJECT_BASE: i32 = -32_000;

/// JSON-RPC error code of a refused transaction; its data is [`RejectData`].
pub fn reject_code(reject: Reject) -> i32 {
    REJECT_BASE - i32::from(reject.code())
}

/// The reject with this JSON-RPC error code.
pub fn reject_from_code(code: i32) -> Option<Reject> {
    Reject::from_code(u16::try_from(REJECT_BASE.checked_sub(code)?).ok()?)
}

/// Data of an error with [`reject_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectData {
    /// Which reject, by its label.
    #[serde(with = "label")]
    pub reject: Reject,
}

/// Data of an error with [`BUSY_CODE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusyData {
    /// When to try again.
    pub retry_after_ms: u32,
}

/// Bytes, in hexadecimal where they stand in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    /// The canonical encoding of a value.
    pub fn encode(value: &impl Encode) -> Self {
        Self(value.to_bytes())
    }

    /// Reads a value that takes all of the bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode<T: Decode>(&self) -> Result<T, DecodeError> {
        T::from_bytes(&self.0)
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A reject as its label.
mod label {
    use super::*;

    pub fn serialize<S: Serializer>(reject: &Reject, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(reject.label())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reject, D::Error> {
        let label = String::deserialize(deserializer)?;
        Reject::ALL
            .iter()
            .copied()
            .find(|reject| reject.label() == label)
            .ok_or_else(|| serde::de::Error::custom(format_args!("unknown reject `{label}`")))
    }
}

/// What became of a transaction: `"applied"` or `{"rejected": "overdraft"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeInfo {
    /// It took effect.
    Applied,
    /// It changed nothing.
    Rejected(#[serde(with = "label")] Reject),
}

impl From<Outcome> for OutcomeInfo {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            // What was emitted is asked for apart, with its digest in the receipt.
            Outcome::Applied | Outcome::Emitted(_) => Self::Applied,
            Outcome::Rejected(reject) => Self::Rejected(reject),
        }
    }
}

impl From<OutcomeInfo> for Outcome {
    fn from(outcome: OutcomeInfo) -> Self {
        match outcome {
            OutcomeInfo::Applied => Self::Applied,
            OutcomeInfo::Rejected(reject) => Self::Rejected(reject),
        }
    }
}

/// The ledger that a node belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainInfo {
    /// Its identity: the digest of its genesis.
    pub chain: ChainId,
    /// Its name for people.
    pub name: String,
    /// The epoch of `validators`.
    pub epoch: Epoch,
    /// Numbers that all nodes share.
    pub parameters: Parameters,
    /// The committee, in order.
    pub validators: Vec<ValidatorInfo>,
    /// The text of `genesis.toml`, where the node gives it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genesis_toml: Option<String>,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochInfo {
    /// Its number.
    pub epoch: Epoch,
    /// Height of its first commit.
    pub first_height: Height,
    /// Its parameters.
    pub parameters: Parameters,
    /// Its committee, in order.
    pub validators: Vec<ValidatorInfo>,
    /// The encoded [`types::EpochChange`], which proves it to whoever knows the epoch before; none of the first one, which
    /// stands in genesis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<HexBytes>,
}

/// One validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorInfo {
    /// Position in the committee.
    pub index: AuthorityIndex,
    /// Name for people.
    pub name: String,
    /// Signs round statements.
    pub consensus_key: PublicKey,
    /// Proves the node's identity in transport handshakes.
    pub transport_key: PublicKey,
    /// Voting weight.
    pub stake: Stake,
    /// Where it is reached.
    pub addresses: ValidatorAddresses,
}

/// Where a validator is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorAddresses {
    /// By other validators (UDP).
    pub peer: SocketAddr,
    /// By clients, on the fast path (UDP).
    pub client: SocketAddr,
    /// By clients, JSON-RPC (TCP).
    pub rpc: SocketAddr,
}

/// A transaction that was taken into the node's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its id.
    pub id: TransactionId,
}

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its address.
    pub address: Address,
    /// Its balance, after `height`.
    pub balance: Amount,
    /// The executed height of the answer.
    pub height: Height,
}

/// A transaction that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionInfo {
    /// Its id.
    pub id: TransactionId,
    /// Height at which it stands.
    pub height: Height,
    /// Position among the transactions of that height.
    pub index: u32,
    /// What became of it.
    pub outcome: OutcomeInfo,
    /// BFT time of that height, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// A ledger header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInfo {
    /// Its height.
    pub height: Height,
    /// Its digest: what validators vote for.
    pub digest: Digest,
    /// Its fields.
    pub header: LedgerHeader,
    /// Its canonical encoding.
    pub encoded: HexBytes,
    /// The encoded [`types::Certificate`], once there is one.
    pub certificate: Option<HexBytes>,
}

/// Everything that proves, without trust in the node, what became of a transaction; see
/// [`verify_proof`](crate::verify_proof). All fields are canonical encodings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofInfo {
    /// The [`types::Receipt`].
    pub receipt: HexBytes,
    /// [`types::MerkleProof`] of the encoded transaction id under `transaction_root`.
    pub transaction_proof: HexBytes,
    /// [`types::MerkleProof`] of the encoded receipt under `receipt_root`.
    pub receipt_proof: HexBytes,
    /// The [`LedgerHeader`].
    pub header: HexBytes,
    /// The [`types::Certificate`] over the header.
    pub certificate: HexBytes,
    /// The [`types::EpochChange`]s from the second epoch to that of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<HexBytes>,
}

/// Everything that proves, without trust in the node, what the state held under a key at the height of its newest
/// certified snapshot; see [`verify_state_proof`](crate::verify_state_proof). All fields are canonical encodings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProofInfo {
    /// The [`types::StateProof`].
    pub proof: HexBytes,
    /// The [`LedgerHeader`] with the root of the state.
    pub header: HexBytes,
    /// The [`types::Certificate`] over the header.
    pub certificate: HexBytes,
    /// The [`types::EpochChange`]s from the second epoch to that of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<HexBytes>,
}

/// Which receipts a subscriber wants: those that pass every field that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiptFilter {
    /// Sent by, or transferred to, this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Of this transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    /// Certifying this document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
}

/// Receipts of one height. A subscriber that was cut off resumes at `height + 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptsInfo {
    /// The height: the cursor.
    pub height: Height,
    /// Receipts that pass the filter, in order.
    pub receipts: Vec<TransactionInfo>,
}

/// Stages and their CPU time, as [`NodeStatus::stages`] holds them.
pub type Stages = BTreeMap<String, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reject_has_a_code_and_a_label_of_its_own() {
        for &reject in Reject::ALL {
            assert_eq!(reject_from_code(reject_code(reject)), Some(reject));
            let json = serde_json::to_string(&RejectData { reject }).expect("serialises");
            assert_eq!(json, format!("{{\"reject\":\"{}\"}}", reject.label()));
            assert_eq!(serde_json::from_str::<RejectData>(&json).expect("reads back").reject, reject);
        }
        assert_eq!(reject_from_code(BUSY_CODE), None);
        assert_eq!(reject_from_code(-32_601), None);
        assert_eq!(reject_from_code(i32::MAX), None);
        assert_eq!(reject_from_code(i32::MIN), None);
    }

    #[test]
    fn outcomes_and_filters_have_the_documented_json() {
        let json = |outcome: OutcomeInfo| serde_json::to_string(&outcome).expect("serialises");
        assert_eq!(json(OutcomeInfo::Applied), "\"applied\"");
        assert_eq!(json(OutcomeInfo::Rejected(Reject::Overdraft)), "{\"rejected\":\"overdraft\"}");
        assert_eq!(serde_json::to_string(&ReceiptFilter::default()).expect("serialises"), "{}");
        assert!(serde_json::from_str::<ReceiptFilter>("{\"adress\":\"x\"}").is_err());
    }
}
