//! Keys in a file, encrypted under a passphrase: for a devnet, tests, validators without an HSM, and clients' accounts.
//! In use the keys are in the memory of the process, which is why `hsm-direct` does not allow this store for validators.
//!
//! A file holds a validator's two keys, Ed25519 or P-256, or the one key of an account, of any algorithm that clients
//! can sign with. A validator does not start with an account's file.

mod format;
mod held;

use crate::atomic_file;
use crate::config::KeystoreConfig;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::secret::Secret;
use crate::signer::{Keys, PublicKeys, Signer};
use held::Held;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use types::{AlgId, PublicKey, SecretKey, Signature, committee};
use zeroize::Zeroizing;

pub use format::Cost;

struct SoftSigner {
    secret: SecretKey,
    public: PublicKey,
}

impl SoftSigner {
    fn boxed(secret: SecretKey) -> Box<dyn Signer> {
        Box::new(Self { public: secret.public_key(), secret })
    }
}

impl Signer for SoftSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn module(&self) -> &str {
        "keystore"
    }

    fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
        Ok(self.secret.sign_bytes(message))
    }
}

/// Opens a validator's keystore. Takes as long as its key derivation was made to take.
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`], [`ConfigError::KeystoreOfAccount`],
/// [`ConfigError::PassphraseWrong`], and those of [`Secret::read_file`].
pub fn open(config: &KeystoreConfig) -> Result<Keys, StartError> {
    match decrypt(config)? {
        Held::Validator { consensus, transport } => Ok(Keys {
            consensus: SoftSigner::boxed(consensus),
            transport: SoftSigner::boxed(transport),
            modules_stuck: Arc::default(),
        }),
        Held::Account(_) => Err(ConfigError::KeystoreOfAccount.about(config.path.display())),
    }
}

/// Opens an account's keystore; a validator's stands for its first key. Takes as long as its key derivation was made to
/// take.
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`], [`ConfigError::PassphraseWrong`], and those of
/// [`Secret::read_file`].
pub fn open_account(config: &KeystoreConfig) -> Result<Box<dyn Signer>, StartError> {
    Ok(SoftSigner::boxed(decrypt(config)?.account()))
}

/// [`open_account`] with a passphrase that was typed.
///
/// # Errors
/// As there, without those of the passphrase's file.
pub fn open_account_with(path: &Path, passphrase: &Secret) -> Result<Box<dyn Signer>, StartError> {
    let keys = format::decrypt(&read(path)?, passphrase).map_err(|error| error.about(path.display()))?;
    Ok(SoftSigner::boxed(keys.account()))
}

fn decrypt(config: &KeystoreConfig) -> Result<Held<SecretKey>, StartError> {
    let passphrase = Secret::read(&config.passphrase_file)?;
    format::decrypt(&read(&config.path)?, &passphrase).map_err(|error| error.about(config.path.display()))
}

/// The public keys of a validator, which stand in the file in clear. Whether they belong to the secret ones is known only
/// after [`open`].
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`], [`ConfigError::KeystoreOfAccount`].
pub fn public_keys(path: &Path) -> Result<PublicKeys, StartError> {
    match format::public_keys(&read(path)?).map_err(|error| error.about(path.display()))? {
        Held::Validator { consensus, transport } => Ok(PublicKeys { consensus, transport }),
        Held::Account(_) => Err(ConfigError::KeystoreOfAccount.about(path.display())),
    }
}

/// The public key of an account, which stands in the file in clear. Whether it belongs to the secret one is known only
/// after [`open_account`].
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`].
pub fn account_public_key(path: &Path) -> Result<PublicKey, StartError> {
    let held = format::public_keys(&read(path)?).map_err(|error| error.about(path.display()))?;
    Ok(held.account())
}

/// Makes a validator's two Ed25519 keys and writes them to a new file, which is never overwritten.
///
/// # Errors
/// [`ConfigError::KeyExists`], those of [`Secret::read_file`], faults of the disk.
pub fn generate(config: &KeystoreConfig, cost: Cost) -> Result<PublicKeys, StartError> {
    generate_with(config, AlgId::Ed25519, cost)
}

/// As [`generate`], of any algorithm that a validator's keys can have.
///
/// # Errors
/// As there; [`ConfigError::KeyUnsuitable`] for another algorithm.
pub fn generate_with(config: &KeystoreConfig, alg: AlgId, cost: Cost) -> Result<PublicKeys, StartError> {
    if !committee::ALGORITHMS.contains(&alg) {
        return Err(ConfigError::KeyUnsuitable.about(alg));
    }
    let (consensus, transport) = (new_key(alg)?, new_key(alg)?);
    let public = PublicKeys { consensus: consensus.public_key(), transport: transport.public_key() };
    create(config, &Held::Validator { consensus, transport }, cost)?;
    Ok(public)
}

/// Makes the key of an account and writes it to a new file, which is never overwritten.
///
/// # Errors
/// [`ConfigError::KeyUnsuitable`] for an algorithm that clients cannot sign with, [`ConfigError::KeyExists`], those of
/// [`Secret::read_file`], faults of the disk.
pub fn generate_account(config: &KeystoreConfig, alg: AlgId, cost: Cost) -> Result<PublicKey, StartError> {
    let key = new_key(alg)?;
    let public = key.public_key();
    create(config, &Held::Account(key), cost)?;
    Ok(public)
}

