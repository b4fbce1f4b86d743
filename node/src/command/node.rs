//! `stele node`: runs a validator until it is told to stop.

use super::start_logging;
use crate::config::{Placement, Setup};
use crate::health;
use crate::machine;
use crate::node::{self, Stopper};
use crate::notify::Manager;
use crate::pinning;
use crate::status::Status;
use clap::Args;
use firmware_hal::Root;
use miette::{IntoDiagnostic, WrapErr};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Stack of the thread that runs the replica: as much as a main thread has.
const STACK_BYTES: usize = 8 << 20;
/// Time for reads and connections in progress once the node has stopped.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Run a validator.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  stele node --config /etc/stele/node.toml
  stele node --config /etc/stele/node.toml --join     as a new validator, or with new keys

Its signer process must be running: stele signer run --config /etc/stele/signer.toml
With an empty data directory it takes what it lacks from the other validators: commits, or the state where they are gone.
Exit status: 0 after a signal; 1 on an error; 3 when the governance has taken this validator out of the committee, or
given it other keys there. It then ends by itself once others have begun the next epoch, and its data stays.
SIGTERM or Ctrl-C stops it after what it is doing; a second time, at once. Nothing that was acknowledged is lost either way.
Under systemd with Type=notify it says when it is ready; with WatchdogSec= it is started again when it does not get on: when
transactions wait and no round has come for a minute, or its main thread has not come round for twenty seconds.
STELE_LOG filters the log, for example STELE_LOG=info,transport=debug")]
pub struct NodeArgs {
    /// The node's configuration; paths in it are relative to it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also stop when standard input ends, as it does when the process that holds its other end dies. Ctrl-C is left to
    /// that process.
    #[arg(long)]
    exit_with_parent: bool,
    /// How long to wait for the signer to listen, where both are started at once. Without it, it must be there.
    #[arg(long, value_name = "S", default_value_t = 0)]
    wait_for_signer: u16,
    /// After the data directory AND the signer's guard file were lost: do not wait until validators of stake 2f + 1 have
    /// said how far this one's blocks went. If one that does not answer is the only one who has the last of them, this
    /// validator may sign a round twice, which proves it faulty to all. Without the flag the node waits for as long as it
    /// takes; with the guard file in place it is never needed.
    #[arg(long)]
    accept_lost_disk: bool,
    /// Where the committee does not have this validator with its signer's keys, wait for an epoch that does: a new
    /// validator's way in, and that of new keys. The node asks validators' RPC for the epochs that have begun, each of
    /// which the one before proves, from genesis on; then it fetches commits or a state, and takes part. Harmless where it
    /// is a member already.
    #[arg(long)]
    join: bool,
    /// Where else to ask for epochs: the RPC of a validator that neither genesis nor the last known committee has. May be
    /// given several times.
    #[arg(long, value_name = "URL")]
    ask: Vec<String>,
}

/// Runs to the end.
pub fn run(args: NodeArgs) -> miette::Result<ExitCode> {
    start_logging();
    let setup = Setup {
        signer_patience: Duration::from_secs(args.wait_for_signer.into()),
        accept_lost_disk: args.accept_lost_disk,
        ask: args.ask.clone(),
        ..Setup::load(&args.config, args.join)?
    };
    if let Some(policy) = &setup.hardware {
        machine::admit(policy, &Root::system())?;
    }
    if setup.config.hardware.placement == Placement::Auto {
        pinning::keep(&Root::system()).into_diagnostic().wrap_err("cannot place threads")?;
    }
    let first = setup.first.epoch();
    let network = Builder::new_multi_thread()
        .worker_threads(setup.config.transport.threads.into())
        .thread_name("net")
        .enable_all()
        .build()
        .into_diagnostic()
        .wrap_err("cannot start the threads of the network")?;
    let signals = {
        let _inside = network.enter();
        Signals::listen().into_diagnostic().wrap_err("cannot listen to signals")?
    };
    let manager = Manager::of_this_process().into_diagnostic().wrap_err("cannot reach the service manager")?;
    let rules = setup.config.hardware.health.clone();
    let ready = |stopper: Stopper, status: &Status| {
        if let Some(Err(error)) = manager.map(|manager| manager.follow(status.pulse())) {
            tracing::error!(%error, "the service manager will hear nothing of this node");
        }
        if let Err(error) = health::follow(Root::system(), rules, status.condition(), stopper.clone()) {
            tracing::error!(%error, "nobody looks after the machine's health");
        }
        watch(&network, signals, stopper, args.exit_with_parent);
    };
    let outcome = thread::scope(|scope| {
        // A thread of its own, so that its CPU time stands under its name.
        let replica = thread::Builder::new().name("replica".into()).stack_size(STACK_BYTES);
        let replica = replica.spawn_scoped(scope, || node::run(setup, &network, ready)).into_diagnostic()?;
        let outcome = replica.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, miette::Report>(outcome)
    });
    network.shutdown_timeout(SHUTDOWN);
    let Err(error) = outcome? else { return Ok(ExitCode::SUCCESS) };
    let status = error.exit_status(first);
    // As `main` prints errors.
    eprintln!("Error: {:?}", miette::Report::from(error));
    Ok(ExitCode::from(status))
}

/// The signals that end a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one that counts.
    async fn next(&mut self, exit_with_parent: bool) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                // At a terminal it reaches the whole process group; the parent says when its children stop.
                _ = self.interrupt.recv() => if !exit_with_parent { return },
            }
        }
    }
}

/// Stops the node at the first signal or the end of standard input, and the process at the second signal.
fn watch(network: &Runtime, mut signals: Signals, stopper: Stopper, exit_with_parent: bool) {
    if exit_with_parent {
        let told = stopper.clone();
        let watch = move || {
            let mut stdin = std::io::stdin().lock();
            let mut sink = [0; 64];
            while !matches!(stdin.read(&mut sink), Ok(0) | Err(_)) {}
            tracing::info!("standard input ended; stopping");
            told.stop();
        };
        if let Err(error) = thread::Builder::new().name("parent".into()).spawn(watch) {
            // Unwatched, the node could outlive its parent.
            tracing::error!(%error, "cannot watch the parent; stopping");
            return stopper.stop();
        }
    }
    network.spawn(async move {
        signals.next(exit_with_parent).await;
        tracing::info!("asked to stop");
        // The queue of the replica may be full for a moment.
        let stopping = tokio::task::spawn_blocking(move || stopper.stop());
        signals.next(exit_with_parent).await;
        tracing::warn!("asked twice; ending at once");
        drop(stopping);
        std::process::exit(1);
    });
}
