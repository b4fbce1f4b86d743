//! One validator: its files and keys, and how its two processes are started.

use super::process::Process;
use super::site::write_private;
use super::{DevnetArgs, SignerKind};
use client::RpcClient;
use client::rpc::NodeState;
use hsm::config::{FenceConfig, KeystoreConfig, Pkcs11Config, ProcessConfig, SigningConfig};
use hsm::{PublicKeys, SignerConfig, StoreConfig, provision, secret, softhsm};
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use netem::Emulation;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use types::{AlgId, Authority, AuthorityIndex, ChainId, Digest, Epoch};

/// Longest wait for a signer to listen, and for all nodes to be ready.
const SIGNER_PATIENCE: Duration = Duration::from_secs(30);
pub(super) const NODE_PATIENCE: Duration = Duration::from_secs(90);
const NO_CHAIN: ChainId = ChainId(Digest::ZERO);

/// One validator.
#[derive(Debug)]
pub struct Validator {
    pub(super) launch: Launch,
    pub(super) store: StoreConfig,
    pub(super) signing: SigningConfig,
    pub(super) authority: Authority,
    pub(super) rpc: RpcClient,
    pub(super) signer: Option<Process>,
    pub(super) node: Option<Process>,
}

impl Validator {
    /// Name, keys and addresses.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its RPC.
    pub fn rpc(&self) -> &RpcClient {
        &self.rpc
    }
}

/// How the node of a validator is started.
#[derive(Clone, Debug)]
pub struct Launch {
    dir: PathBuf,
    /// Its host, where validators have hosts of their own.
    host: usize,
    name: String,
    links: Option<Arc<Emulation>>,
}

impl Launch {
    pub(super) fn new(dir: PathBuf, host: usize, name: String, links: Option<Arc<Emulation>>) -> Self {
        Self { dir, host, name, links }
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it.
    ///
    /// # Errors
    /// The program cannot be started, or its log not be made.
    pub fn start(&self) -> miette::Result<Process> {
        let Some(links) = &self.links else { return self.start_here() };
        // A process belongs to the namespace of the thread that starts it, and to this runtime.
        let runtime = tokio::runtime::Handle::current();
        let started = links.inside(self.host, || {
            let _inside = runtime.enter();
            self.start_here()
        });
        started.into_diagnostic()?
    }

    fn start_here(&self) -> miette::Result<Process> {
        let mut command = stele(&self.dir)?;
        command.args(["node", "--config", "node.toml", "--exit-with-parent"]);
        Process::spawn(command, self.name.clone(), self.dir.join("node.log"))
    }
}

impl Validator {
    pub(super) fn configure(&self, chain: ChainId, index: usize, args: &DevnetArgs) -> miette::Result<()> {
        let config = self.signer_config(chain, index, "guard");
        write_private(&self.launch.dir.join("signer.toml"), &toml::to_string(&config).into_diagnostic()?)?;
        let keys = PublicKeys {
            consensus: self.authority.consensus_key.clone(),
            transport: self.authority.transport_key.clone(),
        };
        provision::guard(&config, &keys).into_diagnostic().wrap_err("the signer's guard file")?;
        let mut verify = toml::Table::new();
        verify.insert("threads".into(), i64::from(args.verify_threads).into());
        verify.insert("gpu".into(), toml::Value::try_from(args.gpu).into_diagnostic()?);
        if let Some(adapter) = &args.gpu_adapter {
            verify.insert("gpu_adapter".into(), adapter.as_str().into());
        }
        let mut node = toml::toml! {
            genesis = "../genesis.toml"
            data_dir = "."
            [signer]
            socket = "signer.sock"
            [log]
            segment_bytes = 16777216
        };
        node.insert("validator".into(), self.authority.name.as_str().into());
        node.insert("shards".into(), i64::from(args.shards).into());
        node.insert("verify".into(), verify.into());
        let mut transport = toml::Table::new();
        if let Some(congestion) = args.congestion {
            transport.insert("congestion".into(), toml::Value::try_from(congestion).into_diagnostic()?);
        }
        if let Some(bytes) = args.copies {
            transport.insert("copy_bytes_per_second".into(), i64::from(bytes).into());
        }
        node.insert("transport".into(), transport.into());
        let node = toml::to_string(&node).into_diagnostic()?;
        write_private(&self.launch.dir.join("node.toml"), &node)
    }

    fn signer_config(&self, chain: ChainId, index: usize, guard: &str) -> SignerConfig {
        let config = signer_config(&self.launch.dir, self.store.clone(), chain, index, guard);
        SignerConfig { signing: self.signing.clone(), ..config }
    }

