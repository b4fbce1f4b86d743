//! A validator's signer in a temporary directory.

use hsm::child::{self, SpawnError};
use hsm::config::{KeystoreConfig, Pkcs11Config, SigningConfig};
use hsm::{PublicKeys, SignerChild, SignerClient, SignerConfig, StoreConfig, provision, secret, softhsm};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use types::block::votes_digest;
use types::{AlgId, AuthorityIndex, ChainId, Digest, Epoch, HeaderVote, Round, RoundStatement};

const WITHIN: Duration = Duration::from_secs(60);

pub struct Validator {
    pub dir: TempDir,
    pub config: SignerConfig,
    pub keys: PublicKeys,
}

impl Validator {
    pub fn with_keystore() -> Self {
        Self::with_keystore_of(AlgId::Ed25519)
    }

    pub fn with_keystore_of(alg: AlgId) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let passphrase_file = dir.path().join("passphrase");
        secret::create_random(&passphrase_file).expect("new file");
        let store = StoreConfig::Keystore(KeystoreConfig { path: dir.path().join("keys"), passphrase_file });
        Self::new(dir, store, alg)
    }

    pub fn with_softhsm() -> Self {
        Self::with_softhsm_of(AlgId::Ed25519)
    }

    pub fn with_softhsm_of(alg: AlgId) -> Self {
        let module = softhsm::find_module().expect("SoftHSM2 is not installed: apt-get install softhsm2");
        let dir = tempfile::tempdir().expect("temporary directory");
        softhsm::write_conf(dir.path()).expect("own directory");
        let (pin_file, so_pin_file) = (dir.path().join("pin"), dir.path().join("so-pin"));
        secret::create_random(&pin_file).expect("new file");
        secret::create_random(&so_pin_file).expect("new file");
        let store = StoreConfig::Pkcs11(Pkcs11Config::new(module, "stele-test", pin_file));
        Self::new(dir, store, alg)
    }

    fn new(dir: TempDir, store: StoreConfig, alg: AlgId) -> Self {
        let config = SignerConfig {
            chain: ChainId(Digest::sha256(b"chain")),
            author: AuthorityIndex(1),
            epoch: Epoch(1),
            guard: dir.path().join("guard"),
            socket: dir.path().join("signer.sock"),
            signing: SigningConfig::default(),
            fence: Default::default(),
            attestation: None,
            process: Default::default(),
            store,
        };
        let keys = generate_with(dir.path(), &config.store, alg).expect("a new store");
        provision::guard(&config, &keys).expect("new guard");
        Self { dir, config, keys }
    }

    /// The command of the signer process.
    pub fn command(&self) -> Command {
        let path = self.dir.path().join("signer.toml");
        std::fs::write(&path, toml::to_string(&self.config).expect("serialisable")).expect("own directory");
        let mut command = signer(self.dir.path());
        let arguments = hsm::command::Command::Child { config: path }.arguments();
        command.args(arguments).stderr(Stdio::null());
        command
    }

    pub fn try_start(&self) -> Result<(SignerChild, SignerClient), SpawnError> {
        SignerChild::spawn(&mut self.command(), &self.config.socket, WITHIN)
    }

    pub fn start(&self) -> (SignerChild, SignerClient) {
        self.try_start().expect("a signer that is set up rightly")
    }

    pub fn pkcs11(&mut self) -> &mut Pkcs11Config {
        match &mut self.config.store {
            StoreConfig::Pkcs11(config) => config,
            StoreConfig::Keystore(_) => panic!("a keystore validator"),
        }
    }

    /// A statement of this validator; `variant` tells bodies apart.
    pub fn statement(&self, round: u64, variant: u8, votes: &[HeaderVote]) -> RoundStatement {
        RoundStatement {
            chain: self.config.chain,
            epoch: self.config.epoch,
            round: Round(round),
            author: self.config.author,
            body_digest: Digest::sha256(&[variant]),
            votes_digest: votes_digest(votes),
        }
    }
}

/// Runs the generation of both keys; the SO PIN is used where there is one.
pub fn generate(dir: &Path, store: &StoreConfig) -> Result<PublicKeys, SpawnError> {
    generate_with(dir, store, AlgId::Ed25519)
}

fn generate_with(dir: &Path, store: &StoreConfig, alg: AlgId) -> Result<PublicKeys, SpawnError> {
    let path = dir.join("store.toml");
    std::fs::write(&path, toml::to_string(store).expect("serialisable")).expect("own directory");
    let so_pin_file = Some(dir.join("so-pin")).filter(|path| path.exists());
    let arguments = hsm::command::Command::Generate { alg, store: path, so_pin_file }.arguments();
    child::generate(signer(dir).args(arguments))
}

/// A file that its owner alone can read.
pub fn write_secret(path: &Path, secret: &str) {
    std::fs::write(path, secret).expect("own directory");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("own file");
}

fn signer(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stele-signer"));
    command.env(softhsm::CONF_VARIABLE, dir.join("softhsm2.conf"));
    command
}

/// The content of a TLS 1.3 CertificateVerify.
pub fn certificate_verify() -> Vec<u8> {
    [&[0x20; 64][..], b"TLS 1.3, server CertificateVerify", &[0], &[9; 48]].concat()
}
