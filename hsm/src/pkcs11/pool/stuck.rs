//! A module that does not return from a call. A thread inside it can be neither stopped nor waited for, so the module is
//! given up for the life of the process: nothing is asked of it any more, not even to close what is open.

use super::{Pool, PublicKeys, Shared};
use crate::error::{Fault, StartError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How many requests a connection counts for: it initialises, logs in, finds both keys and signs with them.
const CONNECTION: u32 = 3;

impl Pool {
    /// Initialises the module and finds the token and its keys, which must be the expected ones where some are.
    pub(in crate::pkcs11) fn connect(&self) -> Result<PublicKeys, StartError> {
        let (shared, (tell, told)) = (Arc::clone(&self.shared), mpsc::channel());
        let connect = move || {
            // Nobody waits any more for one that took too long.
            let _ = tell.send(shared.connect_at_start());
        };
        let thread = std::thread::Builder::new().name("signer-token".to_owned()).spawn(connect);
        let thread = thread.map_err(|error| Fault::Io.about(format_args!("thread ({error})")))?;
        match told.recv_timeout(self.shared.timeout * CONNECTION) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                self.give_up();
                Err(Fault::ModuleStuck.about(format_args!("token {:?}", self.shared.token.label())))
            }
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Ok(()) => unreachable!("it tells before it ends"),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }

    /// A call does not return.
    pub(in crate::pkcs11) fn give_up(&self) {
        let mut inner = self.shared.lock();
        if !std::mem::replace(&mut inner.stuck, true) {
            self.shared.modules_stuck.fetch_add(1, Ordering::Relaxed);
            tracing::error!(token = %self.shared.token.label(), timeout = ?self.shared.timeout, "{}", Fault::ModuleStuck);
        }
        drop(inner);
        self.shared.changed.notify_all();
    }

    /// Whether the module was given up. A recovery that does not end is found out here.
    pub(in crate::pkcs11) fn is_stuck(&self) -> bool {
        let inner = self.shared.lock();
        let late = |since: Instant| since.elapsed() > self.shared.timeout * CONNECTION;
        let (stuck, late) = (inner.stuck, inner.recovering.is_some_and(late));
        drop(inner);
        if late && !stuck {
            self.give_up();
        }
        stuck || late
    }

    /// Whether nothing but a restart, and perhaps a human, makes this token serve again.
    pub(in crate::pkcs11) fn is_lost(&self) -> bool {
        self.is_stuck() || self.shared.lock().health.may_log_in().is_err()
    }

    /// Longest time of a request.
    pub(in crate::pkcs11) fn timeout(&self) -> Duration {
        self.shared.timeout
    }
}

impl Shared {
    fn connect_at_start(&self) -> Result<PublicKeys, StartError> {
        match self.connect() {
            Ok(pooled) => {
                let mut inner = self.lock();
                inner.open = 1;
                inner.idle.push(pooled);
                Ok(self.expected.get().expect("connecting sets it").clone())
            }
            Err((subject, failure)) => {
                // What is left of the attempt, for the next one.
                self.token.finalise();
                Err(failure.error.about(subject))
            }
        }
    }
}
