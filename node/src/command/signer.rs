//! `stele signer`: the process that holds a validator's keys, and what has to be done once before it can run.
//!
//! Genesis names the keys, and the guard file names the ledger, so there are three steps: `provision` makes the keys,
//! then comes genesis, then `init` makes the guard file, then `run`. All read one `signer.toml`, which may be without
//! `chain` until there is one. Takes paths, never secrets.

mod guard_file;
mod status;

use super::start_logging;
use crate::algorithm;
use clap::{Args, Subcommand};
use hsm::config::{KeystoreConfig, Pkcs11Config, ProcessConfig, StandbyConfig};
use hsm::guard::MarkError;
use hsm::process::{self, Lifetime};
use hsm::secret::SecretSource;
use hsm::signer::Keys;
use hsm::{ConfigError, PublicKeys, SignerConfig, StartError, StoreConfig, StoreError, provision, secret};
use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use types::AlgId;

/// Run the signer process of a validator, or create its keys.
#[derive(Clone, Debug, Args)]
#[command(after_help = "In order:
  stele signer provision --config signer.toml --create-secrets   make the keys; genesis.toml needs what it prints
  stele signer init --config signer.toml                         once signer.toml has the `chain` of that genesis
  stele signer run --config signer.toml                          before `stele node`
Of a guard file that was restored or moved:
  stele signer activate --help

An example of signer.toml:
  chain = \"sha256:…\"        # from `stele genesis`; not needed by `provision` and `keys`
  author = 0                # this validator's position in genesis.toml
  epoch = 1
  guard = \"guard\"
  socket = \"/run/stele/signer.sock\"
  [store.pkcs11]
  module = \"/usr/lib/softhsm/libsofthsm2.so\"
  token_label = \"stele\"
  pin_file = \"pin\"
and, where the token is too slow to sign every round, keys that it certifies for so many rounds each:
  [signing]
  mode = \"certified\"
  certificate_rounds = 20_000
or, in place of the token, an encrypted file:
  [store.keystore]
  path = \"keys.stele\"
  passphrase_file = \"passphrase\"
With a TPM 2.0 it is known of every guard file whether it is the newest:
  [fence.tpm]
  index = 0x01800000        # one for each validator on the machine
  device = \"/dev/tpmrm0\"
  rounds = 1024             # reserved at a time, and left out at most after a crash
The process, which may also be started by root for a user of its own:
  [process]
  seccomp = \"on\"            # or \"log\", to find out what a vendor's module needs, or \"off\"
  landlock = \"on\"           # or \"off\": the process reaches its own files and the module's, no others
  allow_paths = [\"/var/lib/vendor\"]    # that the module needs besides
  user = \"stele-signer\"
  allow_uids = [990]        # the node's user
A PIN or passphrase is in a file of mode 0600, or comes from elsewhere:
  pin_file = \"fd:3\"                    # a descriptor that the starter left open
  pin_file = \"prompt\"                  # typed at the terminal
  pin_file = \"credential:stele-pin\"    # of systemd: LoadCredential=, LoadCredentialEncrypted=")]
pub struct SignerArgs {
    /// The signer's configuration; paths in it are relative to it.
    #[arg(long, global = true, value_name = "FILE", default_value = "signer.toml")]
    config: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Clone, Debug, Subcommand)]
