//! The validators of a devnet: their files and keys, their processes, and how they are asked.

use super::accounts::Accounts;
use super::process::Process;
use super::site::{Site, write_private};
use super::{DevnetArgs, SignerKind};
use client::rpc::{NodeState, NodeStatus};
use client::{RpcClient, now_ms};
use hsm::config::{FenceConfig, KeystoreConfig, Pkcs11Config, ProcessConfig, SigningConfig};
use hsm::{PublicKeys, SignerConfig, StoreConfig, keystore, provision, secret, softhsm};
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use netem::Emulation;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;
use types::{
    AlgId, Allocation, Authority, AuthorityIndex, ChainId, Digest, Epoch, Genesis, Governance, Parameters, Stake,
};

/// Longest wait for a signer to listen, and for all nodes to be ready.
const SIGNER_PATIENCE: Duration = Duration::from_secs(30);
const NODE_PATIENCE: Duration = Duration::from_secs(90);
/// Longest wait for a process to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Transactions are signed ahead of their intended send time, so the ledger must accept a distant expiry.
const VALIDITY_WINDOW_MS: u64 = 600_000;
/// What the account for use by hand has.
const HAND_BALANCE: u64 = 1_000_000;
/// Ports of a validator that has an address of its own: for validators, for clients, for RPC.
const PORTS: [u16; 3] = [7100, 7200, 7300];
const NO_CHAIN: ChainId = ChainId(Digest::ZERO);

/// One validator.
#[derive(Debug)]
pub struct Validator {
    dir: PathBuf,
    store: StoreConfig,
    signing: SigningConfig,
    authority: Authority,
    rpc: RpcClient,
    signer: Option<Process>,
    node: Option<Process>,
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

/// All of them.
#[derive(Debug)]
pub struct Network {
    root: PathBuf,
    genesis: Option<Genesis>,
    chain: ChainId,
    validators: Vec<Validator>,
    /// The validators' hosts, in order; without it they share this machine's loopback.
    links: Option<Emulation>,
}

impl Network {
    /// Nothing yet, but where it will be.
    pub fn new(site: &Site, links: Option<Emulation>) -> Self {
        Self { root: site.path().to_owned(), genesis: None, chain: NO_CHAIN, validators: Vec::new(), links }
    }

    /// What is between the validators, if it is not loopback.
    pub fn links(&self) -> Option<&Emulation> {
        self.links.as_ref()
    }

    /// The ledger.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The validators, in order.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// Process ids of nodes and of signers, in order.
    pub fn pids(&self) -> (Vec<u32>, Vec<u32>) {
        let pids = |part: fn(&Validator) -> &Option<Process>| {
            self.validators.iter().filter_map(|validator| part(validator).as_ref().map(Process::pid)).collect()
        };
        (pids(|validator| &validator.node), pids(|validator| &validator.signer))
    }

    /// Where the genesis is.
    pub fn genesis_path(&self) -> PathBuf {
        self.root.join("genesis.toml")
    }

    /// The key file of an account with money, under `--keep`.
    pub fn account_key(&self) -> PathBuf {
        self.root.join("account.key")
    }

    /// The passphrase of that file.
    pub fn account_passphrase(&self) -> PathBuf {
        self.root.join("account.pass")
    }

    /// Makes keys, genesis and the files of every node.
    pub async fn prepare(&mut self, args: &DevnetArgs, accounts: &Accounts) -> miette::Result<()> {
        let validators = usize::from(args.validators);
        let places = match &self.links {
            Some(links) => (0..validators).map(|host| (links.address(host), PORTS)).collect(),
            None => free_ports(validators)?.into_iter().map(|ports| (Ipv4Addr::LOCALHOST, ports)).collect::<Vec<_>>(),
        };
        // One after the other: deriving a key from a passphrase takes all the memory bandwidth there is.
        for (index, (ip, ports)) in places.into_iter().enumerate() {
            let dir = self.root.join(format!("node-{index}"));
            std::fs::create_dir(&dir).into_diagnostic().wrap_err_with(|| format!("cannot make {}", dir.display()))?;
            let store = make_store(args.signer, &dir, index)?;
            let keys = make_keys(&dir, &store, index, args.validator_algorithm).await?;
            let address = |port| SocketAddr::from((ip, port));
            let authority = Authority {
                name: format!("node-{index}"),
                consensus_key: keys.consensus,
                transport_key: keys.transport,
                stake: Stake(1),
                peer_address: address(ports[0]),
                client_address: address(ports[1]),
                rpc_address: address(ports[2]),
            };
            let rpc = RpcClient::new(&format!("http://{}", authority.rpc_address)).into_diagnostic()?;
            self.validators.push(Validator {
                dir,
                store,
                signing: args.signing.config(args.signer_latency_ms),
                authority,
                rpc,
                signer: None,
                node: None,
            });
        }
        let mut allocations = accounts.allocations();
        let mut governance = Governance::default();
        if args.keep {
            // For whoever tries the network by hand: an account with a key file, as the commands take it. It governs.
            let store = KeystoreConfig { path: self.account_key(), passphrase_file: self.account_passphrase() };
            secret::create_random(&store.passphrase_file).into_diagnostic()?;
            let key =
                keystore::generate_account(&store, args.algorithm, keystore::Cost::default()).into_diagnostic()?;
            allocations.push(Allocation { address: key.address(), balance: HAND_BALANCE });
            governance = Governance { members: vec![key.address()], threshold: 1 };
        }
        let defaults = Parameters::default();
        let genesis = Genesis {
            ceremonies: Vec::new(),
            name: "devnet".to_owned(),
            created_ms: now_ms(),
            // All, so that whoever tries the network by hand can use any key.
            signature_algorithms: AlgId::signing().map(|alg| alg.name().to_owned()).collect(),
            parameters: Parameters {
                validity_window_ms: VALIDITY_WINDOW_MS,
                transaction_bytes_max: defaults.transaction_bytes_max.max(args.payload),
                ..defaults
            },
            governance,
            validators: self.validators.iter().map(|validator| validator.authority.clone()).collect(),
            accounts: allocations,
        };
        genesis.check().into_diagnostic().wrap_err("the genesis of the devnet")?;
        self.chain = genesis.chain_id();
        write_private(&self.genesis_path(), &genesis.to_toml())?;
        self.genesis = Some(genesis);
        for (index, validator) in self.validators.iter().enumerate() {
            validator.configure(self.chain, index, args)?;
        }
        Ok(())
    }

