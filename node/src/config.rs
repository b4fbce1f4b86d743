//! `node.toml`: the few things that are a node's own matter. What must agree with others stands in genesis.
//!
//! Raw [`Config`] → checked [`Plan`], once, at start. Paths in the file are relative to the file.

use crate::attestation::PolicyError;
use clap::ValueEnum;
use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use thiserror::Error;
use types::{AlgId, GenesisError};

mod hardware;
mod plan;
mod storage;
pub use hardware::{HardwareSection, HealthSection, Placement, Restraint};
pub use plan::{LOG, Outside, Plan, SNAPSHOTS, STATE, Setup};
pub use storage::{Keep, StorageSection};

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Path of `genesis.toml`.
    pub genesis: PathBuf,
    /// Name of the validator that this node is, as in genesis.
    pub validator: String,
    /// Directory of log and state. Default: the directory of this file.
    #[serde(default = "here")]
    pub data_dir: PathBuf,
    /// Threads of execution; each owns a part of the accounts. Default 1, range 1 to 64.
    #[serde(default = "one")]
    pub shards: NonZeroU16,
    /// The signer process.
    pub signer: SignerSection,
    /// Signature verification.
    #[serde(default)]
    pub verify: VerifySection,
    /// Timing of own blocks.
    #[serde(default)]
    pub pacing: PacingSection,
    /// The log.
    #[serde(default)]
    pub log: LogSection,
    /// How much of the past is kept.
    #[serde(default)]
    pub storage: StorageSection,
    /// Catching up, and helping others to.
    #[serde(default)]
    pub sync: SyncSection,
    /// The pool of waiting transactions.
    #[serde(default)]
    pub pool: PoolSection,
    /// Links to other validators.
    #[serde(default)]
    pub transport: TransportSection,
    /// Changes of the committee.
    #[serde(default)]
    pub governance: GovernanceSection,
    /// When validators' keys are due for replacement.
    #[serde(default)]
    pub keys: KeysSection,
    /// What the machine must be.
    #[serde(default)]
    pub hardware: HardwareSection,
    /// What the machines of other validators must be.
    #[serde(default)]
    pub attestation: AttestationSection,
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

/// What the machines of other validators must be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttestationSection {
    /// Path of a policy of `stele attest`: a link to a peer counts once its machine is attested and the policy allows it.
    /// Default: none, and a link to every member of the committee counts.
    pub peers: Option<PathBuf>,
}

/// The signer process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerSection {
    /// Path of its Unix socket.
    pub socket: PathBuf,
}

/// Whether signatures are verified on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GpuUse {
    /// Never; no driver is even asked.
    Forbid,
    /// Where there is a usable one and as far as it is faster, with the CPU beside it and in its place when it fails.
    Prefer,
    /// As `prefer`, but the node does not start where none is usable.
    Require,
}

/// Signature verification.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifySection {
    /// Threads. Default 1, range 1 to 256.
    pub threads: u16,
    /// Signatures at which a batch closes. Default 1,024, range 1 to 65,536.
    pub batch_items_max: u32,
    /// How long an idle engine waits for more, in microseconds. Default 1,000, range 0 to 100,000.
    pub linger_us: u32,
    /// Signatures that may wait. Default 65,536, range 1,024 to 16,777,216.
    pub queue_items_max: u32,
    /// Decoded public keys that are kept, about 200 bytes each. Default 65,536, range 0 to 16,777,216.
    pub key_cache_entries: u32,
    /// `forbid`, `prefer` or `require`. Default `prefer`.
    pub gpu: GpuUse,
    /// Part of the name of the adapter to use, as `stele hw` lists it; a software driver too. Default: the best that is no
    /// software driver.
    pub gpu_adapter: Option<String>,
    /// Whether a software driver (Mesa's lavapipe) counts as usable. It is slower than the CPU. Default false.
    pub allow_software: bool,
    /// Signatures in a batch for the GPU at most, and what its buffers are made for. Default 16,896 (a warp for each
    /// scheduler of 132 multiprocessors), range 1,024 to 1,048,576.
    pub gpu_batch_items_max: u32,
    /// One signature in so many that the GPU accepts is verified again on the CPU before its verdict counts; 1 is all of
    /// them. Default 1,024, range 1 to 1,048,576.
    pub sample_one_in: u32,
    /// Whether every signature that the GPU accepts is verified again while the CPU idles; a mismatch raises an alarm and
    /// quarantines the GPU, but the verdict has left by then. Default false.
    pub audit: bool,
}

impl Default for VerifySection {
    fn default() -> Self {
        Self {
            threads: 1,
            batch_items_max: 1024,
            linger_us: 1_000,
            queue_items_max: 65_536,
            key_cache_entries: 65_536,
            gpu: GpuUse::Prefer,
            gpu_adapter: None,
            allow_software: false,
            gpu_batch_items_max: 16_896,
            sample_one_in: 1_024,
            audit: false,
        }
    }
}