enum Step {
    /// Make the two keys and print their public halves as JSON. Existing keys are never touched.
    #[command(after_help = "Examples:
  stele signer provision --config signer.toml
  stele signer provision --config signer.toml --create-secrets            with a random PIN or passphrase
  stele signer provision --config signer.toml --so-pin-file so-pin        in a new token, initialised with that SO PIN
  stele signer provision --config signer.toml --algorithm ecdsa-p256      for a token without EdDSA

SoftHSM2 finds its tokens through the environment variable SOFTHSM2_CONF.")]
    Provision {
        /// File with the security officer's PIN, to initialise a free token slot where no token has the label.
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
        /// First make those of the PIN and passphrase files that are missing, each with 128 random bits.
        #[arg(long)]
        create_secrets: bool,
        /// Signature algorithm of both keys: P-256 for a token without EdDSA.
        #[arg(long, value_name = "NAME", default_value = algorithm::DEFAULT, value_parser = algorithm::validator_parser())]
        algorithm: AlgId,
    },
    /// Print the public halves of existing keys as JSON.
    #[command(after_help = "Example:\n  stele signer keys --config signer.toml")]
    Keys,
    /// Make the guard file of a validator that has never signed on this ledger. It is made once: without the old one, an
    /// old round could be signed twice.
    #[command(after_help = "Example:\n  stele signer init --config signer.toml")]
    Init,
    /// Run the signer process, until SIGTERM, SIGINT or SIGHUP.
    #[command(after_help = "Example:\n  stele signer run --config signer.toml")]
    Run {
        /// Instead end at SIGTERM or when standard input ends, as it does when the process that holds its other end dies.
        #[arg(long)]
        exit_with_parent: bool,
    },
    /// Tell what the guard file says, and what protects the running signer process.
    #[command(after_help = "Examples:\n  stele signer status\n  stele signer status --json | jq .process")]
    Status {
        /// As JSON: `{guard, process, stats}`, the last two null where no signer runs.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    GuardFile(guard_file::Step),
}

#[derive(Debug, Error, Diagnostic)]
enum SignerError {
    #[error("cannot read {path}")]
    #[diagnostic(help("give the path of a signer.toml with --config; `stele signer --help` shows an example"))]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: {message}")]
    #[diagnostic(help("`stele signer --help` shows an example"))]
    Invalid {
        path: String,
        message: String,
        #[source_code]
        source_code: Arc<NamedSource<String>>,
        #[label("here")]
        span: Option<SourceSpan>,
    },
    #[error("{path}: {source}")]
    #[diagnostic(help("it has to be a document that `stele signer export-mark` wrote"))]
    Mark {
        path: PathBuf,
        #[source]
        source: MarkError,
    },
    #[error("{subject}: {cause}")]
    Start {
        subject: String,
        cause: StoreError,
        #[help]
        help: Option<&'static str>,
    },
}

impl From<StartError> for SignerError {
    fn from(error: StartError) -> Self {
        Self::Start { help: help(error.cause), subject: error.subject, cause: error.cause }
    }
}

impl SignerError {
    /// What the process exits with: a parent reads the reason from it.
    fn exit_status(&self) -> u8 {
        match self {
            Self::Unreadable { .. } | Self::Invalid { .. } => ConfigError::ConfigUnreadable.exit_status(),
            Self::Mark { .. } => ConfigError::GuardForeign.exit_status(),
            Self::Start { cause, .. } => cause.exit_status(),
        }
    }
}

/// What to do next, where the reason does not say.
fn help(cause: StoreError) -> Option<&'static str> {
    let StoreError::Config(cause) = cause else { return None };
    match cause {
        ConfigError::ModuleMissing | ConfigError::NotAModule => {
            Some("check `module` in signer.toml; SoftHSM2 comes with: apt install softhsm2")
        }
        ConfigError::TokenAbsent => Some(
            "check `token_label` and SOFTHSM2_CONF; `stele signer provision --so-pin-file FILE` initialises a free slot",
        ),
        ConfigError::KeyNotFound | ConfigError::KeystoreMissing => Some("make the keys: stele signer provision"),
        ConfigError::KeyExists => Some("`stele signer keys` prints the public halves of existing keys"),
        ConfigError::SecretUnreadable => Some("write it there with mode 0600, or let --create-secrets make one"),
        ConfigError::GuardMissing => Some(
            "for a validator that has never signed: stele signer init; for one that has: stele signer import-mark, or init \
             and then activate --from-round",
        ),
        ConfigError::GuardMoved | ConfigError::GuardStale => Some(
            "find the newest guard file, or say from which round on this one is right: stele signer activate --help",
        ),
        ConfigError::FenceMissing => {
            Some("check `device`; after the TPM was cleared or exchanged: stele signer activate --help")
        }
        ConfigError::FenceForeign => Some(
            "give each validator an `index` of its own; where this validator has signed before: stele signer import-mark",
        ),
        ConfigError::FenceUnusable => {
            Some("the device must be readable and writable (group tss), and the owner hierarchy without a password")
        }
        ConfigError::PathUnusable => Some("correct `[process] allow_paths` in signer.toml"),
        ConfigError::UserUnusable => Some("start as root, or as that user; names are looked up in /etc/passwd"),
        ConfigError::GuardLocked => Some("stop the signer first"),
        ConfigError::ModuleForeign => Some("install the vendor's library for this processor"),
        ConfigError::CurveUnmapped => {
            Some("copy hsm/profiles/sm2-vendor.toml, put the vendor's number in, name it in `profile_file`")
        }
        ConfigError::ProfileUnusable => {
            Some("profiles: generic, softhsm2, kryoptic, yubihsm2, cloudhsm; or one of your own in `profile_file`")
        }
        ConfigError::PinLastTry => Some("a right login with the vendor's tool resets the token's count"),
        ConfigError::MechanismMissing => Some("`stele hsm conformance` says what the token offers"),
        ConfigError::PinIncorrect => Some("correct the PIN file before the next attempt: a token locks after a few"),
        _ => None,
    }
}

/// Runs to the end. Must be called before any thread is started.
pub fn run(args: SignerArgs) -> miette::Result<()> {
    if let Err(error) = args.step.run(&args.config) {
        let status = error.exit_status();
        eprintln!("Error: {:?}", miette::Report::from(error));
        std::process::exit(status.into());
    }
    Ok(())
}