    pub(super) fn start_signer(&mut self) -> miette::Result<()> {
        let mut command = stele(&self.launch.dir)?;
        command.args(["signer", "--config", "signer.toml", "run", "--exit-with-parent"]);
        let name = format!("the signer of {}", self.authority.name);
        self.signer = Some(Process::spawn(command, name, self.launch.dir.join("signer.log"))?);
        Ok(())
    }

    pub(super) async fn signer_listens(&mut self) -> miette::Result<()> {
        let deadline = Instant::now() + SIGNER_PATIENCE;
        while UnixStream::connect(self.launch.dir.join("signer.sock")).is_err() {
            if let Some(signer) = &mut self.signer {
                signer.check()?;
            }
            if Instant::now() > deadline {
                bail!("the signer of {} does not listen after {} s", self.authority.name, SIGNER_PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(super) async fn ready(&mut self, deadline: Instant) -> miette::Result<()> {
        loop {
            let last = match self.rpc.status().await {
                Ok(status) if status.state == NodeState::Ready => return Ok(()),
                Ok(status) => format!("it is {}", status.state.label()),
                Err(error) => error.to_string(),
            };
            for process in [&mut self.node, &mut self.signer].into_iter().flatten() {
                process.check()?;
            }
            if Instant::now() > deadline {
                let log = self.launch.dir.join("node.log");
                return Err(miette!(
                    help = format!("its log is {}", log.display()),
                    "{} is not ready after {} s: {last}",
                    self.authority.name,
                    NODE_PATIENCE.as_secs()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// This very program, to be run in the directory of a node, and with that node's tokens.
fn stele(dir: &Path) -> miette::Result<Command> {
    let program = std::env::current_exe().into_diagnostic().wrap_err("cannot find the running program")?;
    let mut command = Command::new(program);
    command.current_dir(dir).env(softhsm::CONF_VARIABLE, dir.join("softhsm2.conf"));
    Ok(command)
}

fn signer_config(dir: &Path, store: StoreConfig, chain: ChainId, index: usize, guard: &str) -> SignerConfig {
    SignerConfig {
        chain,
        author: AuthorityIndex(u16::try_from(index).expect("--validators is at most 64")),
        epoch: Epoch(1),
        guard: dir.join(guard),
        socket: dir.join("signer.sock"),
        signing: SigningConfig::default(),
        fence: FenceConfig::default(),
        attestation: None,
        process: ProcessConfig::default(),
        store,
    }
}

/// The place for the keys of a node, with the secrets that open it.
pub(super) fn make_store(kind: SignerKind, dir: &Path, index: usize) -> miette::Result<StoreConfig> {
    let random = |name: &str| {
        let path = dir.join(name);
        secret::create_random(&path).into_diagnostic().map(|()| path)
    };
    match kind {
        SignerKind::Soft => Ok(StoreConfig::Keystore(KeystoreConfig {
            path: dir.join("keys.stele"),
            passphrase_file: random("passphrase")?,
        })),
        SignerKind::Softhsm => {
            let module = softhsm::find_module().ok_or_else(|| {
                miette!(
                    help = "install it (Debian, Ubuntu: apt install softhsm2), or use --signer soft",
                    "SoftHSM2 is not installed"
                )
            })?;
            softhsm::write_conf(dir).into_diagnostic().wrap_err("SoftHSM2's directory")?;
            random("so-pin")?;
            Ok(StoreConfig::Pkcs11(Pkcs11Config::new(module, &format!("node-{index}"), random("pin")?)))
        }
    }
}

/// Makes the keys of a node in a process of their own, as an operator does: a process can load a PKCS#11 module once,
/// and finds its tokens through its environment. The chain is not known yet, so that the guard comes later.
pub(super) async fn make_keys(dir: &Path, store: &StoreConfig, index: usize, alg: AlgId) -> miette::Result<PublicKeys> {
    let config = signer_config(dir, store.clone(), NO_CHAIN, index, "guard.unused");
    write_private(&dir.join("provision.toml"), &toml::to_string(&config).into_diagnostic()?)?;
    let mut command = stele(dir)?;
    command.args(["signer", "--config", "provision.toml", "provision", "--algorithm", alg.name()]);
    if matches!(store, StoreConfig::Pkcs11(_)) {
        command.args(["--so-pin-file", "so-pin"]);
    }
    let output = command.kill_on_drop(true).output().await.into_diagnostic().wrap_err("cannot run the signer")?;
    if !output.status.success() {
        let help = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(miette!(help = help, "the keys of node-{index} were not made: {}", output.status));
    }
    let keys: PrintedKeys =
        serde_json::from_slice(&output.stdout).into_diagnostic().wrap_err("the signer's public keys")?;
    Ok(PublicKeys { consensus: keys.consensus_key, transport: keys.transport_key })
}

/// What `stele signer provision` prints.
#[derive(serde::Deserialize)]
struct PrintedKeys {
    consensus_key: types::PublicKey,
    transport_key: types::PublicKey,
}
