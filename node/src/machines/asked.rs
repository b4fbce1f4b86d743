//! Answers peers who ask for the attestation of this machine.
//!
//! A TPM takes tenths of a second for a quote, so they wait for each other, and who asks again at once is declined: a peer that
//! asks without end holds up nobody for long.

use crate::attestation;
use hsm::SignerClient;
use hsm::attestation::Nonce;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use transport::Reply;
use types::AuthorityIndex;

/// Between two questions of one peer.
const PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub struct Asked {
    signer: PathBuf,
    network: Handle,
    /// Held while an answer is made.
    turn: Arc<Mutex<()>>,
    last: BTreeMap<AuthorityIndex, Instant>,
}

impl Asked {
    /// By the signer behind this socket.
    pub fn new(signer: PathBuf, network: Handle) -> Self {
        Self { signer, network, turn: Arc::default(), last: BTreeMap::new() }
    }

    /// Answers with the document, or declines; does not wait for it.
    pub fn answer(&mut self, peer: AuthorityIndex, nonce: Nonce, reply: Reply) {
        let now = Instant::now();
        if self.last.insert(peer, now).is_some_and(|last| now.duration_since(last) < PAUSE) {
            return;
        }
        let (signer, turn) = (self.signer.clone(), Arc::clone(&self.turn));
        self.network.spawn(async move {
            let turn = turn.lock_owned().await;
            if reply.is_withdrawn() {
                return;
            }
            let made = tokio::task::spawn_blocking(move || {
                let made = SignerClient::connect(&signer).and_then(|signer| attestation::own(&signer, &nonce));
                drop(turn);
                made
            });
            match made.await.map(|made| made.map(|info| serde_json::to_vec(&info).expect("a document has text keys"))) {
                // The peer may have given up.
                Ok(Ok(document)) => drop(reply.send(document.into())),
                Ok(Err(error)) => {
                    tracing::warn!(peer = peer.0, %error, "a peer asked for an attestation, and there is none")
                }
                // The node is stopping.
                Err(_) => {}
            }
        });
    }
}
