//! Keys in a file, encrypted under a passphrase: for a devnet, tests, and validators without an HSM.
//! In use the keys are in the memory of the signer process, which is why `hsm-direct` does not allow this store.

mod format;

use crate::atomic_file;
use crate::config::KeystoreConfig;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::secret::Secret;
use crate::signer::{KeyRole, Keys, PublicKeys, Signer};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use types::{PublicKey, SecretKey, Signature};
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

/// Opens the keystore. Takes as long as its key derivation was made to take.
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`], [`ConfigError::PassphraseWrong`], and those of
/// [`Secret::read_file`].
pub fn open(config: &KeystoreConfig) -> Result<Keys, StartError> {
    let passphrase = Secret::read_file(&config.passphrase_file)?;
    let file = read(&config.path)?;
    let [consensus, transport] =
        format::decrypt(&file, &passphrase).map_err(|error| error.about(config.path.display()))?;
    Ok(Keys { consensus: SoftSigner::boxed(consensus), transport: SoftSigner::boxed(transport) })
}

/// The public keys, which stand in the file in clear. Whether they belong to the secret ones is known only after
/// [`open`].
///
/// # Errors
/// [`ConfigError::KeystoreMissing`], [`ConfigError::KeystoreDamaged`].
pub fn public_keys(path: &Path) -> Result<PublicKeys, StartError> {
    format::public_keys(&read(path)?).map_err(|error| error.about(path.display()))
}

/// Makes two new keys and writes them to a new file, which is never overwritten.
///
/// # Errors
/// [`ConfigError::KeyExists`], those of [`Secret::read_file`], faults of the disk.
pub fn generate(config: &KeystoreConfig, cost: Cost) -> Result<PublicKeys, StartError> {
    let passphrase = Secret::read_file(&config.passphrase_file)?;
    let keys = [new_key()?, new_key()?];
    let file = format::encrypt(&keys, &passphrase, cost).map_err(|error| error.about(config.path.display()))?;
    atomic_file::create(&config.path, &file).map_err(|error| atomic_file::start_error(&error, &config.path))?;
    let [consensus, transport] = keys.map(|key| key.public_key());
    Ok(PublicKeys { consensus, transport })
}

fn new_key() -> Result<SecretKey, StartError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| Fault::Randomness.about("key generation"))?;
    Ok(SecretKey::ed25519_from_seed(*seed))
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

const ROLES: [KeyRole; 2] = [KeyRole::Consensus, KeyRole::Transport];

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
    fn a_keystore_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        let public = generate(&config, QUICK).expect("new keystore");
        assert_eq!(generate(&config, QUICK).expect_err("exists").cause, ConfigError::KeyExists.into());
        assert_eq!(open(&config).expect("as before").public(), public);
    }

    #[test]
    fn a_wrong_passphrase_and_every_altered_byte_are_told() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = config(dir.path());
        generate(&config, QUICK).expect("new keystore");
        let intact = std::fs::read(&config.path).expect("written");
        for at in 0..intact.len() {
            // One bit, so that no byte of the cost becomes large enough to make the test slow.
            let mut altered = intact.clone();
            altered[at] ^= 1;
            std::fs::write(&config.path, &altered).expect("own file");
            let cause = open(&config).err().expect("altered").cause;
            let expected = [ConfigError::PassphraseWrong.into(), ConfigError::KeystoreDamaged.into()];
            assert!(expected.contains(&cause), "byte {at}: {cause}");
        }
        for length in 0..intact.len() {
            std::fs::write(&config.path, &intact[..length]).expect("own file");
            assert!(open(&config).is_err(), "cut to {length}");
        }
        std::fs::write(&config.path, &intact).expect("own file");
        std::fs::write(&config.passphrase_file, "wrong").expect("own file");
        assert_eq!(open(&config).err().expect("wrong").cause, ConfigError::PassphraseWrong.into());
        std::fs::remove_file(&config.path).expect("own file");
        std::fs::write(&config.passphrase_file, "any").expect("own file");
        assert_eq!(open(&config).err().expect("missing").cause, ConfigError::KeystoreMissing.into());
    }
}
