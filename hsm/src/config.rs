//! The signer's configuration, as an operator writes it. Holds paths and labels, never a secret.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use types::{AuthorityIndex, ChainId, Epoch};

/// All that a signer process is told. Unknown keys are refused.
///
/// ```
/// let text = r#"
///     chain = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
///     author = 0
///     epoch = 0
///     guard = "/var/lib/stele/guard"
///     socket = "/run/stele/signer.sock"
///     [store.keystore]
///     path = "/var/lib/stele/keys.stele"
///     passphrase_file = "/etc/stele/passphrase"
/// "#;
/// let config: hsm::SignerConfig = toml::from_str(text).unwrap();
/// assert!(matches!(config.store, hsm::StoreConfig::Keystore(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The one ledger that is signed for.
    pub chain: ChainId,
    /// The validator's place in the committee of `epoch`. Committees of later epochs may have moved it.
    pub author: AuthorityIndex,
    /// The first epoch that is signed in.
    pub epoch: Epoch,
    /// The guard file; made once by [`crate::provision::guard`], never by the signer.
    pub guard: PathBuf,
    /// Where to listen; at most 107 bytes long.
    pub socket: PathBuf,
    /// Which key signs the rounds.
    #[serde(default)]
    pub signing: SigningConfig,
    /// What keeps a copy of the guard file from signing.
    #[serde(default)]
    pub fence: FenceConfig,
    /// Where attestations come from; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<AttestationConfig>,
    /// What the process may do.
    #[serde(default)]
    pub process: ProcessConfig,
    /// Where the keys are.
    pub store: StoreConfig,
}

/// Which key signs the rounds.
///
/// ```
/// let text = "mode = \"certified\"\ncertificate_rounds = 10_000";
/// let config: hsm::config::SigningConfig = toml::from_str(text).unwrap();
/// assert_eq!(config.mode, hsm::config::SigningMode::Certified);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningConfig {
    /// `direct` where not given.
    pub mode: SigningMode,
    /// Rounds that an epoch key is certified for, 100 to 10,000,000; 20,000 where not given, which is about an hour at six
    /// rounds a second. The next key is certified half way through, so a token may be away for the other half.
    pub certificate_rounds: u64,
    /// For measurements: what every signature of the two keys takes longer, in milliseconds. 0 where not given.
    pub added_latency_ms: u32,
}

impl Default for SigningConfig {
    fn default() -> Self {
        Self { mode: SigningMode::default(), certificate_rounds: 20_000, added_latency_ms: 0 }
    }
}

impl SigningConfig {
    /// The rounds of a certificate, within the limits.
    pub fn certificate_rounds(&self) -> Option<u64> {
        (100..=10_000_000).contains(&self.certificate_rounds).then_some(self.certificate_rounds)
    }
}

/// Which key signs the rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningMode {
    /// The consensus key, each.
    #[default]
    Direct,
    /// An epoch key in the memory of the signer, which the consensus key has certified ([`types::EpochKeyCertificate`]).
    Certified,
}

/// What the signer process may do.
///
/// ```
/// let config: hsm::config::ProcessConfig = toml::from_str("user = \"stele-signer\"\nallow_uids = [990]").unwrap();
/// assert_eq!(config.seccomp, hsm::config::SeccompMode::On);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessConfig {
    /// What happens at a system call that the signer and known modules do not need; `on` by default.
    pub seccomp: SeccompMode,
    /// Whether the process can touch its own files alone, those of its modules and `allow_paths`; `on` by default.
    pub landlock: LandlockMode,
    /// Files and directories beside those that it may also read and write: what a vendor's module needs. None by default.
    pub allow_paths: Vec<PathBuf>,
    /// The user to become where root starts the signer. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Users beside the signer's own that may connect, by number: the node's. None by default.
    pub allow_uids: Vec<u32>,
}

/// What happens at a system call that is not on the signer's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompMode {
    /// It fails.
    #[default]
    On,
    /// It is done, and logged by the kernel: to find out what a vendor's module needs.
    Log,
    /// It is done.
    Off,
}

/// Whether the signer is confined to files of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LandlockMode {
    /// It is, as far as the kernel can.
    #[default]
    On,
    /// It reaches what its user does.
    Off,
}

/// What keeps an older copy of the guard file, or a second signer, from signing (see [`crate::guard::fence`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceConfig {
    /// The guard file is bound to this machine and to itself.
    Machine(MachineFence),
    /// A TPM 2.0 remembers which guard file is the newest.
    Tpm(TpmFence),
}

impl Default for FenceConfig {
    fn default() -> Self {
        Self::Machine(MachineFence {})
    }
}

/// Has nothing to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFence {}

/// An NV index of a TPM.
///
/// ```
/// let config: hsm::config::TpmFence = toml::from_str("index = 0x01800000").unwrap();
/// assert_eq!((config.device.to_str(), config.rounds), (Some("/dev/tpmrm0"), 1024));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmFence {
    /// The TPM's device with a resource manager, or the Unix socket of a simulator; `/dev/tpmrm0` by default.
    #[serde(default = "tpm_device")]
    pub device: PathBuf,
    /// The NV index, one for each validator on the machine, among the owner's: 0x01800000 to 0x01bfffff.
    pub index: u32,
    /// Rounds that are reserved at a time: after a crash so many are left out at most. Every half as many rounds the TPM
    /// is written to. 1024 by default, at least 16.
    #[serde(default = "fence_rounds")]
    pub rounds: u64,
}

