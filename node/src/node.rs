//! Puts a node together, runs it, and takes it apart again. The one file that knows every part.

use crate::config::Plan;
use crate::execution::{Applier, Execution, Order, Receipts, Retention};
use crate::identity::SignerIdentity;
use crate::ingress::{self, Admission};
use crate::pool::Pool;
use crate::reach::Reach;
use crate::replica::certificates::Certificates;
use crate::replica::commit_sync::{CommitSync, Standing};
use crate::replica::driver::Replica;
use crate::replica::event::{Answer, Ended, Fact, Failure};
use crate::replica::intake::{self, Checker};
use crate::replica::lost_disk::LostDisk;
use crate::replica::outbox::Outbox;
use crate::replica::proposer::Proposer;
use crate::replica::recovery::{self, Recovery};
use crate::replica::serve::Archive;
use crate::replica::signer_desk;
use crate::rpc;
use crate::state_sync::install::Site;
use crate::state_sync::join::Joiner;
use crate::state_sync::snapshots::{Service, Snapshots};
use crate::status::{State, Status, Tip};
use crate::tables::Tables;
use crate::topology::{CLIENT_EVENTS, EXECUTION_EVENTS, HEIGHT_NOTICES, MESH_EVENTS, REPLICA_EVENTS};
use accel::Verifier;
use crossbeam_channel::{Sender, bounded, unbounded};
use hsm::SignerClient;
use ledger::LedgerOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::log::Log;
use tokio::sync::{broadcast, watch};
use transport::{
    ClientLimits, ClientServer, Congestion, EventLimits, Mesh, MeshConfig, PeerAddress, client_event_channel,
    event_channel,
};
use types::Height;

mod error;
mod verification;
pub use error::NodeError;

/// What the RPC and the metrics read.
pub struct Context {
    /// The configuration.
    pub plan: Plan,
    /// Admission of transactions.
    pub admission: Arc<Admission>,
    /// The state database.
    pub tables: Tables,
    /// Old blocks.
    pub archive: Archive,
    /// The log.
    pub log: Arc<Log>,
    /// Signature verification.
    pub verifier: Arc<Verifier>,
    /// Links to peers.
    pub mesh: Mesh,
    /// The clients' endpoint.
    pub clients: ClientServer,
    /// Counters and gauges.
    pub status: Arc<Status>,
    /// Tells of each executed height.
    pub heights: broadcast::Sender<Height>,
}

/// Asks a running node to stop. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stopper(Arc<Mutex<Stopping>>);

/// Whether the node was asked to stop, and the replica that has to hear of it. A lock, since any thread may ask, once.
#[derive(Default)]
struct Stopping {
    asked: bool,
    replica: Option<Sender<Fact>>,
}

impl Stopper {
    /// Stops after what is being done.
    pub fn stop(&self) {
        let replica = {
            let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stopping.asked = true;
            stopping.replica.take()
        };
        if let Some(replica) = replica {
            drop(replica.send(Fact::Stop));
        }
    }

    /// Where a stop goes from now on.
    fn attach(&self, replica: &Sender<Fact>) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.asked {
            drop(replica.try_send(Fact::Stop));
        } else {
            stopping.replica = Some(replica.clone());
        }
    }
}

/// Time for the parts of a node that takes another state to let go of files and ports.
const LETTING_GO: Duration = Duration::from_secs(10);
/// Pause between two looks at whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a node on the calling thread until it is stopped or cannot go on. `ready` gets the means to stop it. A node that
/// has taken a state from its peers starts again inside, from that state; and one whose epoch is over, in the next one.
pub fn run(plan: Plan, network: &tokio::runtime::Runtime, ready: impl FnOnce(Stopper)) -> Result<(), NodeError> {
    let stopper = Stopper::default();
    ready(stopper.clone());
    let site = Site::new(&plan.data_dir);
    let limits = &plan.config.pool;
    let pool = Arc::new(Pool::new(limits.transactions_max as usize, limits.bytes_max as usize));
    let mut kept = Kept { pool, verifier: None };
    loop {
        // Also where a crash came between the two.
        if site.exchange()? {
            tracing::info!("the state of peers took the place of this node's");
        }
        if run_once(plan.clone(), network, &stopper, &mut kept)? == Ended::Stopped {
            return Ok(());
        }
        kept.pool.outlive_sessions();
    }
}

