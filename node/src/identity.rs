//! The node's transport identity: its key stays with the signer process, which signs handshakes and nothing else.

use crate::config::Plan;
use hsm::SignerClient;
use std::sync::Arc;
use transport::{IdentityFault, IdentityKey};
use types::PublicKey;

/// See the module.
pub struct SignerIdentity {
    signer: SignerClient,
    key: PublicKey,
}

impl SignerIdentity {
    /// Over a signer whose keys are those of this validator's entry.
    pub fn new(signer: SignerClient, plan: &Plan) -> Arc<Self> {
        Arc::new(Self { signer, key: plan.own_entry().transport_key.clone() })
    }
}

impl std::fmt::Debug for SignerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignerIdentity({})", self.key)
    }
}

impl IdentityKey for SignerIdentity {
    fn public_key(&self) -> PublicKey {
        self.key.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityFault> {
        let signature = self.signer.sign_handshake(message).map_err(|_| IdentityFault::Unavailable)?;
        Ok(signature.as_bytes().to_vec())
    }
}
