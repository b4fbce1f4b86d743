//! Four validators on loopback: their files as an operator would make them, their processes, and how they are asked.

use crate::check::until;
use crate::process::{Ended, Process, run_to_end, stele, tail, under};
use client::rpc::{NodeState, NodeStatus};
use client::{Account, Client, ClientOptions, RpcClient, Updates, now_ms};
use hsm::config::{KeystoreConfig, Pkcs11Config, SigningConfig, SigningMode};
use hsm::{PublicKeys, SignerConfig, StoreConfig, keystore, provision, secret, softhsm};
use netem::Emulation;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tpm::simulator::Simulator;
use types::{
    Address, AlgId, Allocation, Amount, Authority, AuthorityIndex, ChainId, Epoch, Genesis, Governance, Height,
    Parameters, PublicKey, SecretKey, Stake, TransactionId,
};

/// What everybody is given to become ready.
pub const READY: Duration = Duration::from_secs(60);
/// Validators of a network.
pub const VALIDATORS: usize = 4;
/// Accounts that exist from the start.
pub const ACCOUNTS: u8 = 16;
/// What each of them has.
pub const BALANCE: u128 = 1_000_000_000_000_000_000_000_000_000_000;
/// Ports of a validator that has an address of its own: for validators, for clients, for RPC.
const EMULATED_PORTS: [u16; 3] = [7100, 7200, 7300];
/// Keys of a test need no expensive passphrase.
pub const CHEAP: keystore::Cost = keystore::Cost { memory_kib: 64, passes: 1, lanes: 1 };

/// Two cores carry one network.
static TURN: Mutex<()> = Mutex::const_new(());

/// How a network is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys in SoftHSM2 tokens instead of encrypted files.
    pub softhsm: bool,
    /// Of each validator's own keys.
    pub key_algorithms: [AlgId; VALIDATORS],
    /// All but the last validator sign with epoch keys that are certified for this many rounds.
    pub certificate_rounds: Option<u64>,
    pub parameters: Parameters,
    pub governance: Governance,
    /// Execution threads of each node.
    pub shards: [u16; VALIDATORS],
    /// Accounts of genesis beyond those that transfer.
    pub idle_accounts: u32,
    /// What transactions may be signed with. There is an account for each.
    pub algorithms: Vec<AlgId>,
    /// Sections added to every `node.toml`. By default small segments: a start reads through those that are made ahead.
    pub node_toml: String,
}

impl Default for Options {
    fn default() -> Self {
        let node_toml = "[log]\nsegment_bytes = 16777216\n".to_owned();
        Self {
            softhsm: false,
            key_algorithms: [AlgId::Ed25519; VALIDATORS],
            certificate_rounds: None,
            parameters: Parameters::default(),
            governance: Governance::default(),
            shards: [2; VALIDATORS],
            idle_accounts: 0,
            algorithms: vec![AlgId::Ed25519],
            node_toml,
        }
    }
}

/// See the module.
pub struct Network {
    pub genesis: Genesis,
    pub nodes: Vec<Node>,
    /// What is between the validators, if it is not loopback.
    pub links: Option<Arc<Emulation>>,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One validator.
pub struct Node {
    pub dir: PathBuf,
    pub authority: Authority,
    pub rpc: RpcClient,
    pub signer: Option<Process>,
    pub process: Option<Process>,
    /// Variables of the node process, beyond those of this one.
    pub environment: Vec<(String, std::ffi::OsString)>,
    /// A program under which the node's process runs, with its arguments; the process stays a child of the test.
    pub tracer: Vec<String>,
    /// The host of an emulated network that it runs on.
    host: Option<(Arc<Emulation>, usize)>,
    softhsm: bool,
    starts: u32,
}

impl Network {
    /// Makes all files and starts nothing.
    pub async fn prepare(options: Options) -> Self {
        Self::prepare_on(options, None).await
    }

