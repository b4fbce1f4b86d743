//! What every answer is made from, and the gate before the disk.

use crate::metrics::{Figures, SignerFigures, Usage};
use crate::node::Context;
use crate::rpc::attestation::Attestations;
use crate::rpc::error::AnswerError;
use std::sync::Arc;
use tokio::sync::Semaphore;
use types::Height;

/// Reads of log and state at a time. Full: the call or subscription waits, and with it that client alone.
const READS_IN_FLIGHT_MAX: usize = 8;

/// See the module.
pub(super) struct State {
    pub(super) context: Arc<Context>,
    pub(super) signer: SignerFigures,
    pub(super) attestations: Attestations,
    reads: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    connections_max: usize,
}

impl State {
    /// `connections` has a permit less for each connection that is open.
    pub(super) fn new(context: Arc<Context>, connections: Arc<Semaphore>, connections_max: usize) -> Self {
        let signer = SignerFigures::new(context.plan.signer_socket.clone());
        let attestations = Attestations::new(context.plan.signer_socket.clone());
        Self {
            context,
            signer,
            attestations,
            reads: Arc::new(Semaphore::new(READS_IN_FLIGHT_MAX)),
            connections,
            connections_max,
        }
    }

    /// Reads log or state on a thread that may wait for the disk.
    ///
    /// Even a short read may miss every cache, and the threads that would wait for it carry the links to the other
    /// validators. Handing a read over costs some 10 µs, which a call of JSON over HTTP does not notice.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Context) -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, AnswerError> {
        let place = Arc::clone(&self.reads).acquire_owned().await.expect("nobody closes this semaphore");
        let context = Arc::clone(&self.context);
        let reading = tokio::task::spawn_blocking(move || {
            // Held by the reading itself: a caller that goes away does not make room for another one.
            let _place = place;
            read(&context)
        });
        reading.await.map_err(|_| AnswerError::Interrupted)?
    }

    /// The highest executed height.
    pub(super) fn height(&self) -> Height {
        self.context.status.tip().map_or(Height(0), |tip| tip.height)
    }

    /// What the process uses.
    pub(super) async fn usage(&self) -> Usage {
        // Some fifty small files: too long for a thread of the network.
        tokio::task::spawn_blocking(Usage::now).await.unwrap_or_default()
    }

    /// Everything that a scrape tells.
    pub(super) async fn figures(&self) -> Figures {
        let context = &self.context;
        Figures {
            status: Arc::clone(&context.status),
            verify: context.verifier.stats(),
            log: context.log.stats(),
            signer: self.signer.read().await,
            mesh: context.mesh.stats(),
            clients: context.clients.stats(),
            sessions: context.clients.sessions(),
            peers: context.mesh.peers(),
            admitted: context.admitted.clone(),
            rpc_connections: self.connections_max - self.connections.available_permits(),
            usage: self.usage().await,
            key_ages: context.key_ages.clone(),
            keys: context.plan.config.keys.clone(),
            root_waited: context.snapshots.waited(),
        }
    }
}
