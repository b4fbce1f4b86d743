//! Puts a node together, runs it, and takes it apart again. The one file that knows every part.

use crate::config::{Plan, Setup};
use crate::epochs;
use crate::execution::{Applier, Execution, Order, Receipts, Retention, StateRoots};
use crate::identity::SignerIdentity;
use crate::ingress::{self, Admission};
use crate::key_ages::KeyAges;
use crate::log_scrub::Scrubber;
use crate::machines::{Admitted, Asked, Door};
use crate::pool::Pool;
use crate::reach::Reach;
use crate::replica::commit_sync::{CommitSync, Standing};
use crate::replica::event::{Answer, Ended, Fact, Failure};
use crate::replica::intake::{self, Checker};
use crate::replica::outbox::Outbox;
use crate::replica::recovery::{self, NoPart, Part, Recovery, RecoveryError};
use crate::replica::serve::Archive;
use crate::rpc;
use crate::state_sync::install::Site;
use crate::state_sync::join::{BULK_PATIENCE, Joiner};
use crate::state_sync::snapshots::{Service, Snapshots};
use crate::status::{State, Status, Tip};
use crate::tables::Tables;
use crate::topology::{CLIENT_EVENTS, EXECUTION_EVENTS, HEIGHT_NOTICES, MESH_EVENTS, REPLICA_EVENTS};
use accel::Verifier;
use crossbeam_channel::{Sender, bounded, unbounded};
use hsm::{PublicKeys, SignerClient};
use ledger::LedgerOptions;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::log::Log;
use tokio::sync::{broadcast, watch};
use transport::{ClientLimits, ClientServer, EventLimits, Mesh, client_event_channel, event_channel};
use types::{EpochStart, Height};

mod body;
mod error;
pub mod links;
mod verification;
use body::Body;
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
    /// Which of them count.
    pub admitted: Admitted,
    /// The clients' endpoint.
    pub clients: ClientServer,
    /// Counters and gauges.
    pub status: Arc<Status>,
    /// Tells of each executed height.
    pub heights: broadcast::Sender<Height>,
    /// Since when the validators have their keys.
    pub key_ages: KeyAges,
    /// The states that are kept.
    pub snapshots: Snapshots,
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

    /// Whether the node was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked
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

/// Runs a node on the calling thread until it is stopped or cannot go on. `ready` gets the means to stop it and to
/// see how it is. A node that
/// has taken a state from its peers starts again inside, from that state; one whose epoch is over, in the next one; and one
/// whose signer signs from a later round on, above that.
pub fn run(
    setup: Setup,
    network: &tokio::runtime::Runtime,
    ready: impl FnOnce(Stopper, &Status),
) -> Result<(), NodeError> {
    let stopper = Stopper::default();
    let status = Arc::new(Status::new());
    ready(stopper.clone(), &status);
    let site = Site::new(&setup.data_dir);
    let limits = &setup.config.pool;
    let pool = Arc::new(Pool::new(limits.transactions_max as usize, limits.bytes_max as usize));
    let verifier = Arc::new(verification::start(&setup)?);
    let mut kept = Kept { pool, status, verifier };
    let mut again: Option<Instant> = None;
    let mut fenced = None;
    loop {
        // Also where a crash came between the two.
        if site.exchange()? {
            tracing::info!("the state of peers took the place of this node's");
        }
        if Site::rebuilding(&setup.data_dir).exchange()? {
            tracing::info!("the state that was rebuilt from the log took the place of the one before");
        }
        let no_part = match run_once(&setup, network, &stopper, &mut kept) {
            Ok(Ended::Stopped) => return Ok(()),
            // The core stays above what the signer said at its start, so that it is not refused for the same reason twice.
            Ok(Ended::Fenced(from)) if fenced == Some(from) => {
                return Err(NodeError::Stopped(Failure::Fenced { from }));
            }
            Ok(Ended::Fenced(from)) => {
                fenced = Some(from);
                None
            }
            Ok(Ended::StateReady | Ended::EpochOver) => None,
            Ok(Ended::Left(start)) => {
                let why = setup.in_epoch(&start, &held_keys(&setup)?).err();
                why.map(|why| Box::new(NoPart { why, start: *start }))
            }
            Err(NodeError::Recovery(RecoveryError::Outside(no_part))) => Some(no_part),
            // The database of before may still be closing in another thread, which nothing tells from outside.
            Err(NodeError::Recovery(RecoveryError::InUse(_))) if again.is_some_and(|at| at.elapsed() < LETTING_GO) => {
                std::thread::sleep(LOOK);
                continue;
            }
            Err(error) => return Err(error),
        };
        again = Some(Instant::now());
        // A new one: what is left of the run before may still speak of its links.
        kept.status = Arc::new(kept.status.go_on());
        kept.pool.outlive_sessions();
        match no_part {
            Some(no_part) if setup.join => {
                let held = held_keys(&setup)?;
                let wait = epochs::wait(&setup, &held, no_part.start, &stopper);
                if !network.block_on(wait)? {
                    return Ok(());
                }
            }
            Some(no_part) => return Err(RecoveryError::Outside(no_part).into()),
            None => {}
        }
    }
}