impl Step {
    fn run(self, path: &Path) -> Result<(), SignerError> {
        match self {
            Self::Provision { so_pin_file, create_secrets, algorithm } => {
                let store = read::<StoreFile>(path)?.store.beside(path);
                if create_secrets {
                    let pins = [Some(store.secret_file()), so_pin_file.as_deref()];
                    let is_file = |path: &&Path| SecretSource::parse(path).is_some_and(|source| source.is_file());
                    for missing in pins.into_iter().flatten().filter(is_file).filter(|file| !file.exists()) {
                        secret::create_random(missing)?;
                    }
                }
                print(&provision::generate_with(&store, so_pin_file.as_deref(), algorithm)?);
            }
            Self::Keys => print(&Keys::open(&read::<StoreFile>(path)?.store.beside(path))?.public()),
            Self::Init => {
                let config = read::<SignerConfig>(path)?.beside(path);
                provision::guard(&config, &Keys::open(&config.store)?.public())?;
            }
            Self::Run { exit_with_parent } => {
                // The other steps speak to a terminal, in words.
                start_logging();
                let lifetime = if exit_with_parent { Lifetime::Parent } else { Lifetime::Service };
                process::run(&read::<SignerConfig>(path)?.beside(path), lifetime)?;
            }
            Self::Status { json } => status::run(&read::<SignerConfig>(path)?.beside(path), json)?,
            Self::GuardFile(step) => step.run(path)?,
        }
        Ok(())
    }
}

/// A `signer.toml` of which only the store is looked at: the ledger is not known yet.
#[derive(Debug, Deserialize)]
struct StoreFile {
    store: StoreConfig,
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SignerError> {
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
trait Beside: Sized {
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

/// The same for a secret, where that is a file.
fn secret_beside(source: PathBuf, file: &Path) -> PathBuf {
    let is_file = SecretSource::parse(&source).is_some_and(|source| source.is_file());
    if is_file { source.beside(file) } else { source }
}

/// The file with the PIN or passphrase.
trait SecretFile {
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

fn print(keys: &PublicKeys) {
    println!("{}", serde_json::json!({ "consensus_key": keys.consensus, "transport_key": keys.transport }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        signer: SignerArgs,
    }

    const WITHOUT_A_CHAIN: &str = "author = 0\nepoch = 1\nguard = \"guard\"\nsocket = \"signer.sock\"\n\
        [store.keystore]\npath = \"keys.stele\"\npassphrase_file = \"/etc/stele/passphrase\"\n";

    #[test]
    fn the_configuration_may_stand_before_or_behind_the_step() {
        for line in [["signer", "--config", "a.toml", "provision"], ["signer", "provision", "--config", "a.toml"]] {
            let cli = Cli::try_parse_from(line).expect("both orders are taken");
            assert_eq!(cli.signer.config, Path::new("a.toml"));
            assert!(matches!(
                cli.signer.step,
                Step::Provision { so_pin_file: None, create_secrets: false, algorithm: AlgId::Ed25519 }
            ));
        }
        let run = Cli::try_parse_from(["signer", "--config", "a.toml", "run", "--exit-with-parent"]).expect("valid");
        assert!(matches!(run.signer.step, Step::Run { exit_with_parent: true }));
        assert!(Cli::try_parse_from(["signer"]).is_err());
    }

    #[test]
    fn keys_are_made_before_the_chain_is_known_and_the_guard_after_that() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("signer.toml");
        let text = WITHOUT_A_CHAIN.replace("/etc/stele/", "");
        std::fs::write(&path, &text).expect("own directory");
        let provision = Step::Provision { so_pin_file: None, create_secrets: true, algorithm: AlgId::EcdsaP256 };
        provision.clone().run(&path).expect("no keys before");
        Step::Keys.run(&path).expect("there are keys");
        let again = provision.run(&path).expect_err("never overwritten");
        assert_eq!(again.exit_status(), ConfigError::KeyExists.exit_status());

        let early = Step::Init.run(&path).expect_err("no chain");
        assert!(matches!(&early, SignerError::Invalid { message, .. } if message.contains("chain")), "{early}");
        let chain = types::ChainId(types::Digest::sha256(b"genesis"));
        std::fs::write(&path, format!("chain = \"{chain}\"\n{text}")).expect("own directory");
        Step::Init.run(&path).expect("a new guard file");
        assert!(dir.path().join("guard").is_file());
        let twice = Step::Init.run(&path).expect_err("made once");
        assert_eq!(twice.exit_status(), ConfigError::KeyExists.exit_status());
    }

    #[test]
    fn a_parent_reads_from_the_exit_status_why_a_signer_does_not_start() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("signer.toml");
        let missing = Step::Keys.run(&path).expect_err("no file");
        assert_eq!(missing.exit_status(), ConfigError::ConfigUnreadable.exit_status());
        std::fs::write(&path, WITHOUT_A_CHAIN.replace("/etc", "/nonexistent")).expect("own directory");
        let locked = Step::Provision { so_pin_file: None, create_secrets: false, algorithm: AlgId::Ed25519 }
            .run(&path)
            .expect_err("no passphrase");
        assert_eq!(locked.exit_status(), ConfigError::SecretUnreadable.exit_status());
        assert!(locked.help().is_some());
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let file: StoreFile = toml::from_str(WITHOUT_A_CHAIN).expect("valid");
        let StoreConfig::Keystore(store) = file.store.beside(Path::new("/srv/stele/signer.toml")) else {
            panic!("a keystore was given");
        };
        assert_eq!(store.path, Path::new("/srv/stele/keys.stele"));
        assert_eq!(store.passphrase_file, Path::new("/etc/stele/passphrase"));
    }
}