/// Timing of own blocks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PacingSection {
    /// Shortest time between two own blocks under load, in milliseconds. Default 5, range 0 to 1,000.
    pub round_delay_ms_min: u32,
    /// Time between two own blocks while nothing waits anywhere, in milliseconds. Default 250, range 10 to 500.
    pub idle_delay_ms: u32,
    /// Shortest time to wait for a leader, in milliseconds. Default 100, range 10 to 10,000.
    pub leader_timeout_ms_min: u32,
}

impl Default for PacingSection {
    fn default() -> Self {
        Self { round_delay_ms_min: 5, idle_delay_ms: 250, leader_timeout_ms_min: 100 }
    }
}

/// How the log writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogBackend {
    /// io_uring where the kernel offers it; a group that nothing else is to be done beside is a blocking call in any case.
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// A plain thread with `pwrite` and `fdatasync`.
    Threaded,
}

/// The log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `auto`, `io-uring` or `threaded`. Default `auto`.
    pub backend: LogBackend,
    /// Bytes of a segment. Default 256 MiB, range 1 MiB to 4 GiB.
    pub segment_bytes: u64,
    /// Groups of records on their way to the disk at the same time. Default 1, range 1 to 64; what is best on a disk tells
    /// `stele bench log --groups-in-flight`.
    pub groups_in_flight: u32,
    /// Bytes of log after which the state is flushed, which bounds what a restart replays. Default 64 MiB.
    pub flush_bytes: u64,
    /// Seconds after which it is flushed with fewer, which bounds what backups and exports of a quiet node lack. Default 60,
    /// range 1 to 86,400.
    pub flush_seconds: u64,
    /// Bytes a second at which a running node reads its full segments again, to find what the disk has changed; a day's rest
    /// follows a pass. Default 16 MiB, at most 64 GiB; 0 is never.
    pub scrub_bytes_per_second: u64,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            backend: LogBackend::Auto,
            segment_bytes: 256 << 20,
            groups_in_flight: 1,
            flush_bytes: 64 << 20,
            flush_seconds: 60,
            scrub_bytes_per_second: 16 << 20,
        }
    }
}

/// Catching up, and helping others to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncSection {
    /// A node that is further behind than so many heights takes the state of its peers instead of all commits; receipts
    /// from before are then found on other nodes only. It does so in any case where no peer has kept the commits.
    /// Default 100,000, range 100 to 2^60.
    pub state_above_heights: u64,
    /// Bytes of state a second that this node gives to all others together. Default 64 MiB, range 64 KiB to 64 GiB.
    pub serve_bytes_per_second: u64,
}

impl Default for SyncSection {
    fn default() -> Self {
        Self { state_above_heights: 100_000, serve_bytes_per_second: 64 << 20 }
    }
}

/// The pool of waiting transactions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSection {
    /// Transactions that may wait. Default 32,768, range 1 to 16,777,216.
    pub transactions_max: u32,
    /// Bytes that may wait. Default 64 MiB.
    pub bytes_max: u64,
}

impl Default for PoolSection {
    fn default() -> Self {
        Self { transactions_max: 32_768, bytes_max: 64 << 20 }
    }
}

/// Congestion control of validators' links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CongestionControl {
    /// Takes queueing for congestion, and loss for loss.
    Delay,
    /// RFC 9438. Collapses at 0.1 % random loss, as TCP does.
    Cubic,
    /// RFC 9002's own; collapses as well.
    NewReno,
    /// Experimental in quinn; holds its rate under random loss.
    Bbr,
}

/// Links to other validators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransportSection {
    /// `delay`, `cubic`, `new-reno` or `bbr`. Default `delay`.
    pub congestion: CongestionControl,
    /// Bytes a second, towards each peer, of second copies of blocks while the path to it loses packets; 0 is none. Default
    /// 1 MiB, range 0 to 1 GiB.
    pub copy_bytes_per_second: u32,
    /// Threads of the network runtime. Default 2, range 1 to 64.
    pub threads: u16,
}

impl Default for TransportSection {
    fn default() -> Self {
        Self { congestion: CongestionControl::Delay, copy_bytes_per_second: 1 << 20, threads: 2 }
    }
}

/// Changes of the committee, as members' approvals come in at this node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GovernanceSection {
    /// Refuse an approval of a change whose committee would have no quorum among the validators that this node is linked
    /// with. Default true. A new validator counts as out of reach, so that one or two grow to three only without this.
    pub quorum_in_reach: bool,
}

impl Default for GovernanceSection {
    fn default() -> Self {
        Self { quorum_in_reach: true }
    }
}

/// When validators' keys are due for replacement: an alarm in status and metrics, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSection {
    /// Days after which a key is due; 0 is never. Default 730.
    pub age_alarm_days: u32,
    /// Algorithms that are to be replaced, by name. Default none.
    #[serde(deserialize_with = "algorithms")]
    pub algorithm_alarms: Vec<AlgId>,
}

fn algorithms<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<AlgId>, D::Error> {
    let unknown = |name: &String| {
        let names: Vec<&str> = AlgId::signing().map(|alg| alg.name()).collect();
        serde::de::Error::custom(format!("unknown algorithm `{name}`, expected one of {}", names.join(", ")))
    };
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| AlgId::signing_from_name(name).ok_or_else(|| unknown(name))).collect()
}