    async fn prepare_on(options: Options, links: Option<Arc<Emulation>>) -> Self {
        let turn = TURN.lock().await;
        let dir = tempfile::Builder::new().prefix("stele-").tempdir().unwrap();
        let mut nodes = Vec::new();
        let places: Vec<_> = match &links {
            None => free_ports(VALIDATORS).into_iter().map(|ports| (Ipv4Addr::LOCALHOST, ports)).collect(),
            Some(links) => (0..VALIDATORS).map(|host| (links.address(host), EMULATED_PORTS)).collect(),
        };
        for (index, place) in places.into_iter().enumerate() {
            let home = dir.path().join(format!("node-{index}"));
            std::fs::create_dir(&home).unwrap();
            let store = if options.softhsm { token(&home, index) } else { encrypted_file(&home) };
            let mut node =
                Node::new(home, index, place, make_keys(&store, options.key_algorithms[index]), options.softhsm);
            node.host = links.clone().map(|links| (links, index));
            nodes.push((node, store));
        }
        let account = |key: SecretKey| Allocation { address: key.public_key().address(), balance: Amount(BALANCE) };
        let others = options.algorithms.iter().filter(|alg| **alg != AlgId::Ed25519).map(|alg| key_of(*alg));
        let idle = (0..options.idle_accounts).map(|index| {
            let digest = types::Digest::sha256(&index.to_le_bytes());
            Allocation { address: Address::from_bytes(*digest.as_bytes()), balance: Amount(1) }
        });
        let genesis = Genesis {
            ceremonies: Vec::new(),
            name: "end-to-end".to_owned(),
            created_ms: now_ms(),
            signature_algorithms: options.algorithms.iter().map(|alg| alg.name().to_owned()).collect(),
            parameters: options.parameters,
            governance: options.governance,
            validators: nodes.iter().map(|(node, _)| node.authority.clone()).collect(),
            accounts: (0..ACCOUNTS).map(key).chain(others).map(account).chain(idle).collect(),
        };
        genesis.check().unwrap();
        std::fs::write(dir.path().join("genesis.toml"), genesis.to_toml()).unwrap();
        for (index, (node, store)) in nodes.iter().enumerate() {
            let signing = match options.certificate_rounds {
                Some(certificate_rounds) if index + 1 < VALIDATORS => {
                    SigningConfig { mode: SigningMode::Certified, certificate_rounds, ..SigningConfig::default() }
                }
                _ => SigningConfig::default(),
            };
            node.configure(genesis.chain_id(), index, store, signing, options.shards[index], &options.node_toml);
        }
        Self { genesis, nodes: nodes.into_iter().map(|(node, _)| node).collect(), links, dir, _turn: turn }
    }

