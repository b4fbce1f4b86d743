//! Asks a peer for the attestation of its machine and holds the answer against the policy.

use crate::attestation::{self, DocumentError, Expected, Policy, Standing};
use crate::config::Plan;
use crate::wire::Request;
use bytes::Bytes;
use client::rpc::{AttestationInfo, EVENT_LOG_BYTES_MAX, HexBytes};
use hsm::PublicKeys;
use hsm::attestation::Nonce;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use transport::{Mesh, RequestError};
use types::{AuthorityIndex, ChainId, Committee};

/// How long a peer has for its answer. Its TPM takes tenths of a second for each of those who ask, one after the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest document, bytes: its largest part is an event log in hexadecimal.
const DOCUMENT_BYTES_MAX: usize = 4 * EVENT_LOG_BYTES_MAX;

/// Why a peer's machine is not let in.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// There is no answer. A node that has no TPM, or does not say what it measured, declines.
    #[error("no attestation: {0}")]
    Unanswered(#[from] RequestError),
    /// The answer is longer than any document.
    #[error("the answer is no attestation: it has {0} bytes")]
    TooLong(usize),
    /// The answer is no document.
    #[error("the answer is no attestation: {0}")]
    Text(#[from] serde_json::Error),
    /// The document is none.
    #[error("the attestation does not decode: {0}")]
    Document(#[from] DocumentError),
    /// It does not say what it should.
    #[error("{0}")]
    Fails(String),
    /// No random bytes.
    #[error("no nonce: {0}")]
    Nonce(getrandom::Error),
}

/// What came of asking: the name of the TPM's key, or why not.
pub(super) struct Heard {
    pub(super) peer: u16,
    /// Number of the link that was asked over.
    pub(super) link: u64,
    pub(super) outcome: Result<HexBytes, Refusal>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asking {
    chain: ChainId,
    committee: Arc<Committee>,
    policy: Arc<Policy>,
    mesh: Mesh,
    network: Handle,
    tell: Sender<Heard>,
}

impl Asking {
    pub(super) fn new(plan: &Plan, policy: Arc<Policy>, mesh: Mesh, network: Handle, tell: Sender<Heard>) -> Self {
        Self { chain: plan.chain, committee: Arc::clone(&plan.committee), policy, mesh, network, tell }
    }

    /// Asks over a link after a pause, and tells what came of it; does not wait for that.
    pub(super) fn ask(&self, peer: u16, link: u64, pause: Duration) {
        let asking = self.clone();
        self.network.spawn(async move {
            tokio::time::sleep(pause).await;
            let outcome = asking.answer_of(peer).await;
            // Nobody listens any more once the node stops.
            drop(asking.tell.send(Heard { peer, link, outcome }).await);
        });
    }

    async fn answer_of(&self, peer: u16) -> Result<HexBytes, Refusal> {
        let mut nonce: Nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(Refusal::Nonce)?;
        let answer = self.mesh.request(peer, Request::Attestation(nonce).to_body(), PATIENCE).await?;
        judged(&answer, nonce, self.chain, &self.committee, AuthorityIndex(peer), &self.policy)
    }
}

/// Whether an answer to a nonce is the word of this peer's machine, and that machine one that the policy allows.
fn judged(
    answer: &Bytes,
    nonce: Nonce,
    chain: ChainId,
    committee: &Committee,
    peer: AuthorityIndex,
    policy: &Policy,
) -> Result<HexBytes, Refusal> {
    if answer.len() > DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLong(answer.len()));
    }
    let info: AttestationInfo = serde_json::from_slice(answer)?;
    let validators: Vec<(String, PublicKeys)> =
        committee.authority(peer).map(attestation::keys_of).into_iter().collect();
    let verdict = attestation::judge(&info, &Expected { nonce, chain, validators: &validators, policy: Some(policy) })?;
    if verdict.holds {
        return Ok(verdict.tpm_key_name);
    }
    let fails = verdict.checks.iter().filter(|check| check.standing == Standing::Fails);
    let fails: Vec<String> = fails.map(|check| format!("{}: {}", check.what, check.found)).collect();
    Err(Refusal::Fails(fails.join("; ")))
}
