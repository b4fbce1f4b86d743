//! The committees of all epochs, each proven by the one before, from genesis on: with them whatever a disk or a file holds of
//! the ledger is checked as if a stranger had sent it.

use crate::replica::intake::Checker;
use crate::tables::{TableError, Tables};
use std::sync::Arc;
use thiserror::Error;
use types::{Epoch, EpochChain, EpochChange, EpochChangeError, EpochStart, Genesis, GenesisError};

/// Why a committee is not known.
#[derive(Debug, Error)]
pub enum CommitteeError {
    /// An epoch whose committee nobody has proven.
    #[error("epoch {epoch} does not follow from genesis")]
    Epoch {
        /// Which.
        epoch: Epoch,
        /// What is wrong.
        source: EpochChangeError,
    },
    /// The proof of an epoch is not there.
    #[error("there is no proof of epoch {0}")]
    Unknown(Epoch),
    /// Genesis gives no committee.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The database.
    #[error("the state cannot be read")]
    Table(#[from] TableError),
}

/// See the module.
pub struct Checkers {
    epochs: EpochChain,
    last: Option<(Epoch, Checker)>,
}

impl Checkers {
    /// As a node's database proves them.
    pub fn of_node(genesis: &Genesis, tables: &Tables) -> Result<Self, CommitteeError> {
        let mut checkers = Self::of_genesis(genesis)?;
        let newest = tables.last_epoch()?.map_or(checkers.epochs.last().epoch(), |start| start.epoch());
        while checkers.epochs.last().epoch() < newest {
            // Of the newest one the proof may not be there yet; then nothing of it is certified either.
            let Some(change) = tables.epoch_change(checkers.epochs.last().epoch().next())? else { break };
            checkers.push(change)?;
        }
        Ok(checkers)
    }

    /// The first epoch alone.
    pub fn of_genesis(genesis: &Genesis) -> Result<Self, CommitteeError> {
        Ok(Self { epochs: EpochChain::from_genesis(genesis)?, last: None })
    }

    /// Takes the next epoch in.
    pub fn push(&mut self, change: EpochChange) -> Result<(), CommitteeError> {
        let epoch = change.start.epoch();
        self.epochs.push(change).map_err(|source| CommitteeError::Epoch { epoch, source })
    }

    /// The proofs of all epochs after the first.
    pub fn changes(&self) -> &[EpochChange] {
        self.epochs.changes()
    }

    /// The last epoch that is proven.
    pub fn last(&self) -> &EpochStart {
        self.epochs.last()
    }

    /// The checks of an epoch.
    pub fn of_epoch(&mut self, epoch: Epoch) -> Result<&Checker, CommitteeError> {
        if self.last.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let start = self.epochs.epoch(epoch).ok_or(CommitteeError::Unknown(epoch))?;
            let committee = Arc::new(start.committee.clone());
            let checker = Checker::new(self.epochs.ledger(), committee, start.parameters.clone());
            self.last = Some((epoch, checker));
        }
        Ok(&self.last.as_ref().expect("it was just made").1)
    }
}
