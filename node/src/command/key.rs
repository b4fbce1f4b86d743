//! `stele key`: an account's key in a file that is encrypted under a passphrase.
//!
//! The file is a keystore of [`hsm::keystore`]. Secrets come from files that only their owner can read, never from a flag or the environment. Deliberately
//! absent: keys of validators, which `stele signer` makes.

use crate::algorithm;
use clap::{Args, Subcommand};
use client::{AccountKey, KeyFault};
use hsm::config::KeystoreConfig;
use hsm::keystore::{self, Cost};
use hsm::{Signer, secret};
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use types::{Address, AlgId, PublicKey, Signature, SigningMessage};

/// Make or show an account key.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele key generate --out alice.key --passphrase-file alice.pass --new-passphrase
  stele key generate --algorithm sm2-sm3 --out bob.key --passphrase-file bob.pass --new-passphrase
  stele key show alice.key")]
pub struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Make a new key in a new file, and print its address.
    Generate {
        /// The new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File with the passphrase that encrypts the key; only its owner may read it.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
        /// Make the passphrase file first, with a random passphrase.
        #[arg(long)]
        new_passphrase: bool,
        /// Signature algorithm of the key; the ledger's genesis says which are allowed.
        #[arg(long, value_name = "NAME", default_value = algorithm::DEFAULT, value_parser = algorithm::parser())]
        algorithm: AlgId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the address and public key of a key file; takes no passphrase.
    Show {
        /// The key file.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What is printed of a key.
#[derive(Debug, Serialize)]
struct Shown {
    address: Address,
    public_key: PublicKey,
}

/// Runs `stele key`.
///
/// # Errors
/// In words for the terminal.
pub fn run(args: KeyArgs) -> miette::Result<()> {
    match args.action {
        Action::Generate { out, passphrase_file, new_passphrase, algorithm, json } => {
            if new_passphrase {
                secret::create_random(&passphrase_file).into_diagnostic().wrap_err("the passphrase file")?;
            } else if !passphrase_file.exists() {
                bail!(
                    help = "write one with `umask 077` set, or add --new-passphrase to have a random one made",
                    "there is no passphrase file {}",
                    passphrase_file.display()
                );
            }
            let config = KeystoreConfig { path: out, passphrase_file };
            let public = keystore::generate_account(&config, algorithm, Cost::default())
                .into_diagnostic()
                .wrap_err("the key was not made")?;
            print(&public, json)
        }
        Action::Show { file, json } => {
            let public = keystore::account_public_key(&file).into_diagnostic().wrap_err("the key cannot be shown")?;
            print(&public, json)
        }
    }
}

fn print(public: &PublicKey, json: bool) -> miette::Result<()> {
    let shown = Shown { address: public.address(), public_key: public.clone() };
    if json {
        println!("{}", serde_json::to_string_pretty(&shown).into_diagnostic()?);
    } else {
        println!("address     {}\npublic key  {}", shown.address, shown.public_key);
    }
    Ok(())
}

/// Which key signs.
#[derive(Clone, Debug, Args)]
pub struct KeyChoice {
    /// Key file of the account that signs, as `stele key generate` makes it.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// File with its passphrase.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: PathBuf,
}

impl KeyChoice {
    /// Decrypts it.
    ///
    /// # Errors
    /// A missing or damaged file, a wrong passphrase; in words for the terminal.
    pub fn open(&self) -> miette::Result<KeystoreKey> {
        open(&self.key, &self.passphrase_file)
    }
}

fn open(path: &Path, passphrase_file: &Path) -> miette::Result<KeystoreKey> {
    let config = KeystoreConfig { path: path.to_owned(), passphrase_file: passphrase_file.to_owned() };
    let signer = keystore::open_account(&config).map_err(|error| {
        miette!(
            help = "`stele key generate --help` shows how to make a key; `stele key show FILE` whose it is",
            "the account's key cannot be opened: {error}"
        )
    })?;
    Ok(KeystoreKey { public: signer.public_key().clone(), signer: Mutex::new(signer) })
}

/// The account's key of an open keystore.
pub struct KeystoreKey {
    public: PublicKey,
    /// A lock because signing takes `&mut`: a device has one session.
    signer: Mutex<Box<dyn Signer>>,
}

impl fmt::Debug for KeystoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeystoreKey({:?})", self.public)
    }
}

impl AccountKey for KeystoreKey {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &SigningMessage) -> Result<Signature, KeyFault> {
        let mut signer = self.signer.lock().expect("no code panics while it holds this lock");
        signer.sign(message.as_bytes()).map_err(|error| KeyFault(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Account;
    use types::{ChainId, Digest};

    #[test]
    fn a_generated_key_opens_and_signs_and_a_wrong_passphrase_does_not() {
        for algorithm in AlgId::signing() {
            generate_open_and_sign(algorithm);
        }
    }

    fn generate_open_and_sign(algorithm: AlgId) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (key, passphrase) = (dir.path().join("alice.key"), dir.path().join("alice.pass"));
        let generate = |new_passphrase| {
            run(KeyArgs {
                action: Action::Generate {
                    out: key.clone(),
                    passphrase_file: passphrase.clone(),
                    new_passphrase,
                    algorithm,
                    json: true,
                },
            })
        };
        assert!(generate(false).is_err(), "there is no passphrase yet");
        generate(true).expect("new files");
        assert!(generate(false).is_err(), "a key is never overwritten");

        let opened = open(&key, &passphrase).expect("the right passphrase");
        let account = Account::new(ChainId(Digest::ZERO), opened);
        let transaction = account.certify(Digest::sha256(b"a document"), Default::default()).expect("signs");
        assert!(transaction.verify().is_ok());
        assert_eq!(transaction.key().alg(), algorithm);
        std::fs::write(&passphrase, "another").expect("own file");
        assert!(open(&key, &passphrase).is_err());
    }
}
