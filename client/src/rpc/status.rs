//! How a node is doing: the answer to [`stele_status`](super::method::STATUS). Counters count since the process started.

use super::Stages;
use serde::{Deserialize, Serialize};
use types::{AuthorityIndex, ChainId, Digest, Epoch, Height, Round};

/// What a node is able to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It reads its disk and replays.
    Starting,
    /// It fetches what its peers committed without it.
    CatchingUp,
    /// It takes transactions and commits.
    Ready,
    /// It stopped taking part and waits for an operator; [`NodeStatus::state_detail`] says why.
    Halted,
    /// It is shutting down.
    Stopping,
}

impl NodeState {
    /// The word that stands in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::CatchingUp => "catching_up",
            Self::Ready => "ready",
            Self::Halted => "halted",
            Self::Stopping => "stopping",
        }
    }
}

/// A node's own view of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its position in the committee.
    pub validator: AuthorityIndex,
    /// Its name.
    pub name: String,
    /// Its ledger.
    pub chain: ChainId,
    /// The epoch that it takes part in.
    pub epoch: Epoch,
    /// Whether a change is decided that ends this epoch.
    #[serde(default)]
    pub epoch_closing: bool,
    /// Version of the program.
    pub version: String,
    /// Since the process started.
    pub uptime_ms: u64,
    /// The highest round in which it proposed.
    pub round: Round,
    /// The highest executed height.
    pub height: Height,
    /// The highest height with a certificate.
    pub certified_height: Height,
    /// Digest of the header at `height`.
    pub header_digest: Digest,
    /// What it is able to do now.
    pub state: NodeState,
    /// Why, where the state alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_detail: Option<String>,
    /// How it gets on: `starting`, `advancing`, `idle`, `stalled` or `hung`. The last two starve its watchdog.
    pub progress: String,
    /// What needs a human, in words: keys that are due for replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// How far it has come, while it catches up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// Validators linked, without itself.
    pub peers_up: u32,
    /// Transactions in its queue.
    pub pending_transactions: u64,
    /// Transactions executed, whatever their outcome.
    pub committed_transactions: u64,
    /// Of these, those whose outcome is a reject.
    pub rejected_transactions: u64,
    /// Receipts sent to clients of this node.
    pub receipts_delivered: u64,
    /// From a header's execution to its certificate.
    pub certified_ms: CertifiedMs,
    /// Signature checks.
    pub verify: VerifyStatus,
    /// The signer.
    pub signer: SignerStatus,
    /// The log.
    pub log: LogStatus,
    /// CPU time of the process, user and system.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// Most resident memory so far.
    pub rss_bytes_max: u64,
    /// CPU time of threads by the stage that they serve, in microseconds.
    pub stages: Stages,
}

/// How far a node that was left behind has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// A height that the others have reached.
    pub target: Height,
    /// Heights executed a second, of late.
    pub heights_per_second: f64,
    /// Seconds until the target is reached at this pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// Peers that are being asked.
    pub peers: u32,
    /// Bytes of the state that are here, where a state is fetched and not commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_fetched_bytes: Option<u64>,
    /// Bytes of all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
}

/// Time from a header's execution to its certificate, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CertifiedMs {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Signature checks of client transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// Name of the engine.
    pub engine: String,
    /// Signatures checked.
    pub items: u64,
    /// In how many batches.
    pub batches: u64,
    /// Signatures that were wrong.
    pub invalid: u64,
    /// Who did how much of it: the CPU first, then the device where there is one.
    #[serde(default)]
    pub engines: Vec<EngineStatus>,
    /// How the device is: `absent`, `opening`, `self_testing`, `serving` or `quarantined`.
    #[serde(default)]
    pub device: String,
    /// How often the device failed; the CPU then did its work.
    #[serde(default)]
    pub device_faults: u64,
}

/// What one engine did of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Name of the engine.
    pub engine: String,
    /// Signatures checked.
    pub items: u64,
    /// In how many batches.
    pub batches: u64,
    /// Signatures that were wrong.
    pub invalid: u64,
    /// Milliseconds from the start of each batch to its verdicts, summed.
    pub run_ms: u64,
}

/// The signer, seen from the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerStatus {
    /// Name of the module or keystore.
    pub module: String,
    /// Signatures made.
    pub signatures: u64,
    /// Median time of one.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Requests that it refused.
    pub refused: u64,
    /// Where epoch keys sign: the epoch and the first round for which the present one is certified no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified_until: Option<CertifiedUntil>,
}

/// The end of an epoch key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedUntil {
    /// The epoch that it signs in.
    pub epoch: u64,
    /// The first round that it does not sign any more.
    pub round: u64,
}

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// How it writes: io_uring or the fallback.
    pub backend: String,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs to disk.
    pub syncs: u64,
    /// Median time of a sync.
    pub sync_p50_us: u64,
    /// 99th percentile.
    pub sync_p99_us: u64,
}
