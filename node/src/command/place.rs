//! Which data directory a tool works on, and of which ledger it is: by node.toml, or by directory and genesis.

use crate::config::{ConfigError, LOG, STATE, Setup};
use crate::rebuild::Source;
use clap::Args;
use miette::Diagnostic;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::log::{Files, LogError, check};
use storage::state::StateDb;
use thiserror::Error;
use types::{ChainId, Genesis, GenesisError};

/// Name of the genesis that is looked for beside the data.
const GENESIS: &str = "genesis.toml";

/// Options that name a data directory.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// The data directory: `data_dir` in node.toml.
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// With --data: the genesis of its ledger [default: genesis.toml in DIR, or in the directory above]
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    genesis: Option<PathBuf>,
    /// Instead of --data: the node's configuration, which names data directory and genesis.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why it is not known.
#[derive(Debug, Error, Diagnostic)]
pub enum PlaceError {
    /// node.toml.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),
    /// No genesis.
    #[error("there is no genesis.toml in {} or above it", .0.display())]
    #[diagnostic(help("name it with --genesis, or the node's configuration with --config"))]
    NoGenesis(PathBuf),
    /// The genesis cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// It is none.
    #[error("{}: the genesis is not usable: {source}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GenesisError,
    },
    /// Nothing says whose the directory is.
    #[error("{}: there is no log", .0.display())]
    #[diagnostic(help("--data is the directory that node.toml calls data_dir; it holds log and state"))]
    NoLog(PathBuf),
    /// The log.
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
}

/// A data directory, and what the options say of whose it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory.
    pub data_dir: PathBuf,
    /// What its log and state have to be marked with: known of a node whose configuration was named.
    pub identity: Option<[u8; 32]>,
    /// The ledger of which they have to be, where there is a genesis.
    pub chain: Option<ChainId>,
}

impl PlaceArgs {
    /// The data directory, and whose it has to be.
    pub fn place(&self) -> Result<Place, PlaceError> {
        if let Some(config) = &self.config {
            let setup = Setup::load(config, true)?;
            let (identity, chain) = (Some(setup.identity()), Some(setup.chain));
            return Ok(Place { data_dir: setup.data_dir, identity, chain });
        }
        let data_dir = self.data.clone().unwrap_or_default();
        let genesis = self.genesis.clone().or_else(|| beside(&data_dir));
        let chain = genesis.map(|path| read_genesis(&path)).transpose()?.map(|genesis| genesis.chain_id());
        Ok(Place { data_dir, identity: None, chain })
    }

    /// The data directory, the ledger, and what the directory is marked with.
    pub fn source(&self) -> Result<Source, PlaceError> {
        if let Some(config) = &self.config {
            let setup = Setup::load(config, true)?;
            let (identity, shards) = (setup.identity(), setup.config.shards);
            return Ok(Source::new(setup.data_dir, setup.genesis, identity, shards));
        }
        let data = self.data.clone().unwrap_or_default();
        let path = self.genesis.clone().or_else(|| beside(&data)).ok_or_else(|| PlaceError::NoGenesis(data.clone()))?;
        let genesis = Arc::new(read_genesis(&path)?);
        let log = Files::beside(&data.join(LOG));
        let identity = identity(&data, &log)?.ok_or_else(|| PlaceError::NoLog(data.clone()))?;
        Ok(Source::new(data, genesis, identity, NonZeroU16::MIN))
    }

    /// The node's configuration, if it was named.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Reads a genesis.
pub fn read_genesis(path: &Path) -> Result<Genesis, PlaceError> {
    let unreadable = |source| PlaceError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Genesis::from_toml(&text).map_err(|source| PlaceError::Genesis { path: path.to_owned(), source })
}

fn beside(data: &Path) -> Option<PathBuf> {
    let above = data.join("..").join(GENESIS);
    [data.join(GENESIS), above].into_iter().find(|path| path.exists())
}

/// Whose a directory is as far as it says so itself: the log, whose headers have checksums, or else the lock file of the
/// state, which has none.
///
/// # Errors
/// [`LogError::Io`]: the directory of the log cannot be read.
pub fn identity(data: &Path, log: &Files) -> Result<Option<[u8; 32]>, LogError> {
    Ok(check::identity(log)?.or_else(|| StateDb::owner(data.join(STATE))))
}