    /// Makes it on an emulated network, each validator on a host of its own, and starts nothing. `None`, and a word on the
    /// terminal, where this user or this machine can have no such network.
    pub async fn prepare_emulated(options: Options, seed: u64) -> Option<Self> {
        match Emulation::start(VALIDATORS, seed) {
            Ok(links) => Some(Self::prepare_on(options, Some(Arc::new(links))).await),
            Err(error) if error.is_unsupported() => {
                // Past the harness, which shows nothing of a test that passes.
                std::io::stderr().write_all(format!("SKIPPED: {error}\n").as_bytes()).unwrap();
                None
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    /// Makes it, starts it, and waits until every node is ready.
    pub async fn start(options: Options) -> Self {
        let mut network = Self::prepare(options).await;
        network.start_signers().await;
        network.start_nodes().await;
        network
    }

    pub async fn start_signers(&mut self) {
        self.nodes.iter_mut().for_each(Node::spawn_signer);
        for node in &mut self.nodes {
            node.signer_listens().await;
        }
    }

    /// Starts some nodes, and waits until they are ready.
    pub async fn start_some(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.nodes[*node].spawn());
        for node in nodes {
            self.nodes[*node].ready().await;
        }
    }

    /// Starts the nodes that do not run, and waits until all are ready.
    pub async fn start_nodes(&mut self) {
        self.nodes.iter_mut().filter(|node| node.process.is_none()).for_each(Node::spawn);
        for node in &mut self.nodes {
            node.ready().await;
        }
    }

    /// Makes the files of another validator, which genesis does not have, and starts its signer.
    /// `more` is added to its `node.toml`.
    pub async fn add(&mut self, more: &str) {
        let index = self.nodes.len();
        let home = self.dir.path().join(format!("node-{index}"));
        std::fs::create_dir(&home).unwrap();
        let store = encrypted_file(&home);
        let place = (Ipv4Addr::LOCALHOST, free_ports(1)[0]);
        let mut node = Node::new(home, index, place, make_keys(&store, AlgId::Ed25519), false);
        let signing = SigningConfig::default();
        node.configure(self.chain(), index, &store, signing, 2, &(Options::default().node_toml + more));
        node.spawn_signer();
        node.signer_listens().await;
        self.nodes.push(node);
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn chain(&self) -> ChainId {
        self.genesis.chain_id()
    }

    /// One of the accounts of genesis, or with a higher index one that does not exist.
    pub fn account(&self, index: u8) -> Account {
        Account::new(self.chain(), key(index))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.dir.disable_cleanup(true);
        eprintln!("the files are in {}", self.dir.path().display());
        for node in &self.nodes {
            if let Some(process) = &node.process {
                eprintln!("-- the end of the log of {}:\n{}", node.authority.name, tail(&process.log_text()));
            }
        }
    }
}

/// The key of an account.
pub fn key(index: u8) -> SecretKey {
    SecretKey::ed25519_from_seed([index; 32])
}

/// Its address.
pub fn address(index: u8) -> Address {
    key(index).public_key().address()
}

/// The key of the account of an algorithm that genesis allows; under Ed25519 that of the first account.
pub fn key_of(alg: AlgId) -> SecretKey {
    SecretKey::from_seed(alg, [0; 32]).unwrap()
}

impl Node {
    fn new(dir: PathBuf, index: usize, place: (Ipv4Addr, [u16; 3]), keys: PublicKeys, softhsm: bool) -> Self {
        let (ip, ports) = place;
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
        let rpc = RpcClient::new(&authority.rpc_address.to_string()).unwrap();
        let (environment, tracer, host) = (Vec::new(), Vec::new(), None);
        Self { dir, authority, rpc, signer: None, process: None, environment, tracer, host, softhsm, starts: 0 }
    }

    /// Runs a command of the node's binary where its files are, to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = stele(&self.dir);
        command.args(arguments);
        run_to_end(command, &self.dir)
    }

    /// Has its signer attest its machine by this TPM, from its next start on.
    pub fn attest_by(&self, tpm: &Simulator) {
        let path = self.dir.join("signer.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let more = format!("\n[attestation]\ndevice = {:?}\nregisters = [7, 11]\n", tpm.socket());
        std::fs::write(&path, text + &more).unwrap();
    }

    fn configure(
        &self,
        chain: ChainId,
        index: usize,
        store: &StoreConfig,
        signing: SigningConfig,
        shards: u16,
        more: &str,
    ) {
        let signer = SignerConfig {
            chain,
            author: AuthorityIndex(index as u16),
            epoch: Epoch(1),
            guard: "guard".into(),
            socket: "signer.sock".into(),
            signing,
            fence: Default::default(),
            attestation: None,
            process: Default::default(),
            store: store.clone(),
        };
        std::fs::write(self.dir.join("signer.toml"), toml::to_string(&signer).unwrap()).unwrap();
        let authority = &self.authority;
        let (consensus, transport) = (authority.consensus_key.clone(), authority.transport_key.clone());
        let guard = SignerConfig { guard: self.dir.join("guard"), ..signer };
        provision::guard(&guard, &PublicKeys { consensus, transport }).unwrap();
        let node = format!(
            "genesis = \"../genesis.toml\"\nvalidator = \"{}\"\ndata_dir = \"data\"\nshards = {shards}\n\n\
             [signer]\nsocket = \"signer.sock\"\n\n{more}",
            authority.name
        );
        std::fs::write(self.dir.join("node.toml"), node).unwrap();
        std::fs::create_dir(self.dir.join("data")).unwrap();
    }

    /// Starts the signer process.
    pub fn spawn_signer(&mut self) {
        let mut command = stele(&self.dir);
        command.args(["signer", "--config", "signer.toml", "run", "--exit-with-parent"]);
        let name = format!("the signer of {}", self.authority.name);
        self.signer = Some(Process::spawn(command, name, self.dir.join("signer.log")));
    }

    pub async fn signer_listens(&mut self) {
        let socket = self.dir.join("signer.sock");
        let signer = self.signer.as_mut().unwrap();
        until("the signer listens", READY, async || {
            signer.check();
            UnixStream::connect(&socket).ok()
        })
        .await;
    }

    /// Makes a new guard file in place of the one there is, as an operator might after it was lost.
    pub fn renew_guard(&self) {
        let text = std::fs::read_to_string(self.dir.join("signer.toml")).unwrap();
        let signer: SignerConfig = toml::from_str(&text).unwrap();
        let guard = SignerConfig { guard: self.dir.join("guard"), ..signer };
        std::fs::remove_file(&guard.guard).unwrap();
        let _ = std::fs::remove_file(self.dir.join("guard.lock"));
        let (consensus, transport) = (self.authority.consensus_key.clone(), self.authority.transport_key.clone());
        provision::guard(&guard, &PublicKeys { consensus, transport }).unwrap();
    }

    /// Makes new keys and a guard for them, as an operator does who has to expect that the old ones are known to others,
    /// and starts the signer with them.
    pub async fn renew_keys(&mut self) {
        drop(self.signer.take());
        let dir = self.dir.join("renewed");
        std::fs::create_dir(&dir).unwrap();
        let store = encrypted_file(&dir);
        let keys = make_keys(&store, AlgId::Ed25519);
        let path = self.dir.join("signer.toml");
        let old: SignerConfig = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let signer = SignerConfig { guard: "renewed/guard".into(), store, ..old };
        std::fs::write(path, toml::to_string(&signer).unwrap()).unwrap();
        provision::guard(&SignerConfig { guard: dir.join("guard"), ..signer }, &keys).unwrap();
        (self.authority.consensus_key, self.authority.transport_key) = (keys.consensus, keys.transport);
        self.spawn_signer();
        self.signer_listens().await;
    }

    /// Starts the node process.
    pub fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    /// Starts the node process with more arguments.
    pub fn spawn_with(&mut self, more: &[&str]) {
        self.starts += 1;
        let mut command = stele(&self.dir);
        command.args(["node", "--config", "node.toml", "--exit-with-parent"]).args(more);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let command = under(&self.tracer, command);
        let log = self.dir.join(format!("node-{}.log", self.starts));
        let name = self.authority.name.clone();
        self.process = Some(match &self.host {
            None => Process::spawn(command, name, log),
            Some((links, host)) => links.inside(*host, || Process::spawn(command, name, log)).unwrap(),
        });
    }

    /// Waits until it takes transactions.
    pub async fn ready(&mut self) {
        let (rpc, process) = (&self.rpc, self.process.as_mut().unwrap());
        until("the node is ready", READY, async || {
            process.check();
            rpc.status().await.ok().filter(|status| status.state == NodeState::Ready)
        })
        .await;
    }

    pub async fn restart(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Kills the node process.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Runs the node to an end that it comes to by itself.
    pub fn run_to_end(&self) -> crate::process::Ended {
        let mut command = stele(&self.dir);
        command.args(["node", "--config", "node.toml"]);
        run_to_end(command, &self.dir)
    }

    pub async fn status(&self) -> NodeStatus {
        self.rpc.status().await.unwrap()
    }

    pub async fn height(&self) -> Height {
        self.status().await.height
    }

    /// A session on the fast path.
    pub async fn connect(&self, chain: ChainId) -> (Client<TransactionId>, Updates<TransactionId>) {
        Client::connect(self.authority.client_address, self.client_options(chain)).await.unwrap()
    }

    pub fn client_options(&self, chain: ChainId) -> ClientOptions {
        let server_key = Some(self.authority.transport_key.clone());
        ClientOptions { server_key, chain: Some(chain), in_flight_max: 1024, ..ClientOptions::default() }
    }

    pub fn log_text(&self) -> String {
        self.process.as_ref().unwrap().log_text()
    }

    /// The number behind a field of a line of the log of the running process.
    pub fn logged(&self, message: &str, field: &str) -> u64 {
        let text = self.log_text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut found = lines.filter(|line| line["fields"]["message"] == message);
        let line = found.next().unwrap_or_else(|| panic!("no `{message}` in the log:\n{}", tail(&text)));
        line["fields"][field].as_u64().unwrap_or_else(|| panic!("no `{field}` in {line}"))
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> String {
        crate::protocols::http(self.authority.rpc_address, "GET", "/metrics", "")
    }

    pub fn is_softhsm(&self) -> bool {
        self.softhsm
    }
}

fn encrypted_file(dir: &Path) -> StoreConfig {
    let passphrase_file = dir.join("passphrase");
    secret::create_random(&passphrase_file).unwrap();
    StoreConfig::Keystore(KeystoreConfig { path: dir.join("keys.stele"), passphrase_file })
}

fn token(dir: &Path, index: usize) -> StoreConfig {
    softhsm::write_conf(dir).unwrap();
    let (pin_file, so_pin) = (dir.join("pin"), dir.join("so-pin"));
    secret::create_random(&pin_file).unwrap();
    secret::create_random(&so_pin).unwrap();
    StoreConfig::Pkcs11(Pkcs11Config::new(
        softhsm::find_module().expect("SoftHSM2 is part of set-up"),
        &format!("node-{index}"),
        pin_file,
    ))
}

fn make_keys(store: &StoreConfig, alg: AlgId) -> PublicKeys {
    let config = match store {
        StoreConfig::Keystore(config) => return keystore::generate_with(config, alg, CHEAP).unwrap(),
        StoreConfig::Pkcs11(config) => config,
    };
    // A process can load a PKCS#11 module once, and finds its tokens through its environment.
    #[derive(serde::Serialize)]
    struct OnlyStore<'a> {
        store: &'a StoreConfig,
    }
    #[derive(serde::Deserialize)]
    struct Printed {
        consensus_key: PublicKey,
        transport_key: PublicKey,
    }
    let dir = config.pin_file.parent().unwrap();
    std::fs::write(dir.join("provision.toml"), toml::to_string(&OnlyStore { store }).unwrap()).unwrap();
    let mut command = stele(dir);
    command.args(["signer", "--config", "provision.toml", "provision", "--so-pin-file", "so-pin"]);
    command.args(["--algorithm", alg.name()]);
    let ended = run_to_end(command, dir);
    assert!(ended.status.success(), "{}", ended.message);
    let printed: Printed = serde_json::from_str(&ended.output).unwrap();
    PublicKeys { consensus: printed.consensus_key, transport: printed.transport_key }
}

/// Three ports a validator, free at this moment.
fn free_ports(validators: usize) -> Vec<[u16; 3]> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    // All stay bound until all are found, so that no two are the same.
    let bind = |_| (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap(), TcpListener::bind(any).unwrap());
    let held: Vec<_> = (0..validators).map(bind).collect();
    let port = |address: std::io::Result<SocketAddr>| address.unwrap().port();
    held.iter().map(|(a, b, c)| [port(a.local_addr()), port(b.local_addr()), port(c.local_addr())]).collect()
}