fn create(config: &KeystoreConfig, keys: &Held<SecretKey>, cost: Cost) -> Result<(), StartError> {
    let passphrase = Secret::read(&config.passphrase_file)?;
    let file = format::encrypt(keys, &passphrase, cost).map_err(|error| error.about(config.path.display()))?;
    atomic_file::create(&config.path, &file).map_err(|error| atomic_file::start_error(&error, &config.path))
}

fn new_key(alg: AlgId) -> Result<SecretKey, StartError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| Fault::Randomness.about("key generation"))?;
    SecretKey::from_seed(alg, *seed).map_err(|_| ConfigError::KeyUnsuitable.about(alg))
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ConfigError::KeystoreMissing.about(path.display()),
        _ => atomic_file::start_error(&error, path),
    })?;
    let mut content = Vec::new();
    file.take(format::FILE_MAX as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| atomic_file::start_error(&error, path))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    const QUICK: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    fn config(dir: &Path) -> KeystoreConfig {
        let config = KeystoreConfig { path: dir.join("keys"), passphrase_file: dir.join("passphrase") };
        secret::create_random(&config.passphrase_file).expect("new file");
        config
    }

    #[test]
    fn generated_keys_open_and_sign() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        let public = generate(&config, QUICK).expect("new keystore");
        let mut keys = open(&config).expect("right passphrase");
        assert_eq!(keys.public(), public);
        assert_eq!(public_keys(&config.path), Ok(public.clone()));
        for (key, public) in [(&mut keys.consensus, public.consensus), (&mut keys.transport, public.transport)] {
            let signature = key.sign(b"message").expect("software key");
            assert!(public.verify_bytes(b"message", &signature).is_ok());
        }
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&config.path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn accounts_of_every_algorithm_open_and_sign_and_no_validator_starts_with_them() {
        for alg in AlgId::signing() {
            let dir = tempfile::tempdir().expect("temporary directory");
            let config = config(dir.path());
            let public = generate_account(&config, alg, QUICK).expect("new keystore");
            assert_eq!(public.alg(), alg);
            assert_eq!(account_public_key(&config.path), Ok(public.clone()));
            let mut key = open_account(&config).expect("right passphrase");
            assert_eq!(key.public_key(), &public);
            let signature = key.sign(b"message").expect("software key");
            assert!(public.verify_bytes(b"message", &signature).is_ok());

            let of_account = ConfigError::KeystoreOfAccount.into();
            assert_eq!(open(&config).err().expect("not a validator's").cause, of_account);
            assert_eq!(public_keys(&config.path).expect_err("not a validator's").cause, of_account);
            assert_eq!(generate_account(&config, alg, QUICK).expect_err("exists").cause, ConfigError::KeyExists.into());
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        for alg in [AlgId::MlDsa65, AlgId::Sha256] {
            let error = generate_account(&config, alg, QUICK).expect_err("cannot sign");
            assert_eq!(error.cause, ConfigError::KeyUnsuitable.into());
        }
    }

    #[test]
    fn a_validators_file_stands_for_its_first_key() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        let public = generate(&config, QUICK).expect("new keystore");
        assert_eq!(account_public_key(&config.path), Ok(public.consensus.clone()));
        assert_eq!(open_account(&config).expect("right passphrase").public_key(), &public.consensus);
    }

    #[test]
    fn a_keystore_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        let public = generate(&config, QUICK).expect("new keystore");
        assert_eq!(generate(&config, QUICK).expect_err("exists").cause, ConfigError::KeyExists.into());
        assert_eq!(open(&config).expect("as before").public(), public);
    }

    #[test]
    fn a_wrong_passphrase_and_every_altered_byte_are_told() {
        told(|config| drop(generate(config, QUICK).expect("new keystore")), |config| open(config).err());
        let account = |config: &KeystoreConfig| drop(generate_account(config, AlgId::Sm2Sm3, QUICK).expect("new"));
        told(account, |config| open_account(config).err());
    }

    fn told(generate: impl Fn(&KeystoreConfig), open: impl Fn(&KeystoreConfig) -> Option<StartError>) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        generate(&config);
        let intact = std::fs::read(&config.path).expect("written");
        for at in 0..intact.len() {
            // One bit, so that no byte of the cost becomes large enough to make the test slow.
            let mut altered = intact.clone();
            altered[at] ^= 1;
            std::fs::write(&config.path, &altered).expect("own file");
            let cause = open(&config).expect("altered").cause;
            let expected = [ConfigError::PassphraseWrong.into(), ConfigError::KeystoreDamaged.into()];
            assert!(expected.contains(&cause), "byte {at}: {cause}");
        }
        for length in 0..intact.len() {
            std::fs::write(&config.path, &intact[..length]).expect("own file");
            assert!(open(&config).is_some(), "cut to {length}");
        }
        std::fs::write(&config.path, &intact).expect("own file");
        std::fs::write(&config.passphrase_file, "wrong").expect("own file");
        assert_eq!(open(&config).expect("wrong").cause, ConfigError::PassphraseWrong.into());
        std::fs::remove_file(&config.path).expect("own file");
        std::fs::write(&config.passphrase_file, "any").expect("own file");
        assert_eq!(open(&config).expect("missing").cause, ConfigError::KeystoreMissing.into());
    }
}
