//! The node's transport identity: its key stays with the signer process, which signs handshakes and nothing else.

use crate::config::Plan;
use crate::node::NodeError;
use hsm::SignerClient;
use std::sync::Arc;
use transport::{IdentityFault, IdentityKey};

/// See the module.
pub struct SignerIdentity {
    signer: SignerClient,
    key: [u8; 32],
}

impl SignerIdentity {
    /// Checks that the signer holds the keys that genesis names for this validator.
    pub fn new(signer: SignerClient, plan: &Plan) -> Result<Arc<Self>, NodeError> {
        let held = signer.public_keys().clone();
        let me = plan.committee.authority(plan.me).expect("the plan was checked against the committee");
        for (role, held, named) in
            [("consensus", &held.consensus, &me.consensus_key), ("transport", &held.transport, &me.transport_key)]
        {
            if held != named {
                return Err(NodeError::WrongKey { role, held: held.to_string(), named: named.to_string() });
            }
        }
        let key = me.transport_key.as_bytes().try_into().expect("the committee has Ed25519 transport keys");
        Ok(Arc::new(Self { signer, key }))
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
