//! `stele_attestation`: hands a nonce to the signer, and the machine's event log out. `stele_endorsement` and
//! `stele_activate`: what the TPM's maker says of it, and challenges to the TPM.
//!
//! A TPM takes tenths of a second for a quote and may take seconds for a challenge, so there is one at a time, and a pause
//! between two: a stranger who asks without end holds nobody up but other strangers.

use crate::attestation::{self, enrolment};
use client::rpc::{AttestationInfo, BUSY_CODE, BusyData, ChallengeInfo, EndorsementInfo, HexBytes};
use hsm::attestation::Nonce;
use hsm::client::SignerClient;
use hsm::error::SignError;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Between two quotes.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a TPM that makes an RSA key.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Attestations {
    signer: PathBuf,
    /// When the last one ended. Held while one is made.
    last: Arc<Mutex<Option<Instant>>>,
}

impl Attestations {
    /// By the signer behind this socket.
    pub(super) fn new(signer: PathBuf) -> Self {
        Self { signer, last: Arc::default() }
    }

    /// An attestation over 32 bytes of the asker's.
    pub(super) async fn attest(&self, nonce: &HexBytes) -> Result<AttestationInfo, ErrorObjectOwned> {
        let nonce: Nonce =
            nonce.0.as_slice().try_into().map_err(|_| invalid("a nonce has 32 bytes, in hexadecimal"))?;
        self.ask(hsm::client::TIMEOUT, "attestation", move |signer| attestation::own(signer, &nonce)).await
    }

    /// What the TPM's maker says of it.
    pub(super) async fn endorsement(&self) -> Result<EndorsementInfo, ErrorObjectOwned> {
        self.ask(PATIENCE, "endorsement", |signer| Ok(enrolment::info(signer.endorsement()?))).await
    }

    /// The secret in a challenge, if the TPM gives it back.
    pub(super) async fn activate(&self, challenge: &ChallengeInfo) -> Result<Option<HexBytes>, ErrorObjectOwned> {
        let challenge = enrolment::read(challenge).ok_or_else(|| invalid("a challenge names no NV index of a key"))?;
        self.ask(PATIENCE, "answer", |signer| Ok(signer.activate(challenge)?.map(HexBytes))).await
    }

    /// Something that the TPM makes, in turn.
    async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        what: &'static str,
        make: impl FnOnce(&SignerClient) -> Result<T, SignError> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        let busy = |pause: Duration| {
            let retry_after_ms = pause.as_millis() as u32;
            ErrorObjectOwned::owned(BUSY_CODE, "one attestation at a time", Some(BusyData { retry_after_ms }))
        };
        let mut last = Arc::clone(&self.last).try_lock_owned().map_err(|_| busy(PAUSE))?;
        if let Some(left) = last.and_then(|last| PAUSE.checked_sub(last.elapsed())) {
            return Err(busy(left));
        }
        let signer = self.signer.clone();
        let making = tokio::task::spawn_blocking(move || {
            let made = SignerClient::connect_with(&signer, patience).and_then(|signer| make(&signer));
            // Here, so that a caller who goes away does not make room for another one.
            *last = Some(Instant::now());
            made
        });
        let internal = |text: String| ErrorObjectOwned::owned(INTERNAL_ERROR_CODE, text, None::<()>);
        let made = making.await.map_err(|_| internal("the node is stopping".to_owned()))?;
        made.map_err(|error| internal(format!("no {what}: {error}")))
    }
}

fn invalid(text: &str) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INVALID_PARAMS_CODE, text, None::<()>)
}
