//! In which epoch a node goes on: what its state has reached, and what it knows to follow (CONSENSUS.md §2.11).
//!
//! The state names an epoch from the last height of the one before on. The node enters it when that height's certificate
//! is here as well. Epochs that the node has learnt of beyond that, with their proofs, are known: then the one that its
//! state is in is over, and the node only takes the rest of its commits, from the validators of the last known one.

use super::RecoveryError;
use super::error::NoPart;
use crate::config::{Outside, Plan, Setup};
use crate::tables::{TableError, Tables};
use hsm::PublicKeys;
use types::{Certificate, Epoch, EpochChange, EpochStart, HeaderVote};

/// A node's part.
pub(super) enum Standing {
    /// A member of the epoch that its state is in.
    Member {
        /// The epoch.
        plan: Plan,
        /// The next one, where the state has reached the last height of this one.
        next: Option<Box<EpochStart>>,
        /// The vote under the last certificate, where the next epoch has begun without this node.
        certified: Option<HeaderVote>,
    },
    /// A member of a later epoch than its state is in.
    Behind {
        /// The last known epoch.
        plan: Plan,
        /// The epoch of the state.
        past: Box<EpochStart>,
        /// The proof of the one after it.
        change: Box<EpochChange>,
    },
}

/// Finds it out. `held` are the signer's keys.
pub(super) fn find(setup: &Setup, held: &PublicKeys, tables: &Tables) -> Result<Standing, RecoveryError> {
    let reached = tables.last_epoch()?.unwrap_or_else(|| EpochStart::clone(&setup.first));
    let outside = |start: &EpochStart| {
        let start = start.clone();
        move |why: Outside| RecoveryError::Outside(Box::new(NoPart { why, start }))
    };
    if let Some(change) = tables.known_change(reached.epoch().next())? {
        // Its proof covers everything up to the last height, so that the epoch reached has begun.
        begun(tables, &reached)?;
        let newest = last_known(tables, &change)?;
        let plan = setup.in_epoch(&newest, held).map_err(outside(&newest))?;
        return Ok(Standing::Behind { plan, past: Box::new(reached), change: Box::new(change) });
    }
    if reached.epoch() == setup.first.epoch() {
        let plan = setup.in_epoch(&reached, held).map_err(outside(&reached))?;
        return Ok(Standing::Member { plan, next: None, certified: None });
    }
    let before = before(setup, tables, &reached)?;
    let Some(certificate) = begun(tables, &reached)? else {
        let plan = setup.in_epoch(&before, held).map_err(outside(&before))?;
        return Ok(Standing::Member { plan, next: Some(Box::new(reached)), certified: None });
    };
    match setup.in_epoch(&reached, held) {
        Ok(plan) => Ok(Standing::Member { plan, next: None, certified: None }),
        // Others may still need it in the epoch before.
        Err(why) => match setup.in_epoch(&before, held) {
            Ok(plan) => Ok(Standing::Member { plan, next: Some(Box::new(reached)), certified: Some(certificate.vote) }),
            Err(_) => Err(outside(&reached)(why)),
        },
    }
}

/// The certificate with which an epoch begins. One that came with a proof is put where those stand that were made here.
fn begun(tables: &Tables, reached: &EpochStart) -> Result<Option<Certificate>, TableError> {
    let anchor = reached.anchor;
    if let Some(certificate) = tables.certificate(anchor.height)?.filter(|found| found.vote.header == anchor.header) {
        return Ok(Some(certificate));
    }
    let known = tables.known_change(reached.epoch())?.filter(|known| known.start.anchor == anchor);
    let Some(EpochChange { certificate, .. }) = known else { return Ok(None) };
    let mut batch = tables.batch();
    batch.certificate(&certificate);
    tables.commit(batch)?;
    Ok(Some(certificate))
}

fn before(setup: &Setup, tables: &Tables, reached: &EpochStart) -> Result<EpochStart, TableError> {
    let before = tables.epoch(Epoch(reached.epoch().0 - 1))?;
    Ok(before.unwrap_or_else(|| EpochStart::clone(&setup.first)))
}

fn last_known(tables: &Tables, first: &EpochChange) -> Result<EpochStart, TableError> {
    let mut newest = first.start.clone();
    while let Some(change) = tables.known_change(newest.epoch().next())? {
        newest = change.start;
    }
    Ok(newest)
}

#[cfg(test)]
mod tests;
