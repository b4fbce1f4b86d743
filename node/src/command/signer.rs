//! `stele signer`: the process that holds a validator's keys, and what has to be done once before it can run.
//!
//! Genesis names the keys, and the guard file names the ledger, so there are three steps: `provision` makes the keys,
//! then comes genesis, then `init` makes the guard file, then `run`. All read one `signer.toml`, which may be without
//! `chain` until there is one. Takes paths, never secrets.

mod error;
mod guard_file;
mod paths;
mod seal;
mod status;

use super::start_logging;
use crate::algorithm;
use clap::{Args, Subcommand};
use error::SignerError;
use hsm::process::{self, Lifetime};
use hsm::secret::SecretSource;
use hsm::service::GuardFile;
use hsm::signer::Keys;
use hsm::{PublicKeys, SignerConfig, provision, secret};
use paths::{Beside, SecretFile, StoreFile, read};
use std::path::{Path, PathBuf};
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
  call_timeout_ms = 20_000  # after which a module that does not return is given up
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
  pin_file = \"credential:stele-pin\"    # of systemd: LoadCredential=, LoadCredentialEncrypted=
  pin_file = \"sealed:pin.sealed\"      # by this machine's TPM: stele signer seal --help")]
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
    #[command(after_help = "Examples:
  stele signer run --config signer.toml
  stele signer run --config signer.toml --init       the very first time, in place of `stele signer init`")]
    Run {
        /// First make the guard file, as `stele signer init` does: with one login to the token, and one self-test. Refused
        /// where there is one.
        #[arg(long)]
        init: bool,
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
    /// Seal a PIN or passphrase to this machine's TPM, in the state in which the machine is now.
    #[command(after_help = "Examples:
  stele signer seal --secret pin --out pin.sealed     then pin_file = \"sealed:pin.sealed\" in signer.toml
  stele signer seal --out pin.sealed --pcrs 7         typed at the terminal; bound to the secure boot policy alone

docs/guard.md says what changes the registers, and what sealing does not protect from.")]
    Seal(seal::Seal),
    #[command(flatten)]
    GuardFile(guard_file::Step),
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
            Self::Run { init, exit_with_parent } => {
                // The other steps speak to a terminal, in words.
                start_logging();
                let lifetime = if exit_with_parent { Lifetime::Parent } else { Lifetime::Service };
                let guard = if init { GuardFile::New } else { GuardFile::Kept };
                process::run(&read::<SignerConfig>(path)?.beside(path), lifetime, guard)?;
            }
            Self::Status { json } => status::run(&read::<SignerConfig>(path)?.beside(path), json)?,
            Self::Seal(seal) => seal.run()?,
            Self::GuardFile(step) => step.run(path)?,
        }
        Ok(())
    }
}

fn print(keys: &PublicKeys) {
    println!("{}", serde_json::json!({ "consensus_key": keys.consensus, "transport_key": keys.transport }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use hsm::ConfigError;
    use miette::Diagnostic;

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
        assert!(matches!(run.signer.step, Step::Run { init: false, exit_with_parent: true }));
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

        // As `run --init` has it: with the keys open already, and the file opened right after.
        std::fs::remove_file(dir.path().join("guard")).expect("it was made");
        let config = read::<SignerConfig>(&path).expect("complete").beside(&path);
        assert!(hsm::service::Service::open(&config, GuardFile::Kept).is_err(), "nobody made one");
        hsm::service::Service::open(&config, GuardFile::New).expect("a new guard file");
        let twice = hsm::service::Service::open(&config, GuardFile::New).err().expect("made once");
        assert_eq!(twice.cause, ConfigError::KeyExists.into());
        hsm::service::Service::open(&config, GuardFile::Kept).expect("the file of before");
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
}
