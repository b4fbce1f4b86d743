//! The signer's command line, for `stele-signer` and for `stele signer`: paths only, never a secret.

use crate::config::{SignerConfig, StoreConfig};
use crate::error::{ConfigError, StartError};
use crate::process::{self, Lifetime};
use crate::provision;
use crate::service::GuardFile;
use crate::signer::PublicKeys;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use types::AlgId;

/// How the command line is used.
pub const USAGE: &str = "\
  run CONFIG                      signs until SIGTERM, SIGINT or SIGHUP
  child CONFIG                    signs until SIGTERM or the end of standard input
  generate ALGORITHM STORE [SO_PIN_FILE]    makes both keys (ed25519, ecdsa-p256), prints the public ones (TOML)
  guard CONFIG PUBLIC_KEYS        makes the guard file of a validator that has never signed

CONFIG is a signer configuration, STORE its [pkcs11] or [keystore] table, PUBLIC_KEYS what `generate` printed.";

/// What a process of the signer does. All files are TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Signs, see [`Lifetime::Service`].
    Run {
        /// File with a [`SignerConfig`].
        config: PathBuf,
    },
    /// Signs, see [`Lifetime::Parent`].
    Child {
        /// File with a [`SignerConfig`].
        config: PathBuf,
    },
    /// [`provision::generate`]; prints [`PublicKeys`].
    Generate {
        /// Of both keys.
        alg: AlgId,
        /// File with a [`StoreConfig`].
        store: PathBuf,
        /// File with the SO PIN, to initialise a token.
        so_pin_file: Option<PathBuf>,
    },
    /// [`provision::guard`].
    Guard {
        /// File with a [`SignerConfig`].
        config: PathBuf,
        /// File with [`PublicKeys`].
        keys: PathBuf,
    },
}

impl Command {
    /// From the arguments after the program's name; `None` where they are not as in [`USAGE`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let verb = arguments.next()?;
        let alg = match verb.to_str()? {
            "generate" => AlgId::from_name(arguments.next()?.to_str()?)?,
            _ => AlgId::Ed25519,
        };
        let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
        match (verb.to_str()?, &paths[..]) {
            ("run", [config]) => Some(Self::Run { config: config.clone() }),
            ("child", [config]) => Some(Self::Child { config: config.clone() }),
            ("generate", [store]) => Some(Self::Generate { alg, store: store.clone(), so_pin_file: None }),
            ("generate", [store, so_pin_file]) => {
                Some(Self::Generate { alg, store: store.clone(), so_pin_file: Some(so_pin_file.clone()) })
            }
            ("guard", [config, keys]) => Some(Self::Guard { config: config.clone(), keys: keys.clone() }),
            _ => None,
        }
    }

    /// The arguments that [`Command::parse`] reads this from.
    pub fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Run { config } => vec!["run".into(), config.into()],
            Self::Child { config } => vec!["child".into(), config.into()],
            Self::Generate { alg, store, so_pin_file } => {
                let verb_and_store = [OsString::from("generate"), alg.name().into(), store.into()];
                verb_and_store.into_iter().chain(so_pin_file.iter().map(OsString::from)).collect()
            }
            Self::Guard { config, keys } => vec!["guard".into(), config.into(), keys.into()],
        }
    }

    /// Does it, in this process. To be called before any thread is started.
    ///
    /// # Errors
    /// [`StartError`]; the process should print it and exit with [`crate::StoreError::exit_status`] of its cause, which
    /// [`crate::child`] understands.
    pub fn execute(&self) -> Result<(), StartError> {
        match self {
            Self::Run { config } => process::run(&read(config)?, Lifetime::Service, GuardFile::Kept),
            Self::Child { config } => process::run(&read(config)?, Lifetime::Parent, GuardFile::Kept),
            Self::Generate { alg, store, so_pin_file } => {
                let keys = provision::generate_with(&read::<StoreConfig>(store)?, so_pin_file.as_deref(), *alg)?;
                print!("{}", toml::to_string(&keys).expect("a table of two strings"));
                Ok(())
            }
            Self::Guard { config, keys } => {
                provision::guard(&read::<SignerConfig>(config)?, &read::<PublicKeys>(keys)?)
            }
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StartError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        ConfigError::ConfigUnreadable.about(format_args!("{} ({reason})", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    toml::from_str(&text).map_err(|error| unreadable(&error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_read_back_and_others_are_not_understood() {
        let path = |name: &str| PathBuf::from(name);
        for command in [
            Command::Run { config: path("a") },
            Command::Child { config: path("a") },
            Command::Generate { alg: AlgId::EcdsaP256, store: path("a"), so_pin_file: None },
            Command::Generate { alg: AlgId::Ed25519, store: path("a"), so_pin_file: Some(path("b")) },
            Command::Guard { config: path("a"), keys: path("b") },
        ] {
            assert_eq!(Command::parse(command.arguments()), Some(command.clone()));
            let more = command.arguments().into_iter().chain(["c".into(), "d".into()]);
            assert_eq!(Command::parse(more), None);
        }
        assert_eq!(Command::parse([]), None);
        assert_eq!(Command::parse(["--help".into()]), None);
    }
}
