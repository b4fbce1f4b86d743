//! The node's transport identity: its key stays with the signer process, which signs handshakes and nothing else.

use crate::config::Plan;
use hsm::SignerClient;
use std::sync::Arc;
use transport::{IdentityFault, IdentityKey};

/// See the module.
pub struct SignerIdentity {
    signer: SignerClient,
    key: [u8; 32],
}

impl SignerIdentity {
    /// Over a signer whose keys are those of this validator's entry.
    pub fn new(signer: SignerClient, plan: &Plan) -> Arc<Self> {
        let key = plan.own_entry().transport_key.as_bytes();
        let key = key.try_into().expect("the committee has Ed25519 transport keys");
        Arc::new(Self { signer, key })
    }
}

impl std::fmt::Debug for SignerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignerIdentity({})", hex::encode(self.key))
    }
}

impl IdentityKey for SignerIdentity {
    fn public_key(&self) -> [u8; 32] {
        self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityFault> {
        let signature = self.signer.sign_handshake(message).map_err(|_| IdentityFault::Unavailable)?;
        Ok(signature.as_bytes().to_vec())
    }
}