    /// Starts signers, then nodes, and waits until every node is ready.
    pub async fn start(&mut self) -> miette::Result<()> {
        for validator in &mut self.validators {
            validator.start_signer()?;
        }
        for validator in &mut self.validators {
            validator.signer_listens().await?;
        }
        for (host, validator) in self.validators.iter_mut().enumerate() {
            match &self.links {
                None => validator.start_node()?,
                Some(links) => {
                    // A process belongs to the namespace of the thread that starts it, and to this runtime.
                    let runtime = tokio::runtime::Handle::current();
                    let started = links.inside(host, || {
                        let _inside = runtime.enter();
                        validator.start_node()
                    });
                    started.into_diagnostic()??;
                }
            }
        }
        let deadline = Instant::now() + NODE_PATIENCE;
        for validator in &mut self.validators {
            validator.ready(deadline).await?;
        }
        Ok(())
    }

    /// How many processes ended that should run.
    pub fn died(&mut self) -> usize {
        let processes = self.validators.iter_mut().flat_map(|validator| [&mut validator.signer, &mut validator.node]);
        processes.flatten().map(|process| usize::from(process.died())).sum()
    }

    /// What every node says of itself; `None` from one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let asked: Vec<_> = self
            .validators
            .iter()
            .map(|validator| {
                let rpc = validator.rpc.clone();
                tokio::spawn(async move { rpc.status().await.ok() })
            })
            .collect();
        let mut statuses = Vec::with_capacity(asked.len());
        for answer in asked {
            statuses.push(answer.await.ok().flatten());
        }
        statuses
    }

    /// Ends all processes: nodes first, since they still sign while they stop.
    pub async fn stop(&mut self) {
        for part in
            [|validator: &mut Validator| validator.node.take(), |validator: &mut Validator| validator.signer.take()]
        {
            let processes: Vec<_> = self.validators.iter_mut().filter_map(part).collect();
            processes.iter().for_each(Process::terminate);
            let deadline = Instant::now() + STOP_PATIENCE;
            for process in processes {
                process.stop(deadline.saturating_duration_since(Instant::now())).await;
            }
        }
    }
}

impl Validator {
    fn configure(&self, chain: ChainId, index: usize, args: &DevnetArgs) -> miette::Result<()> {
        let config = self.signer_config(chain, index, "guard");
        write_private(&self.dir.join("signer.toml"), &toml::to_string(&config).into_diagnostic()?)?;
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
        write_private(&self.dir.join("node.toml"), &node)
    }

    fn signer_config(&self, chain: ChainId, index: usize, guard: &str) -> SignerConfig {
        let config = signer_config(&self.dir, self.store.clone(), chain, index, guard);
        SignerConfig { signing: self.signing.clone(), ..config }
    }

    fn start_signer(&mut self) -> miette::Result<()> {
        let mut command = stele(&self.dir)?;
        command.args(["signer", "--config", "signer.toml", "run", "--exit-with-parent"]);
        let name = format!("the signer of {}", self.authority.name);
        self.signer = Some(Process::spawn(command, name, self.dir.join("signer.log"))?);
        Ok(())
    }

    async fn signer_listens(&mut self) -> miette::Result<()> {
        let deadline = Instant::now() + SIGNER_PATIENCE;
        while UnixStream::connect(self.dir.join("signer.sock")).is_err() {
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

    fn start_node(&mut self) -> miette::Result<()> {
        let mut command = stele(&self.dir)?;
        command.args(["node", "--config", "node.toml", "--exit-with-parent"]);
        self.node = Some(Process::spawn(command, self.authority.name.clone(), self.dir.join("node.log"))?);
        Ok(())
    }

    async fn ready(&mut self, deadline: Instant) -> miette::Result<()> {
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
                let log = self.dir.join("node.log");
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
fn make_store(kind: SignerKind, dir: &Path, index: usize) -> miette::Result<StoreConfig> {
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
async fn make_keys(dir: &Path, store: &StoreConfig, index: usize, alg: AlgId) -> miette::Result<PublicKeys> {
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

/// Three free ports a validator. They are free now; whoever takes one before its node does makes that node fail, with
/// the port in its message.
fn free_ports(validators: usize) -> miette::Result<Vec<[u16; 3]>> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let (mut held_udp, mut held_tcp, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..validators {
        let (peer, client) = (UdpSocket::bind(any).into_diagnostic()?, UdpSocket::bind(any).into_diagnostic()?);
        let rpc = TcpListener::bind(any).into_diagnostic()?;
        let port = |address: std::io::Result<SocketAddr>| address.map(|address| address.port()).into_diagnostic();
        ports.push([port(peer.local_addr())?, port(client.local_addr())?, port(rpc.local_addr())?]);
        // All stay bound until all are found, so that no two are the same.
        held_udp.extend([peer, client]);
        held_tcp.push(rpc);
    }
    Ok(ports)
}
