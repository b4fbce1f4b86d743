//! The sessions of one token, shared by both keys. [`super::breaker`] decides; this makes the calls, and waits.
//!
//! A consensus signature never queues behind handshakes: where there are two sessions or more, one is kept for it.
//! Sessions are judged by the codes of the calls that fail in them and never probed. C_Finalize happens only when every
//! session is closed, so that none of their numbers can mean a later one.

mod recovery;
mod session;
mod stuck;

use super::breaker::{Health, Limits, Session as Fate};
use super::key::Name;
use super::mechanism::Mechanisms;
use super::policy::Failure;
use super::profile::{self, Profile};
use super::token::Token;
use crate::config::Pkcs11Config;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::signer::{KeyRole, PublicKeys};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use types::Signature;

/// First pause after a failure of the token; doubled by each further one.
const REST_MIN_MS: u64 = 50;
/// Longest pause. A token that is back is found within it.
const REST_MAX_MS: u64 = 2000;
/// Longest wait for a session of somebody else.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session and what was found in it.
struct Pooled {
    session: Session,
    /// By [`KeyRole`].
    handles: [Option<ObjectHandle>; 2],
    logged_out: bool,
    used: Instant,
}

struct Inner {
    health: Health,
    slot: Option<Slot>,
    idle: Vec<Pooled>,
    /// Idle and in use.
    open: u32,
    in_use: u32,
    /// Consensus signatures that wait for a session.
    urgent: u32,
    keeper_runs: bool,
    /// Since when the keeper is in the module.
    recovering: Option<Instant>,
    /// A call does not return: nothing is asked of the module any more.
    stuck: bool,
    closing: bool,
}

struct Shared {
    token: Token,
    profile: Profile,
    mechanisms: Mechanisms,
    /// By [`KeyRole`].
    names: [Name; 2],
    sessions_max: u32,
    /// Longest time of a request.
    timeout: Duration,
    /// Of all tokens.
    modules_stuck: Arc<AtomicU32>,
    /// What the token must hold, from its first connection or from the other token.
    expected: OnceLock<PublicKeys>,
    module: OnceLock<String>,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Held while logging in, so that a lost login is renewed once.
    login: Mutex<()>,
    start: Instant,
}

