//! `signer.toml`: read, with its paths taken from where it lies.

use super::SignerError;
use hsm::config::{KeystoreConfig, Pkcs11Config, ProcessConfig, StandbyConfig};
use hsm::secret::SecretSource;
use hsm::{SignerConfig, StoreConfig};
use miette::{NamedSource, SourceSpan};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A `signer.toml` of which only the store is looked at: the ledger is not known yet.
#[derive(Debug, Deserialize)]
pub(super) struct StoreFile {
    pub(super) store: StoreConfig,
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SignerError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SignerError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| SignerError::Invalid {
        path: path.display().to_string(),
        message: error.message().to_owned(),
        span: error.span().map(SourceSpan::from),
        source_code: Arc::new(NamedSource::new(path.display().to_string(), text)),
    })
}

/// Paths that are relative to the file which names them.
pub(super) trait Beside: Sized {
    fn beside(self, file: &Path) -> Self;
}

impl Beside for PathBuf {
    fn beside(self, file: &Path) -> Self {
        // An absolute path stays as it is.
        file.parent().map_or_else(|| self.clone(), |directory| directory.join(&self))
    }
}

impl Beside for StoreConfig {
    fn beside(self, file: &Path) -> Self {
        match self {
            Self::Pkcs11(config) => Self::Pkcs11(Pkcs11Config {
                module: config.module.beside(file),
                pin_file: secret_beside(config.pin_file, file),
                profile_file: config.profile_file.map(|path| path.beside(file)),
                standby: config.standby.map(|standby| StandbyConfig {
                    module: standby.module.beside(file),
                    pin_file: secret_beside(standby.pin_file, file),
                    profile_file: standby.profile_file.map(|path| path.beside(file)),
                    ..standby
                }),
                ..config
            }),
            Self::Keystore(config) => Self::Keystore(KeystoreConfig {
                path: config.path.beside(file),
                passphrase_file: secret_beside(config.passphrase_file, file),
            }),
        }
    }
}

impl Beside for SignerConfig {
    fn beside(self, file: &Path) -> Self {
        Self {
            guard: self.guard.beside(file),
            socket: self.socket.beside(file),
            store: self.store.beside(file),
            process: ProcessConfig {
                allow_paths: self.process.allow_paths.into_iter().map(|path| path.beside(file)).collect(),
                ..self.process
            },
            ..self
        }
    }
}

/// The same for a secret, where it is in a file.
fn secret_beside(source: PathBuf, file: &Path) -> PathBuf {
    match SecretSource::parse(&source) {
        Some(SecretSource::File(path)) => path.beside(file),
        Some(SecretSource::Sealed(path)) => SecretSource::Sealed(path.beside(file)).to_string().into(),
        // What is none is told where it is read.
        Some(SecretSource::Descriptor(_) | SecretSource::Prompt | SecretSource::Credential(_)) | None => source,
    }
}

/// The file with the PIN or passphrase.
pub(super) trait SecretFile {
    fn secret_file(&self) -> &Path;
}

impl SecretFile for StoreConfig {
    fn secret_file(&self) -> &Path {
        match self {
            Self::Pkcs11(config) => &config.pin_file,
            Self::Keystore(config) => &config.passphrase_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let text = "[store.keystore]\npath = \"keys.stele\"\npassphrase_file = ";
        for (named, found) in [
            ("/etc/stele/passphrase", "/etc/stele/passphrase"),
            ("passphrase", "/srv/stele/passphrase"),
            ("sealed:passphrase", "sealed:/srv/stele/passphrase"),
            ("sealed:/etc/stele/passphrase", "sealed:/etc/stele/passphrase"),
            ("fd:3", "fd:3"),
            ("fd:0", "fd:0"),
        ] {
            let file: StoreFile = toml::from_str(&format!("{text}{named:?}")).expect("valid");
            let StoreConfig::Keystore(store) = file.store.beside(Path::new("/srv/stele/signer.toml")) else {
                panic!("a keystore was given");
            };
            assert_eq!(store.path, Path::new("/srv/stele/keys.stele"));
            assert_eq!(store.passphrase_file, Path::new(found));
        }
    }
}