impl Default for KeysSection {
    fn default() -> Self {
        Self { age_alarm_days: 730, algorithm_alarms: Vec::new() }
    }
}

/// Why a node cannot start from its configuration.
#[derive(Debug, Error, Diagnostic)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read {path}")]
    #[diagnostic(help("give the path of a node.toml with --config; `stele devnet --keep` leaves examples behind"))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a wrong type.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(Box<InvalidToml>),
    /// A number outside its range.
    #[error("{key} = {value} is outside {min} to {max}")]
    #[diagnostic(help("correct the key in node.toml, or leave it out for its default"))]
    OutOfRange {
        /// Which key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A role that does not say what it keeps, or says it of another.
    #[error("[storage] {what}")]
    #[diagnostic(help("docs/storage.md describes the roles archive, full and pruned"))]
    Keep {
        /// What is wrong.
        what: &'static str,
    },
    /// The genesis is not usable.
    #[error("{path}: the genesis is not usable")]
    Genesis {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: GenesisError,
    },
    /// The policy over the machine is none.
    #[error("{path}: no policy over a machine: {source}")]
    #[diagnostic(help("`stele hw check --help` shows one, `stele hw --facts` the facts that it may name"))]
    HardwarePolicy {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: firmware_hal::PolicyError,
    },
    /// The policy over the machines of peers is none.
    #[error("[attestation] peers: {0}")]
    #[diagnostic(help("`stele attest policy` writes the policy that a machine fulfils as it is"))]
    Machines(PolicyError),
    /// The validator is not in the genesis.
    #[error("genesis has no validator named `{name}`")]
    #[diagnostic(help("it has: {known}; a validator that the governance has added since starts with --join"))]
    UnknownValidator {
        /// What node.toml says.
        name: String,
        /// What genesis says.
        known: String,
    },
}

/// Where a TOML file is wrong, with the line.
#[derive(Debug, Error, Diagnostic)]
#[error("{path}: {message}")]
pub struct InvalidToml {
    path: String,
    message: String,
    #[source_code]
    source_code: NamedSource<String>,
    #[label("here")]
    span: Option<SourceSpan>,
}

impl InvalidToml {
    /// From what the parser says of a file's text.
    pub fn new(path: &Path, text: String, error: &toml::de::Error) -> Box<Self> {
        Self::at(path, text, error.message().to_owned(), error.span())
    }

    /// From a place in a file's text and what is wrong there.
    pub fn at(path: &Path, text: String, message: String, span: Option<std::ops::Range<usize>>) -> Box<Self> {
        let path = path.display().to_string();
        Box::new(Self {
            message,
            span: span.map(SourceSpan::from),
            source_code: NamedSource::new(path.clone(), text),
            path,
        })
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let range = |key, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { key, value, min, max }) }
        };
        range("shards", self.shards.get().into(), 1, 64)?;
        range("verify.threads", self.verify.threads.into(), 1, 256)?;
        range("verify.batch_items_max", self.verify.batch_items_max.into(), 1, 1 << 16)?;
        range("verify.linger_us", self.verify.linger_us.into(), 0, 100_000)?;
        range("verify.queue_items_max", self.verify.queue_items_max.into(), 1 << 10, 1 << 24)?;
        range("verify.key_cache_entries", self.verify.key_cache_entries.into(), 0, 1 << 24)?;
        range("verify.gpu_batch_items_max", self.verify.gpu_batch_items_max.into(), 1 << 10, 1 << 20)?;
        range("verify.sample_one_in", self.verify.sample_one_in.into(), 1, 1 << 20)?;
        range("pacing.round_delay_ms_min", self.pacing.round_delay_ms_min.into(), 0, 1_000)?;
        range("pacing.idle_delay_ms", self.pacing.idle_delay_ms.into(), 10, 500)?;
        range("pacing.leader_timeout_ms_min", self.pacing.leader_timeout_ms_min.into(), 10, 10_000)?;
        range("log.segment_bytes", self.log.segment_bytes, 1 << 20, 4 << 30)?;
        range("log.groups_in_flight", self.log.groups_in_flight.into(), 1, 64)?;
        range("log.flush_bytes", self.log.flush_bytes, 1 << 20, 64 << 30)?;
        range("log.flush_seconds", self.log.flush_seconds, 1, 86_400)?;
        range("log.scrub_bytes_per_second", self.log.scrub_bytes_per_second, 0, 64 << 30)?;
        range("storage.keep_log_bytes", self.storage.keep_log_bytes, 1 << 20, 1 << 60)?;
        self.storage.check()?;
        range("sync.state_above_heights", self.sync.state_above_heights, 100, 1 << 60)?;
        range("sync.serve_bytes_per_second", self.sync.serve_bytes_per_second, 64 << 10, 64 << 30)?;
        range("pool.transactions_max", self.pool.transactions_max.into(), 1, 1 << 24)?;
        range("pool.bytes_max", self.pool.bytes_max, 1 << 16, 64 << 30)?;
        range("transport.copy_bytes_per_second", self.transport.copy_bytes_per_second.into(), 0, 1 << 30)?;
        range("transport.threads", self.transport.threads.into(), 1, 64)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}