/// The pool of one token. Dropping it closes all sessions and finalises the module.
pub(super) struct Pool {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

fn index(role: KeyRole) -> usize {
    match role {
        KeyRole::Consensus => 0,
        KeyRole::Transport => 1,
    }
}

impl Pool {
    /// Loads the module; nothing is asked of the token yet. `stuck` counts modules that were given up.
    pub(super) fn load(config: &Pkcs11Config, stuck: &Arc<AtomicU32>) -> Result<Self, StartError> {
        let profile = profile::of(config)?;
        let mechanisms =
            Mechanisms::new(&profile).map_err(|error| error.about(format_args!("profile {:?}", profile.name)))?;
        let name = |label: &str, id: &Option<String>| {
            let id = id.as_ref().map(hex::decode).transpose();
            let id = id.map_err(|_| ConfigError::ConfigUnreadable.about(format_args!("CKA_ID of key {label:?}")))?;
            Ok::<_, StartError>(Name { label: label.to_owned(), id })
        };
        let names = [
            name(&config.consensus_label, &config.consensus_id)?,
            name(&config.transport_label, &config.transport_id)?,
        ];
        let timeout = config.call_timeout().ok_or_else(|| {
            ConfigError::ConfigUnreadable.about(format_args!("call_timeout_ms = {}", config.call_timeout_ms))
        })?;
        let sessions_max = config.sessions_max.min(profile.sessions_max.unwrap_or(u32::MAX)).max(1);
        let inner = Inner {
            health: Health::new(limits(sessions_max)),
            slot: None,
            idle: Vec::new(),
            open: 0,
            in_use: 0,
            urgent: 0,
            keeper_runs: false,
            recovering: None,
            stuck: false,
            closing: false,
        };
        let shared = Shared {
            token: Token::load(config)?,
            profile,
            mechanisms,
            names,
            sessions_max,
            timeout,
            modules_stuck: Arc::clone(stuck),
            expected: OnceLock::new(),
            module: OnceLock::new(),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            login: Mutex::new(()),
            start: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared), keeper: Mutex::new(None) })
    }

    /// What the token must hold.
    pub(super) fn expect(&self, keys: &PublicKeys) {
        // A pool that has connected has been asked already.
        let _ = self.shared.expected.set(keys.clone());
    }

    /// The token is not there now; it is looked for until it is.
    pub(super) fn begin_open(&self) {
        let mut inner = self.shared.lock();
        inner.health.open(self.shared.now_ms());
        self.ensure_keeper(&mut inner);
    }

    /// Model and maker of the token.
    pub(super) fn module(&self) -> &str {
        self.shared.module.get().map_or("absent", String::as_str)
    }

    /// Whether requests go to the token.
    pub(super) fn serves(&self) -> bool {
        self.shared.lock().admit().is_ok()
    }

    /// Signs with one of the keys; makes the request twice at most.
    pub(super) fn sign(&self, role: KeyRole, message: &[u8]) -> Result<Signature, StoreError> {
        let mut retried = false;
        loop {
            match self.attempt(role, message, retried) {
                Ok(signature) => return Ok(signature),
                Err((error, true)) => {
                    tracing::warn!(token = %self.shared.token.label(), %error, "once more");
                    retried = true;
                }
                Err((error, false)) => return Err(error),
            }
        }
    }

    fn attempt(&self, role: KeyRole, message: &[u8], retried: bool) -> Result<Signature, (StoreError, bool)> {
        let shared = &self.shared;
        let mut pooled = match shared.acquire(role) {
            Ok(pooled) => pooled,
            Err(Refused::Resting(error)) => {
                self.ensure_keeper(&mut shared.lock());
                return Err((error, false));
            }
            Err(Refused::Failed(failure)) => return Err(self.judge(None, failure, retried)),
        };
        match shared.sign(role, message, &mut pooled) {
            Ok(signature) => {
                pooled.used = Instant::now();
                shared.lock().health.succeeded();
                shared.release(pooled);
                Ok(signature)
            }
            Err(failure) => Err(self.judge(Some(pooled), failure, retried)),
        }
    }

    /// Settles what becomes of a session that failed, or could not be made, and of the request.
    fn judge(&self, pooled: Option<Pooled>, failure: Failure, retried: bool) -> (StoreError, bool) {
        let shared = &self.shared;
        let mut inner = shared.lock();
        let others = inner.open - u32::from(pooled.is_some());
        let verdict = inner.health.failed(failure.reaction, retried, others, shared.now_ms());
        if inner.admit().is_err() {
            tracing::error!(token = %shared.token.label(), error = %failure.error, "the token is left alone");
            self.ensure_keeper(&mut inner);
        }
        let surplus = inner.shrink();
        drop(inner);
        drop(surplus);
        if let Some(mut pooled) = pooled {
            match verdict.session {
                Fate::Evicted => shared.evict(pooled),
                Fate::Refound | Fate::LoggedOut => {
                    pooled.handles = [None; 2];
                    pooled.logged_out = verdict.session == Fate::LoggedOut;
                    shared.release(pooled);
                }
            }
        }
        (failure.error, verdict.retry)
    }

    /// Starts the thread that recovers the token, where it is needed and does not run.
    fn ensure_keeper(&self, inner: &mut Inner) {
        if inner.keeper_runs || inner.closing || inner.stuck || inner.health.recovery_due_in(0).is_none() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new().name("signer-token".to_owned()).spawn(move || shared.keep()) {
            Ok(thread) => {
                inner.keeper_runs = true;
                // The one before has ended: it said so under this lock.
                *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            // The next request tries again.
            Err(error) => tracing::error!(%error, "no thread to recover the token with"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.closing = true;
        if inner.stuck {
            // Closing sessions would not return either.
            std::mem::forget(std::mem::take(&mut inner.idle));
            return;
        }
        drop(inner);
        self.shared.changed.notify_all();
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            // A keeper that panicked has nothing left to say.
            let _ = keeper.join();
        }
        let idle = std::mem::take(&mut self.shared.lock().idle);
        drop(idle);
        self.shared.token.finalise();
    }
}

fn limits(sessions: u32) -> Limits {
    Limits { sessions, rest_min_ms: REST_MIN_MS, rest_max_ms: REST_MAX_MS }
}

/// Why no session was had.
enum Refused {
    /// The token is not asked.
    Resting(StoreError),
    /// One could not be made.
    Failed(Failure),
}

impl Inner {
    /// Whether the token is asked.
    fn admit(&self) -> Result<(), StoreError> {
        if self.stuck { Err(Fault::ModuleStuck.into()) } else { self.health.admit() }
    }

    /// Takes out idle sessions that are too many; to be dropped without the lock.
    fn shrink(&mut self) -> Vec<Pooled> {
        let mut surplus = Vec::new();
        while self.open > self.health.sessions_max()
            && let Some(pooled) = self.idle.pop()
        {
            self.open -= 1;
            surplus.push(pooled);
        }
        surplus
    }

    /// Whether this key may have a session now, if there is one.
    fn has_room(&self, role: KeyRole) -> bool {
        let most = self.health.sessions_max();
        match role {
            KeyRole::Consensus => self.in_use < most,
            // One is kept for consensus; where there is just one, consensus goes first.
            KeyRole::Transport => self.in_use < most.saturating_sub(1).max(1) && self.urgent == 0,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked held no half-made change: counts and lists change together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A session, from the pool or new.
    fn acquire(&self, role: KeyRole) -> Result<Pooled, Refused> {
        // Waiting for others is not the module's doing.
        let deadline = Instant::now() + PATIENCE.min(self.timeout / 2);
        let urgent = u32::from(role == KeyRole::Consensus);
        let mut inner = self.lock();
        loop {
            inner.admit().map_err(Refused::Resting)?;
            if inner.has_room(role) {
                if let Some(pooled) = self.take_idle(&mut inner) {
                    inner.in_use += 1;
                    return Ok(pooled);
                }
                if inner.open < inner.health.sessions_max() {
                    inner.open += 1;
                    inner.in_use += 1;
                    let slot = inner.slot;
                    drop(inner);
                    return self.new_session(slot).map_err(|failure| {
                        self.leave();
                        Refused::Failed(failure)
                    });
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refused::Resting(Fault::TokenExhausted.into()));
            }
            inner.urgent += urgent;
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.urgent -= urgent;
        }
    }

    /// An idle session that the token has not ended, as far as the profile knows.
    fn take_idle(&self, inner: &mut Inner) -> Option<Pooled> {
        let timeout = self.profile.idle_timeout_s.map(Duration::from_secs);
        loop {
            let pooled = inner.idle.pop()?;
            if timeout.is_none_or(|timeout| pooled.used.elapsed() < timeout) {
                return Some(pooled);
            }
            inner.open -= 1;
            // Rare enough to be closed under the lock.
            drop(pooled);
        }
    }

    fn release(&self, pooled: Pooled) {
        let mut inner = self.lock();
        inner.in_use -= 1;
        inner.idle.push(pooled);
        let surplus = inner.shrink();
        drop(inner);
        self.changed.notify_all();
        drop(surplus);
    }

    fn evict(&self, pooled: Pooled) {
        // Before it is counted as gone, so that a token with few sessions has room for the next one.
        drop(pooled);
        self.leave();
    }

    fn leave(&self) {
        let mut inner = self.lock();
        inner.in_use -= 1;
        inner.open -= 1;
        drop(inner);
        self.changed.notify_all();
    }
}