/// What goes on while the rest of the node starts again inside.
struct Kept {
    pool: Arc<Pool>,
    verifier: Option<Arc<Verifier>>,
}

/// Runs until the replica ends, and takes everything apart.
fn run_once(
    configured: Plan,
    network: &tokio::runtime::Runtime,
    stopper: &Stopper,
    kept: &mut Kept,
) -> Result<Ended, NodeError> {
    let started = Instant::now();
    let status = Arc::new(Status::new());
    let signer = Arc::new(SignerClient::connect(&configured.signer_socket).map_err(NodeError::Signer)?);
    let verifier = match &kept.verifier {
        Some(verifier) => Arc::clone(verifier),
        None => Arc::clone(kept.verifier.insert(Arc::new(verification::start(&configured)?))),
    };
    if !configured.data_dir.join("state").exists() {
        // A mistake in the configuration leaves nothing behind.
        SignerIdentity::new(signer.another().map_err(NodeError::Signer)?, &configured)?;
    }
    let guarded = signer.stats().map_err(NodeError::Signer)?.signed_up_to;
    let found = recovery::recover(&configured, guarded, started)?;
    let plan = found.plan.clone();
    let (config, parameters) = (&plan.config, &plan.epoch.parameters);
    // A handshake never waits behind a round statement: it has a connection of its own.
    let identity = SignerIdentity::new(signer.another().map_err(NodeError::Signer)?, &plan)?;
    let mut epoch_end = found.epoch_end;
    let Recovery {
        log,
        tables,
        ledger,
        applied,
        mut core,
        effects,
        blocks,
        segments,
        replayed,
        unsigned,
        voted,
        tip,
        own_blocks_lost,
        ..
    } = found;
    let epoch = plan.committee.epoch();
    let lost_disk = if own_blocks_lost {
        let signed = guarded.filter(|slot| slot.epoch == epoch);
        let signed_up_to = signed.map(|slot| slot.round);
        signed_up_to.into_iter().for_each(|round| core.signed_up_to(round));
        Some(LostDisk::new(signed_up_to, plan.accept_lost_disk))
    } else {
        None
    };
    let log = Arc::new(log);
    let screen = ledger.screen();

    let pool = Arc::clone(&kept.pool);
    let (facts, fact_queue) = bounded(REPLICA_EVENTS);
    let (answers, answer_queue) = unbounded::<Answer>();
    let (orders, order_queue) = bounded(EXECUTION_EVENTS);
    let (heights, _) = broadcast::channel(HEIGHT_NOTICES);
    stopper.attach(&facts);

    let me = plan.committee.authority(plan.me).expect("the plan was checked against the committee");
    let (client_sink, client_events) =
        client_event_channel(EventLimits { events: CLIENT_EVENTS, ..EventLimits::default() });
    let reset_secret = reset_secret(&plan)?;
    let (limits, secret) = (ClientLimits::default(), Some(reset_secret));
    let clients = network
        .block_on(ClientServer::start(me.client_address, identity.clone(), limits, secret, client_sink))
        .map_err(|source| NodeError::Transport { what: "the clients' port", address: me.client_address, source })?;
    let (mesh_sink, mesh_events) = event_channel(EventLimits { events: MESH_EVENTS, ..EventLimits::default() });
    let mesh = network
        .block_on(Mesh::start(mesh_config(&plan, reset_secret), identity, mesh_sink))
        .map_err(|source| NodeError::Transport { what: "the validators' port", address: me.peer_address, source })?;

    let receipts = Receipts::new(clients.clone(), Arc::clone(&status));
    let archive = Archive::new(plan.chain, Arc::clone(&log), tables.clone());
    let admission = Arc::new(Admission {
        chain: plan.chain,
        me: plan.me,
        screen,
        reach: Reach::new(&plan, mesh.clone()),
        pool: Arc::clone(&pool),
        verifier: Arc::clone(&verifier),
        replica: facts.clone(),
        status: Arc::clone(&status),
    });
    let log_bytes = {
        let log = Arc::clone(&log);
        Arc::new(move || log.stats().bytes)
    };
    let header = ledger.tip().1.clone();
    status.applied(Tip {
        height: header.height,
        epoch: header.epoch,
        header: header.digest(),
        time_ms: header.timestamp.0,
        committed: applied.committed,
        rejected: applied.rejected,
        closing: ledger.approvals().decided().is_some(),
    });
    let service = Service {
        every_heights: config.sync.snapshot_every_heights,
        bytes_per_second: config.sync.serve_bytes_per_second,
    };
    let site = Site::new(&plan.data_dir);
    let epoch_config = recovery::core_config(&plan);
    let first = epoch_config.anchor.height.next();
    let (snapshots, snapshots_thread) =
        Snapshots::start(service, (parameters.clone(), first), site.snapshots(), tables.clone(), archive.clone())?;
    snapshots.recovered(header.height);
    let retention = Retention {
        log: Arc::clone(&log),
        tables: tables.clone(),
        snapshots: snapshots.clone(),
        keep_bytes: config.log.keep_bytes,
        segment_bytes: config.log.segment_bytes,
    };
    let applier = Applier::new(
        ledger,
        tables.clone(),
        Arc::clone(&pool),
        receipts.clone(),
        heights.clone(),
        Arc::clone(&status),
        (applied.committed, applied.rejected),
        config.log.flush_bytes,
        log_bytes,
        retention,
    )?;
    let execution = Execution {
        log: Arc::clone(&log),
        applier,
        replica: answers.clone(),
        orders: orders.clone(),
        status: Arc::clone(&status),
    };
    let execution = std::thread::Builder::new().name("execution".into()).spawn(move || execution.run(&order_queue))?;
    let stopping = Arc::new(AtomicBool::new(false));
    let (proposals, desk) = signer_desk::start(Arc::clone(&signer), answers, Arc::clone(&stopping))?;
    if let Some(unsigned) = unsigned {
        // No round is ever burned: the identical statement is asked for again.
        drop(proposals.send(unsigned));
    }
    let checker = Checker { chain: plan.chain, committee: Arc::clone(&plan.committee), parameters: parameters.clone() };
    {
        let (checker, network, facts) = (checker.clone(), network.handle().clone(), facts.clone());
        let intake = move || intake::run(&checker, &network, mesh_events, &facts);
        std::thread::Builder::new().name("intake".into()).spawn(intake)?;
    }
    let ingress = network.spawn(ingress::run(Arc::clone(&admission), receipts.clone(), client_events));

    let context = Arc::new(Context {
        admission,
        tables: tables.clone(),
        archive: archive.clone(),
        log: Arc::clone(&log),
        verifier: Arc::clone(&verifier),
        mesh: mesh.clone(),
        clients: clients.clone(),
        status: Arc::clone(&status),
        heights,
        plan: plan.clone(),
    });
    let server = network.block_on(rpc::start(Arc::clone(&context), me.rpc_address))?;
    tracing::info!(
        chain = %plan.chain, validator = %me.name, height = header.height.0, peers = %me.peer_address,
        clients = %me.client_address, rpc = %me.rpc_address, start_ms = started.elapsed().as_millis() as u64, "node started"
    );

    let mut proposer =
        Proposer::new(plan.chain, plan.committee.epoch(), plan.me, parameters.clone(), Arc::clone(&pool));
    found.owed.into_iter().for_each(|vote| proposer.vote(vote));
    proposer.voted_up_to(voted);
    let mut certificates = Certificates::new(Arc::clone(&plan.committee), found.certified);
    for certificate in found.headers.iter().flat_map(|header| certificates.count(header)).collect::<Vec<_>>() {
        certificates.certified_up_to(certificate.height());
        epoch_end.certified = Some(certificate.vote);
        drop(orders.send(Order::Certified(Box::new(certificate))));
    }
    let (standing, watched) = watch::channel(Standing::default());
    let database = Arc::downgrade(&tables.database());
    let joiner = Joiner {
        mesh: mesh.clone(),
        checker: checker.clone(),
        config: epoch_config,
        first,
        tables: tables.clone(),
        identity: plan.identity(),
        site,
        replica: facts.clone(),
        status: Arc::clone(&status),
        banished: BTreeSet::new(),
    };
    let commit_sync = CommitSync {
        mesh: mesh.clone(),
        checker: checker.clone(),
        standing: watched,
        replica: facts.clone(),
        status: Arc::clone(&status),
        joiner,
        state_above_heights: config.sync.state_above_heights,
    };
    network.spawn(commit_sync.run());
    let replica = Replica {
        me: plan.me,
        core,
        effects,
        blocks,
        proposer,
        certificates,
        segments,
        executed: std::iter::once((header.height, header.digest())).collect(),
        proven: BTreeMap::new(),
        tip,
        replayed,
        log: Arc::clone(&log),
        archive,
        checker,
        linked: BTreeSet::new(),
        outbox: Outbox::new(plan.me, epoch, mesh.clone(), network.handle().clone(), snapshots.clone()),
        execution: orders.clone(),
        signer: proposals,
        facts,
        lost_disk,
        standing,
        verifier,
        pool,
        receipts,
        status: Arc::clone(&status),
        started,
        epoch_end,
    };
    let outcome = replica.run(&fact_queue, &answer_queue);
    status.set_state(State::Stopping);
    stopping.store(true, Ordering::Relaxed);
    drop(orders.send(Order::Stop));
    drop(execution.join());
    drop(desk.join());
    snapshots.stop();
    drop(snapshots_thread.join());
    network.block_on(async {
        server.stop().await;
        clients.shutdown().await;
        mesh.shutdown().await;
    });
    log.close();
    if matches!(outcome, Ok(Ended::StateReady | Ended::EpochOver)) {
        // It answers clients, and so would hold their port.
        ingress.abort();
        drop((context, clients, mesh, log, snapshots, tables));
        let free = |address| UdpSocket::bind(address).is_ok();
        let waiting = Instant::now();
        // Signatures in verification lead into the pool.
        let held = || database.strong_count() > 0 || Arc::strong_count(&kept.pool) > 1;
        while (held() || !free(me.peer_address) || !free(me.client_address)) && waiting.elapsed() < LETTING_GO {
            std::thread::sleep(LOOK);
        }
    }
    outcome.map_err(|failure| match failure {
        Failure::DiskFull => NodeError::DiskFull(plan.data_dir.clone()),
        failure => NodeError::Stopped(failure),
    })
}

