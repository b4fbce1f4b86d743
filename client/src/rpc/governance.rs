//! Who may change the committee, and what they have said so far: the answer to
//! [`stele_governance`](super::method::GOVERNANCE).

use serde::{Deserialize, Serialize};
use types::{Address, Change, Digest, Epoch};

/// The governance of a ledger in the present epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GovernanceInfo {
    /// The epoch that a change would end.
    pub epoch: Epoch,
    /// The accounts that may approve changes; nobody on a ledger whose committee and parameters are fixed.
    pub members: Vec<Address>,
    /// How many of them decide.
    pub threshold: u16,
    /// What members approve, until a change is decided; a member stands with its latest one alone.
    pub approved: Vec<ApprovedChange>,
    /// The change that ends this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Change>,
    /// Names of the validators that the asked node is linked with, its own among them.
    pub reachable: Vec<String>,
}

/// A change that some members approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedChange {
    /// What members compare before they approve it too.
    pub digest: Digest,
    /// The change.
    pub change: Change,
    /// Who approves it.
    pub members: Vec<Address>,
}
