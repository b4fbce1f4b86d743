//! Epoch key certificates that were found to hold: the same one comes with thousands of statements, and is checked once.

use super::{EpochKeyCertificate, StatementError, StatementSignature};
use crate::block::RoundStatement;
use crate::digest::ChainId;
use crate::key::PublicKey;
use crate::units::{AuthorityIndex, Epoch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// All that the verdict on a certificate depends on.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    chain: ChainId,
    epoch: Epoch,
    consensus_key: PublicKey,
    certificate: Arc<EpochKeyCertificate>,
}

/// The last certificate of each author that held. Bounded by the number of authors whose keys the caller knows.
#[derive(Debug, Default)]
pub struct KnownCertificates(Mutex<BTreeMap<AuthorityIndex, Known>>);

impl KnownCertificates {
    /// [`StatementSignature::verify`], at the cost of one signature where the certificate is known.
    ///
    /// # Errors
    /// The same.
    pub fn verify(
        &self,
        signature: &StatementSignature,
        statement: &RoundStatement,
        consensus_key: &PublicKey,
    ) -> Result<(), StatementError> {
        signature.verify_with(statement, consensus_key, |certificate| {
            let known = Known {
                chain: statement.chain,
                epoch: statement.epoch,
                consensus_key: consensus_key.clone(),
                certificate: Arc::clone(certificate),
            };
            if self.lock().get(&statement.author) == Some(&known) {
                return Ok(());
            }
            certificate.verify(statement, consensus_key)?;
            self.lock().insert(statement.author, known);
            Ok(())
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AuthorityIndex, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