/// Name of the file with the secret behind stateless resets.
const RESET_SECRET: &str = "reset-secret";

/// Random bytes that stay with the data directory: with them peers and clients learn of a restart within a round trip
/// (RFC 9000 §10.3) instead of after the idle timeout.
fn reset_secret(plan: &Plan) -> std::io::Result<[u8; 32]> {
    let path = plan.data_dir.join(RESET_SECRET);
    if let Ok(kept) = std::fs::read(&path)
        && let Ok(secret) = kept.try_into()
    {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&secret)?;
    Ok(secret)
}

fn mesh_config(plan: &Plan, reset_secret: [u8; 32]) -> MeshConfig {
    let peers = plan.committee.indices().zip(plan.committee.authorities()).map(|(index, authority)| PeerAddress {
        index: index.0,
        addr: authority.peer_address,
        key: authority.transport_key.as_bytes().try_into().expect("the committee has Ed25519 transport keys"),
    });
    let me = plan.committee.authority(plan.me).expect("the plan was checked against the committee");
    let mut config = MeshConfig::new(plan.me.0, me.peer_address, peers.collect());
    config.limits.copy_bytes_per_second = plan.config.transport.copy_bytes_per_second;
    config.congestion = match plan.config.transport.congestion {
        crate::config::CongestionControl::Delay => Congestion::Delay,
        crate::config::CongestionControl::NewReno => Congestion::NewReno,
        crate::config::CongestionControl::Cubic => Congestion::Cubic,
        crate::config::CongestionControl::Bbr => Congestion::Bbr,
    };
    config.reset_secret = Some(reset_secret);
    config
}

/// Options of execution that follow from the plan.
pub fn ledger_options() -> LedgerOptions {
    LedgerOptions::default()
}
