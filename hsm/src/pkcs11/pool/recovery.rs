//! Connecting to a token: at the start, and again after it failed. A thread of its own does the latter, so that requests
//! fail at once meanwhile, or go to the standby.

use super::{Failure, Instant, Pooled, Shared, index, limits};
use crate::error::ConfigError;
use crate::pkcs11::breaker::Health;
use crate::pkcs11::key;
use crate::pkcs11::policy::Reaction;
use crate::signer::{KeyRole, PublicKeys};
use std::sync::PoisonError;
use std::time::Duration;

/// Longest wait for sessions in use before a recovery is put off. A module that does not return cannot be finalised.
const RETURN: Duration = Duration::from_secs(10);

/// Signed by each key before it is used; of no other use.
const MESSAGE: &[u8] = b"stele-token-test-1: this signature is of no use";

impl Shared {
    /// The module is not initialised; afterwards it is, and a session with both keys is open. On failure nothing is open.
    pub(super) fn connect(&self) -> Result<Pooled, (String, Failure)> {
        self.token.initialise().map_err(|failure| (format!("token {:?}", self.token.label()), failure))?;
        self.attach()
    }

    /// As [`Shared::connect`], in a module that is initialised.
    fn attach(&self) -> Result<Pooled, (String, Failure)> {
        let about_token = |failure| (format!("token {:?}", self.token.label()), failure);
        let found = self.token.find().map_err(about_token)?;
        let sessions = self.sessions_max.min(found.sessions_max.unwrap_or(u32::MAX)).max(1);
        let mut inner = self.lock();
        inner.slot = Some(found.slot);
        if self.module.set(found.module.clone()).is_ok() {
            // The first time; later the cap is what it was.
            inner.health = Health::new(limits(sessions));
        }
        drop(inner);
        let mut pooled = self.new_session(Some(found.slot)).map_err(about_token)?;
        let mut public = Vec::new();
        for role in [KeyRole::Consensus, KeyRole::Transport] {
            let name = &self.names[index(role)];
            let about_key = |failure: Failure| (format!("key {:?}", name.label), failure);
            let handle = key::find_private(&pooled.session, name).map_err(about_key)?;
            let key = key::find_public(&pooled.session, name, &self.mechanisms).map_err(about_key)?;
            let mechanism = self.mechanisms.of(key.alg()).map_err(|error| about_key(error.into()))?;
            found.check_mechanism(mechanism).map_err(|error| about_key(error.into()))?;
            self.mechanisms.sign(&pooled.session, handle, &key, MESSAGE).map_err(about_key)?;
            pooled.handles[index(role)] = Some(handle);
            public.push(key);
        }
        let [consensus, transport] = public.try_into().expect("two roles");
        let public = PublicKeys { consensus, transport };
        if *self.expected.get_or_init(|| public.clone()) != public {
            return Err(about_token(ConfigError::KeysDiffer.into()));
        }
        Ok(pooled)
    }

    /// Recovers the token, however long that takes. Ends when it serves, when it is latched, and with the pool.
    pub(super) fn keep(&self) {
        let mut inner = self.lock();
        loop {
            let due = inner.health.recovery_due_in(self.now_ms());
            let (false, Some(due)) = (inner.closing || inner.stuck, due) else {
                inner.keeper_runs = false;
                return;
            };
            if due > 0 {
                let pause = Duration::from_millis(due);
                inner = self.changed.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            inner.health.begin_recovery(self.now_ms());
            let deadline = Instant::now() + RETURN;
            while inner.in_use > 0 && !inner.closing && !inner.stuck && Instant::now() < deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if inner.in_use > 0 {
                tracing::error!(token = %self.token.label(), sessions = inner.in_use, "the module does not return");
                inner.health.recovery_failed(Reaction::Open, self.now_ms());
                continue;
            }
            let idle = std::mem::take(&mut inner.idle);
            inner.open = 0;
            inner.recovering = Some(Instant::now());
            drop(inner);
            drop(idle);
            let outcome = self.reconnect();
            inner = self.lock();
            inner.recovering = None;
            match outcome {
                Ok(pooled) => {
                    tracing::info!(token = %self.token.label(), "the token is back");
                    inner.open = 1;
                    inner.idle.push(pooled);
                    inner.health.recovered();
                    self.changed.notify_all();
                }
                Err((subject, failure)) => {
                    tracing::warn!(%subject, error = %failure.error, "the token is not back");
                    inner.health.recovery_failed(failure.reaction, self.now_ms());
                }
            }
        }
    }

    fn reconnect(&self) -> Result<Pooled, (String, Failure)> {
        // Where new sessions may do, they are tried first; a module that was never initialised fails here too.
        if !self.profile.reinitialise_after_loss
            && let Ok(pooled) = self.attach()
        {
            return Ok(pooled);
        }
        self.token.finalise();
        self.connect()
    }
}
