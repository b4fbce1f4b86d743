//! From a `node.toml` to a node's part in an epoch: what is configured is [`Setup`], and the state says in which epoch
//! the node is, so that [`Plan`] comes later. A node has a part in an epoch whose committee has its name with the keys
//! that its signer holds.

use super::{Config, ConfigError, InvalidToml, read};
use crate::attestation;
use firmware_hal::Policy;
use hsm::PublicKeys;
use miette::Diagnostic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use types::{Authority, AuthorityIndex, ChainId, Committee, Epoch, EpochStart, Genesis};

/// Name of the state database in the data directory.
pub const STATE: &str = "state";
/// Name of the log in it.
pub const LOG: &str = "log";
/// Name of the directory of snapshots in it.
pub const SNAPSHOTS: &str = "snapshots";

/// Why a node has no part in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum Outside {
    /// The committee has no validator of its name.
    #[error("the committee of epoch {epoch} has no validator `{name}`")]
    #[diagnostic(help(
        "the governance has removed it, or not added it yet; with --join the node waits for an epoch that has it. Its data can be kept or deleted"
    ))]
    NotNamed {
        /// The name.
        name: String,
        /// The epoch.
        epoch: Epoch,
    },
    /// The signer holds other keys than the committee names for this validator.
    #[error("the signer holds another {role} key than {by} names for this validator")]
    #[diagnostic(help(
        "signer: {held}\n{by}: {named}\ncheck `validator` in node.toml and the keys in signer.toml; after a change of keys start the signer with the new ones, and with --join the node waits for the epoch that names them"
    ))]
    OtherKey {
        /// Which key.
        role: &'static str,
        /// Who names the other one.
        by: String,
        /// What the signer holds.
        held: String,
        /// What is named.
        named: String,
    },
}

/// A checked configuration: everything a node needs to start, except its place in the present committee, which stands in
/// its state.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The genesis.
    pub genesis: Arc<Genesis>,
    /// Its digest.
    pub chain: ChainId,
    /// The epoch that genesis begins.
    pub first: Arc<EpochStart>,
    /// Directory of log and state.
    pub data_dir: PathBuf,
    /// Path of the signer's socket.
    pub signer_socket: PathBuf,
    /// How long the signer may take to listen.
    pub signer_patience: Duration,
    /// Whether the operator accepts that own blocks may be signed twice after a disk was lost.
    pub accept_lost_disk: bool,
    /// Whether the node waits for an epoch whose committee has it.
    pub join: bool,
    /// Where to ask for epochs, besides the validators that are known: RPC addresses.
    pub ask: Vec<String>,
    /// What the machine must be.
    pub hardware: Option<Policy>,
    /// What the machines of peers must be.
    pub machines: Option<Arc<attestation::Policy>>,
    /// The rest of the file, in range.
    pub config: Config,
}

fn policy(path: &Path) -> Result<Policy, ConfigError> {
    let text = read(path)?;
    Policy::parse(&text).map_err(|source| ConfigError::HardwarePolicy { path: path.to_owned(), source })
}

impl Setup {
    /// Reads and checks a `node.toml` and the genesis that it names. With `join` genesis need not have this validator.
    pub fn load(path: &Path, join: bool) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let config: Config = match toml::from_str(&text) {
            Ok(config) => config,
            Err(error) => return Err(ConfigError::Invalid(InvalidToml::new(path, text, &error))),
        };
        let base = path.parent().unwrap_or(Path::new("."));
        let genesis_path = base.join(&config.genesis);
        let genesis = Genesis::from_toml(&read(&genesis_path)?)
            .map_err(|source| ConfigError::Genesis { path: genesis_path.clone(), source })?;
        let first = EpochStart::first(&genesis)
            .map_err(|source| ConfigError::Genesis { path: genesis_path.clone(), source })?;
        config.check()?;
        let hardware = config.hardware.policy.as_ref().map(|path| policy(&base.join(path))).transpose()?;
        let machines = config.attestation.peers.as_ref().map(|path| attestation::Policy::read(&base.join(path)));
        let machines = machines.transpose().map_err(ConfigError::Machines)?.map(Arc::new);
        let data_dir = base.join(&config.data_dir);
        let named = genesis.validators.iter().any(|validator| validator.name == config.validator);
        if !named && !join && !data_dir.join(STATE).exists() {
            return Err(ConfigError::UnknownValidator {
                name: config.validator.clone(),
                known: genesis.validators.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", "),
            });
        }
        Ok(Self {
            chain: genesis.chain_id(),
            first: Arc::new(first),
            data_dir,
            signer_socket: base.join(&config.signer.socket),
            genesis: Arc::new(genesis),
            signer_patience: Duration::ZERO,
            accept_lost_disk: false,
            join,
            ask: Vec::new(),
            hardware,
            machines,
            config,
        })
    }

    /// This node in an epoch whose committee has it by its name, with the keys that its signer holds.
    pub fn in_epoch(&self, start: &EpochStart, held: &PublicKeys) -> Result<Plan, Outside> {
        let (name, epoch) = (&self.config.validator, start.epoch());
        let mut members = start.committee.authorities().iter().enumerate();
        let (me, entry) = members
            .find(|(_, authority)| authority.name == *name)
            .ok_or_else(|| Outside::NotNamed { name: name.clone(), epoch })?;
        let keys = [
            ("consensus", &held.consensus, &entry.consensus_key),
            ("transport", &held.transport, &entry.transport_key),
        ];
        for (role, held, named) in keys {
            if held != named {
                let by = if epoch == self.first.epoch() { "genesis".into() } else { format!("epoch {epoch}") };
                return Err(Outside::OtherKey { role, by, held: held.to_string(), named: named.to_string() });
            }
        }
        Ok(Plan {
            genesis: Arc::clone(&self.genesis),
            chain: self.chain,
            me: AuthorityIndex(me as u16),
            committee: Arc::new(start.committee.clone()),
            epoch: Arc::new(start.clone()),
            data_dir: self.data_dir.clone(),
            signer_socket: self.signer_socket.clone(),
            accept_lost_disk: self.accept_lost_disk,
            machines: self.machines.clone(),
            config: self.config.clone(),
        })
    }

    /// Directory of the state database.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join(STATE)
    }

    /// Directory of the log.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join(LOG)
    }

    /// What log and state are marked with, so that those of another ledger or node are refused.
    pub fn identity(&self) -> [u8; 32] {
        let marked = types::Hasher::new("stele/data-directory/2").with_encoded(&self.chain);
        *marked.with(self.config.validator.as_bytes()).finish().as_bytes()
    }
}

/// A node's part in an epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The genesis.
    pub genesis: Arc<Genesis>,
    /// Its digest.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Arc<EpochStart>,
    /// Its committee.
    pub committee: Arc<Committee>,
    /// Which validator this node is.
    pub me: AuthorityIndex,
    /// Directory of log and state.
    pub data_dir: PathBuf,
    /// Path of the signer's socket.
    pub signer_socket: PathBuf,
    /// Whether the operator accepts that own blocks may be signed twice after a disk was lost.
    pub accept_lost_disk: bool,
    /// What the machines of peers must be.
    pub machines: Option<Arc<attestation::Policy>>,
    /// `node.toml`.
    pub config: Config,
}

impl Plan {
    /// This node's entry in the committee.
    pub fn own_entry(&self) -> &Authority {
        self.committee.authority(self.me).expect("a plan is made with a place in its committee")
    }
}
