//! The validators of a devnet: their files and keys, their processes, and how they are asked.

use super::DevnetArgs;
use super::accounts::Accounts;
use super::process::Process;
use super::site::{Site, write_private};
use super::validator::{Launch, NODE_PATIENCE, Validator, make_keys, make_store};
use client::rpc::NodeStatus;
use client::{RpcClient, now_ms};
use hsm::config::KeystoreConfig;
use hsm::{keystore, secret};
use miette::{IntoDiagnostic, WrapErr};
use netem::Emulation;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::{AlgId, Allocation, Amount, Authority, ChainId, Digest, Genesis, Governance, Parameters, Stake};

/// Longest wait for a process to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Transactions are signed ahead of their intended send time, so the ledger must accept a distant expiry.
const VALIDITY_WINDOW_MS: u64 = 600_000;
/// What the account for use by hand has.
const HAND_BALANCE: Amount = Amount(1_000_000);
/// Ports of a validator that has an address of its own: for validators, for clients, for RPC.
const PORTS: [u16; 3] = [7100, 7200, 7300];

/// A validator whose node is killed and started at will.
#[derive(Debug)]
pub struct Victim {
    index: usize,
    /// How its node is started, and where its files are.
    pub launch: Launch,
    /// Its RPC.
    pub rpc: RpcClient,
    /// Its node, if that runs.
    pub node: Option<Process>,
}

/// All of them.
#[derive(Debug)]
pub struct Network {
    root: PathBuf,
    genesis: Option<Genesis>,
    chain: ChainId,
    validators: Vec<Validator>,
    /// The validators' hosts, in order; without it they share this machine's loopback.
    links: Option<Arc<Emulation>>,
}

impl Network {
    /// Nothing yet, but where it will be.
    pub fn new(site: &Site, links: Option<Emulation>) -> Self {
        Self {
            root: site.path().to_owned(),
            genesis: None,
            chain: ChainId(Digest::ZERO),
            validators: Vec::new(),
            links: links.map(Arc::new),
        }
    }

    /// What is between the validators, if it is not loopback.
    pub fn links(&self) -> Option<&Emulation> {
        self.links.as_deref()
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
            let launch = Launch::new(dir, index, authority.name.clone(), self.links.clone());
            self.validators.push(Validator {
                launch,
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
        for validator in &mut self.validators {
            validator.node = Some(validator.launch.start()?);
        }
        let deadline = Instant::now() + NODE_PATIENCE;
        for validator in &mut self.validators {
            validator.ready(deadline).await?;
        }
        Ok(())
    }

    /// A validator, to do something to its node. Until that is given back, nobody here looks after it.
    pub fn lend(&mut self, index: usize) -> Victim {
        let validator = &mut self.validators[index];
        Victim { index, launch: validator.launch.clone(), rpc: validator.rpc.clone(), node: validator.node.take() }
    }

    /// Takes a validator back.
    pub fn give_back(&mut self, victim: Victim) {
        self.validators[victim.index].node = victim.node;
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