/// Until the signer listens, or its time is over, or the node is asked to stop. What is wrong with it comes up where it is
/// asked for its keys.
fn await_signer(setup: &Setup, stopper: &Stopper) {
    let since = Instant::now();
    let listens = || UnixStream::connect(&setup.signer_socket).is_ok();
    let mut told = false;
    while since.elapsed() < setup.signer_patience && !stopper.is_asked() && !listens() {
        if !told {
            told = true;
            tracing::info!(socket = %setup.signer_socket.display(), "waiting for the signer");
        }
        std::thread::sleep(LOOK);
    }
}

fn held_keys(setup: &Setup) -> Result<PublicKeys, NodeError> {
    Ok(SignerClient::connect(&setup.signer_socket).map_err(NodeError::Signer)?.public_keys().clone())
}

/// What goes on while the rest of the node starts again inside.
struct Kept {
    pool: Arc<Pool>,
    status: Arc<Status>,
    verifier: Arc<Verifier>,
}

/// Runs until the epoch or the node ends, and takes everything apart.
fn run_once(
    setup: &Setup,
    network: &tokio::runtime::Runtime,
    stopper: &Stopper,
    kept: &mut Kept,
) -> Result<Ended, NodeError> {
    let started = Instant::now();
    let status = Arc::clone(&kept.status);
    let (signer, state) = std::thread::scope(|scope| {
        let state = scope.spawn(|| recovery::State::open(setup));
        await_signer(setup, stopper);
        let signer = SignerClient::connect(&setup.signer_socket).map_err(NodeError::Signer);
        (signer, state.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (signer, state) = (Arc::new(signer?), state?);
    let verifier = Arc::clone(&kept.verifier);
    let guarded = recovery::Guarded::ask(&signer).map_err(NodeError::Signer)?;
    let before = recovery::Signer { held: signer.public_keys(), guarded };
    let Recovery { plan, log, tables, ledger, applied, part } = recovery::recover(setup, state, before, started)?;
    let config = &plan.config;
    // A handshake never waits behind a round statement: it has a connection of its own.
    let identity = SignerIdentity::new(signer.another().map_err(NodeError::Signer)?, &plan);
    let log = Arc::new(log);
    let screen = ledger.screen();

    let pool = Arc::clone(&kept.pool);
    let (facts, fact_queue) = bounded(REPLICA_EVENTS);
    let (answers, answer_queue) = unbounded::<Answer>();
    let (orders, order_queue) = bounded(EXECUTION_EVENTS);
    let (heights, _) = broadcast::channel(HEIGHT_NOTICES);
    stopper.attach(&facts);

    let me = plan.own_entry();
    let (client_sink, client_events) =
        client_event_channel(EventLimits { events: CLIENT_EVENTS, ..EventLimits::default() });
    let reset_secret = links::reset_secret(&plan)?;
    let (limits, secret) = (ClientLimits::default(), Some(reset_secret));
    let clients = network
        .block_on(ClientServer::start(me.client_address, identity.clone(), limits, secret, client_sink))
        .map_err(|source| NodeError::Transport { what: "the clients' port", address: me.client_address, source })?;
    let (mesh_sink, mesh_events) = event_channel(EventLimits { events: MESH_EVENTS, ..EventLimits::default() });
    let mesh = network
        .block_on(Mesh::start(links::mesh_config(&plan, reset_secret), identity, mesh_sink))
        .map_err(|source| NodeError::Transport { what: "the validators' port", address: me.peer_address, source })?;

    let (door, admitted) = Door::new(&plan, mesh_events, &mesh, network.handle());

    let receipts = Receipts::new(clients.clone(), Arc::clone(&status));
    let archive = Archive::new(plan.chain, log.clone(), tables.clone());
    let admission = Arc::new(Admission {
        chain: plan.chain,
        me: plan.me,
        screen,
        reach: Reach::new(&plan, mesh.clone(), admitted.clone()),
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
    status.certificates_stored(tables.last_certified().map_err(RecoveryError::Table)?);
    status.applied(Tip {
        committed: applied.committed,
        rejected: applied.rejected,
        closing: ledger.approvals().decided().is_some(),
        ..Tip::at(&header, header.digest())
    });
    let site = Site::new(&plan.data_dir);
    let epoch_config = recovery::core_config(&plan);
    let first = epoch_config.anchor.height.next();
    let service = Service {
        bytes_per_second: config.sync.serve_bytes_per_second,
        genesis: Arc::clone(&plan.genesis),
        parameters: ledger.epoch().parameters.clone(),
        anchor: ledger.epoch().anchor.height,
        dir: site.snapshots(),
    };
    let (snapshots, snapshots_thread) = Snapshots::start(service, tables.clone(), archive.clone())
        .map_err(|source| NodeError::Snapshots { dir: site.snapshots(), source })?;
    let roots = StateRoots::recovered(snapshots.clone(), tables.clone(), &ledger)?;
    let retention = Retention {
        log: Arc::clone(&log),
        tables: tables.clone(),
        snapshots: snapshots.clone(),
        keep: config.storage.keep(),
        chain: plan.chain,
        archive: archive.clone(),
        authors: plan.committee.size() as u16,
        gc_depth_rounds: plan.epoch.parameters.gc_depth_rounds,
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
        (config.log.flush_bytes, Duration::from_secs(config.log.flush_seconds)),
        log_bytes,
        retention,
        roots,
    )?;
    let execution = Execution {
        log: Arc::clone(&log),
        applier,
        replica: answers.clone(),
        orders: orders.clone(),
        status: Arc::clone(&status),
    };
    let execution = std::thread::Builder::new().name("execution".into()).spawn(move || execution.run(&order_queue))?;
    let checked = match &part {
        Part::Member(_) => &*plan.epoch,
        Part::Behind { past, .. } => past,
    };
    let checker = Checker::new(plan.chain, Arc::new(checked.committee.clone()), checked.parameters.clone());
    {
        let (checker, facts) = (checker.clone(), facts.clone());
        let asked = Asked::new(plan.signer_socket.clone(), network.handle().clone());
        let intake = move || intake::run(&checker, door, asked, &facts);
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
        admitted,
        clients: clients.clone(),
        status: Arc::clone(&status),
        heights,
        key_ages: KeyAges::read(&tables, &plan.genesis, &plan.epoch).map_err(RecoveryError::Table)?,
        snapshots: snapshots.clone(),
        plan: plan.clone(),
    });
    let server = network.block_on(rpc::start(Arc::clone(&context), me.rpc_address))?;
    let scrubber = match config.log.scrub_bytes_per_second {
        0 => None,
        rate => Some(Scrubber::start(Arc::clone(&log), Arc::clone(&status), rate)?),
    };
    tracing::info!(
        chain = %plan.chain, validator = %me.name, height = header.height.0, peers = %me.peer_address,
        clients = %me.client_address, rpc = %me.rpc_address, start_ms = started.elapsed().as_millis() as u64, "node started"
    );

    let (standing, watched) = watch::channel(Standing::default());
    let database = Arc::downgrade(&tables.database());
    let joiner = Joiner {
        mesh: mesh.clone(),
        checker: checker.clone(),
        config: epoch_config,
        first,
        tables: tables.clone(),
        identity: setup.identity(),
        site,
        replica: facts.clone(),
        status: Arc::clone(&status),
        banished: BTreeSet::new(),
        bulk_patience: BULK_PATIENCE,
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
    let watch = epochs::Watch {
        setup: setup.clone(),
        newest: EpochStart::clone(&plan.epoch),
        tables: tables.clone(),
        status: Arc::clone(&status),
        replica: facts.clone(),
    };
    let watch = network.spawn(watch.run());
    let body = Body {
        plan: &plan,
        signer,
        header: (header.height, header.digest()),
        log: Arc::clone(&log),
        archive,
        checker,
        outbox: Outbox::new(plan.me, plan.epoch.epoch(), mesh.clone(), network.handle().clone(), snapshots.clone()),
        execution: orders.clone(),
        answers,
        facts,
        standing,
        verifier,
        pool,
        receipts,
        status: Arc::clone(&status),
        started,
    };
    let outcome = match part {
        Part::Member(member) => body.take_part(*member, &fact_queue, &answer_queue)?,
        Part::Behind { change, tip, .. } => body.follow(*change, tip, &fact_queue, &answer_queue),
    };
    let outcome = match outcome {
        Err(Failure::Fenced { from }) => {
            tracing::warn!(%from, "the signer came back with a guard that signs from a later round on; starting again inside");
            Ok(Ended::Fenced(from))
        }
        outcome => outcome,
    };
    status.set_state(State::Stopping);
    drop(orders.send(Order::Stop));
    drop(execution.join());
    snapshots.stop();
    drop(snapshots_thread.join());
    network.block_on(async {
        server.stop().await;
        clients.shutdown().await;
        mesh.shutdown().await;
    });
    drop(scrubber);
    log.close();
    watch.abort();
    if !matches!(outcome, Ok(Ended::Stopped) | Err(_)) {
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

/// Options of execution that follow from the plan.
pub fn ledger_options() -> LedgerOptions {
    LedgerOptions::default()
}
