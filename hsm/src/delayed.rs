//! A key that takes longer: what a slow token does to a network, measured without one (`signing.added_latency_ms`).

use crate::error::StoreError;
use crate::signer::{Keys, Signer};
use std::thread;
use std::time::Duration;
use types::{PublicKey, Signature};

/// Waits before each signature.
struct Delayed {
    key: Box<dyn Signer>,
    latency: Duration,
}

/// The keys, with so much time added to each signature.
pub(crate) fn by(latency: Duration, keys: Keys) -> Keys {
    if latency.is_zero() {
        return keys;
    }
    tracing::warn!(?latency, "every signature is delayed, for measurements");
    let delay = |key| -> Box<dyn Signer> { Box::new(Delayed { key, latency }) };
    Keys { consensus: delay(keys.consensus), transport: delay(keys.transport), ..keys }
}

impl Signer for Delayed {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn module(&self) -> &str {
        self.key.module()
    }

    fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
        thread::sleep(self.latency);
        self.key.sign(message)
    }
}