/// A TPM that says how this machine was started (see [`crate::attestation`]).
///
/// ```
/// let config: hsm::config::AttestationConfig = toml::from_str("registers = [7, 11]").unwrap();
/// assert_eq!((config.device.to_str(), config.registers), (Some("/dev/tpmrm0"), vec![7, 11]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttestationConfig {
    /// The TPM's device with a resource manager, or the Unix socket of a simulator; `/dev/tpmrm0` by default.
    pub device: PathBuf,
    /// What is attested: registers of the bank of SHA-256, from 0 to 23. By default those of the firmware, 0 to 7, and
    /// that of the image, 11.
    pub registers: Vec<u8>,
}

impl Default for AttestationConfig {
    fn default() -> Self {
        Self { device: tpm_device(), registers: vec![0, 1, 2, 3, 4, 5, 6, 7, 11] }
    }
}

/// The first TPM's device with a resource manager.
pub fn tpm_device() -> PathBuf {
    PathBuf::from("/dev/tpmrm0")
}

fn fence_rounds() -> u64 {
    1024
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// A process holds one or two.
#[allow(clippy::large_enum_variant)]
pub enum StoreConfig {
    /// In a token behind a PKCS#11 module.
    Pkcs11(Pkcs11Config),
    /// In an encrypted file.
    Keystore(KeystoreConfig),
}

/// Keys in a token. SoftHSM2 finds its tokens through `SOFTHSM2_CONF`, which the signer process gets in its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The module, a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token_label: String,
    /// The user PIN: a file that is readable by its owner alone, or another [`crate::secret::SecretSource`].
    pub pin_file: PathBuf,
    /// Label of the consensus key.
    #[serde(default = "consensus_label")]
    pub consensus_label: String,
    /// Label of the transport key.
    #[serde(default = "transport_label")]
    pub transport_label: String,
    /// CKA_ID of the consensus key in hexadecimal, for a token where labels are not unique; the label is not used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus_id: Option<String>,
    /// CKA_ID of the transport key in hexadecimal, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_id: Option<String>,
    /// Most sessions at a time, from 1; 4 where absent. A smaller number of the token's or profile's counts too.
    #[serde(default = "sessions_max")]
    pub sessions_max: u32,
    /// Longest time that a request to a token takes before the module is given up, in milliseconds, 100 to 600,000; 20,000
    /// where absent. A connection to the token, which is some dozen calls, may take three times as long. Without a
    /// standby the signer process then ends, for a supervisor to start it again.
    #[serde(default = "call_timeout_ms")]
    pub call_timeout_ms: u32,
    /// Name of a profile that is compiled in (`hsm/profiles`); `generic` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A profile of one's own, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_file: Option<PathBuf>,
    /// A second token with the same two keys, used while the first one fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyConfig>,
}

/// A second token, with the same keys under the same names. One signer with one guard uses both, so that neither can sign
/// what contradicts the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandbyConfig {
    /// Its module; another file than the first one's, since a module is finalised as a whole. A copy will do.
    pub module: PathBuf,
    /// Label of the token.
    pub token_label: String,
    /// File with the user PIN.
    pub pin_file: PathBuf,
    /// As for the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// As for the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_file: Option<PathBuf>,
}

impl Pkcs11Config {
    /// With defaults for all that has one.
    pub fn new(module: PathBuf, token_label: &str, pin_file: PathBuf) -> Self {
        Self {
            module,
            token_label: token_label.to_owned(),
            pin_file,
            consensus_label: consensus_label(),
            transport_label: transport_label(),
            consensus_id: None,
            transport_id: None,
            sessions_max: sessions_max(),
            call_timeout_ms: call_timeout_ms(),
            profile: None,
            profile_file: None,
            standby: None,
        }
    }

    /// Longest time of a request, within the limits.
    pub fn call_timeout(&self) -> Option<Duration> {
        let within = (100..=600_000).contains(&self.call_timeout_ms);
        within.then(|| Duration::from_millis(self.call_timeout_ms.into()))
    }

    /// The configuration of the standby alone.
    pub(crate) fn of_standby(&self) -> Option<Self> {
        let standby = self.standby.as_ref()?;
        Some(Self {
            module: standby.module.clone(),
            token_label: standby.token_label.clone(),
            pin_file: standby.pin_file.clone(),
            profile: standby.profile.clone(),
            profile_file: standby.profile_file.clone(),
            standby: None,
            ..self.clone()
        })
    }
}

/// Keys in an encrypted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoreConfig {
    /// The keystore.
    pub path: PathBuf,
    /// The passphrase: a file that is readable by its owner alone, or another [`crate::secret::SecretSource`].
    pub passphrase_file: PathBuf,
}

fn sessions_max() -> u32 {
    4
}

fn call_timeout_ms() -> u32 {
    20_000
}

/// Label of the consensus key where none is given: `stele-consensus`.
pub fn consensus_label() -> String {
    "stele-consensus".to_owned()
}

/// Label of the transport key where none is given: `stele-transport`.
pub fn transport_label() -> String {
    "stele-transport".to_owned()
}
