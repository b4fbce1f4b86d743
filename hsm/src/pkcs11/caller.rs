//! A thread that makes one key's requests to one token, because a call into a module may never return, and then takes the
//! thread with it. Whoever asks waits for the configured time at most.

use super::pool::Pool;
use crate::error::{Fault, StoreError};
use crate::signer::KeyRole;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use types::Signature;

/// How soon it is noticed that the module was given up over another request.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Caller {
    pools: Arc<[Pool]>,
    place: usize,
    role: KeyRole,
    /// Started with the first request.
    thread: Option<Thread>,
}

struct Thread {
    requests: Sender<Vec<u8>>,
    answers: Receiver<Result<Signature, StoreError>>,
    handle: JoinHandle<()>,
}

impl Caller {
    /// For a key in the token of the pool at `place`.
    pub(super) fn new(pools: &Arc<[Pool]>, place: usize, role: KeyRole) -> Self {
        Self { pools: Arc::clone(pools), place, role, thread: None }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pools[self.place]
    }

    /// As [`Pool::sign`], and [`Fault::ModuleStuck`] where that does not return.
    pub(super) fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
        if self.pool().is_stuck() {
            return Err(Fault::ModuleStuck.into());
        }
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        if thread.requests.send(message.to_vec()).is_err() {
            return Err(panicked(thread));
        }
        let start = Instant::now();
        loop {
            match thread.answers.recv_timeout(LOOK) {
                Ok(answer) => {
                    self.thread = Some(thread);
                    return answer;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(panicked(thread)),
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= self.pool().timeout() => self.pool().give_up(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The thread is left to the module. Should it come back, nobody takes its answer, and it ends.
            if self.pool().is_stuck() {
                return Err(Fault::ModuleStuck.into());
            }
        }
    }

    fn start(&self) -> Result<Thread, Fault> {
        let (pools, place, role) = (Arc::clone(&self.pools), self.place, self.role);
        let (requests, asked) = mpsc::channel::<Vec<u8>>();
        let (answer, answers) = mpsc::channel();
        let serve = move || {
            for message in asked {
                if answer.send(pools[place].sign(role, &message)).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("signer-call".to_owned()).spawn(serve) {
            Ok(handle) => Ok(Thread { requests, answers, handle }),
            Err(error) => {
                tracing::error!(%error, "no thread to ask the token with");
                Err(Fault::Io)
            }
        }
    }
}

/// The bug goes on in the thread that asked, as it would without another one.
fn panicked(thread: Thread) -> StoreError {
    match thread.handle.join() {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(()) => Fault::TokenFailed.into(),
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(Thread { requests, handle, .. }) = self.thread.take()
            && !self.pool().is_stuck()
        {
            drop(requests);
            // Its pool is closed with the last of those that share it, and that has to be this thread's owner.
            let _ = handle.join();
        }
    }
}
