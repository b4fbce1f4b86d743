//! The signer process: hardens itself, opens keys and guard, listens, and ends cleanly.

#[cfg(test)]
mod alone;
mod files;
mod report;
mod seccomp;
mod signals;
mod user;

pub use report::Protections;

use crate::config::SignerConfig;
use crate::error::{Fault, StartError};
use crate::server;
use crate::service::{GuardFile, Service};
use rustix::fs::Mode;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use std::io::Read;
use std::sync::Arc;

/// When the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// At SIGTERM, SIGINT or SIGHUP: for a service manager or a terminal.
    Service,
    /// At SIGTERM, or when standard input closes, which it does when the process that holds its other end dies. Ctrl-C
    /// at a terminal reaches the whole process group and is left to that process.
    Parent,
}

/// Runs a signer until its end. To be called before any thread is started; the process is of no other use.
///
/// # Errors
/// [`StartError`], see [`crate::StoreError::exit_status`] for what the process should exit with. Where a call into a
/// PKCS#11 module does not return, the process exits here, with the status of [`Fault::ModuleStuck`].
pub fn run(config: &SignerConfig, lifetime: Lifetime, guard: GuardFile) -> Result<(), StartError> {
    let ending =
        signals::Ending::block(lifetime).map_err(|error| Fault::Io.about(format_args!("signals ({error})")))?;
    lift_memory_limit();
    if let Some(user) = &config.process.user {
        user::become_user(user)?;
    }
    harden();
    // Before the module is loaded, whose code it is for most of all.
    files::confine(config)?;
    seccomp::install(config.process.seccomp)
        .map_err(|error| Fault::Io.about(format_args!("seccomp ({error}; `process.seccomp` can be off)")))?;
    let service = match Service::open(config, guard) {
        Ok(service) => Arc::new(service),
        Err(error) if error.cause == Fault::ModuleStuck.into() => {
            tracing::error!(%error, "the signer does not start");
            signals::leave(Fault::ModuleStuck.exit_status())
        }
        Err(error) => return Err(error),
    };
    lock_memory();
    let listener = server::listen(&config.socket, &config.process.allow_uids)?;
    let keys = service.public_keys();
    tracing::info!(socket = %config.socket.display(), author = %config.author, consensus = %keys.consensus, "signer ready");
    let serving = Arc::clone(&service);
    let others = config.process.allow_uids.clone();
    spawn("signer-accept", move || {
        if let Err(error) = server::serve(&serving, &listener, &others, signals::end_self) {
            tracing::error!(%error, "signer stops: it cannot accept connections");
            signals::end_self();
        }
    })?;
    if lifetime == Lifetime::Parent {
        spawn("signer-parent", || {
            let mut stdin = std::io::stdin().lock();
            let mut sink = [0; 64];
            while !matches!(stdin.read(&mut sink), Ok(0) | Err(_)) {}
            signals::end_self();
        })?;
    }
    ending.wait();
    service.stop();
    // Best effort: a stale socket is removed at the next start.
    let _ = std::fs::remove_file(&config.socket);
    tracing::info!(stats = ?service.stats(), "signer ends");
    if service.is_stuck() {
        tracing::error!("no PKCS#11 module is left that returns from calls; another process has to go on");
        signals::leave(Fault::ModuleStuck.exit_status());
    }
    Ok(())
}

/// No core dumps, no debugger of the same user, no new privileges, files for the owner alone.
fn harden() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let steps = [
        ("core dumps", rustix::process::setrlimit(Resource::Core, none)),
        ("debuggers", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        ("new privileges", rustix::thread::set_no_new_privs(true)),
    ];
    for (what, outcome) in steps {
        if let Err(error) = outcome {
            tracing::warn!(%error, "{what} are not switched off");
        }
    }
}

/// Root may lock all its memory; the user that it becomes may then too.
fn lift_memory_limit() {
    if rustix::process::geteuid().is_root() {
        let unlimited = Rlimit { current: None, maximum: None };
        if let Err(error) = rustix::process::setrlimit(Resource::Memlock, unlimited) {
            tracing::warn!(%error, "the limit on locked memory stays");
        }
    }
}

/// Keeps keys and PIN out of the swap, as far as the limit on locked memory goes. Pages count when they are touched.
fn lock_memory() {
    let unlimited =
        rustix::process::getrlimit(Resource::Memlock).current.is_none() || rustix::process::geteuid().is_root();
    // With a limit, locking what is to come would make later allocations fail, and with them a signature.
    let future = if unlimited { MlockAllFlags::FUTURE } else { MlockAllFlags::empty() };
    if let Err(error) = rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT | future) {
        tracing::warn!(%error, "memory is not locked: raise the limit (LimitMEMLOCK) or switch swap off");
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|error| Fault::Io.about(format_args!("thread ({error})")))
}

const TERMINATE: Signal = Signal::TERM;
