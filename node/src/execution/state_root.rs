//! The roots of states: which snapshot is being read, what it takes to find it again after a crash, and the root for the
//! header that has to carry it.
//!
//! Until the root of a snapshot is in the database, each batch also holds what the keys that it changes held before. So
//! whatever a crash leaves is either a state at or below the snapshot's height, from which the log leads to it again; or
//! a later one with all that was changed since. Nothing of this is waited for but the root itself, half an interval after
//! the snapshot.

use crate::state_sync::pack;
use crate::state_sync::snapshots::{RootError, Snapshots};
use crate::tables::{Batch, PendingSnapshot, StateRoot, TableError, Tables};
use ledger::{Approvals, Executed, Ledger};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use types::{Digest, Height, LedgerHeader, SnapshotPlan};

/// Reads states and computes their roots.
pub trait ReadStates: Send {
    /// Begins to read the state behind a header; the database may be further, and then holds what was before.
    fn take(&self, header: &LedgerHeader, approvals: Approvals);

    /// The root of a state that was taken, if it is known by now.
    fn root_if_known(&self, height: Height) -> Option<Digest>;

    /// The same; waits for it.
    ///
    /// # Errors
    /// [`RootError`] where it cannot be computed.
    fn root(&self, height: Height) -> Result<Digest, RootError>;
}

impl ReadStates for Snapshots {
    fn take(&self, header: &LedgerHeader, approvals: Approvals) {
        Snapshots::take(self, header, approvals);
    }

    fn root_if_known(&self, height: Height) -> Option<Digest> {
        Snapshots::root_if_known(self, height)
    }

    fn root(&self, height: Height) -> Result<Digest, RootError> {
        Snapshots::root(self, height)
    }
}

/// Reads a state at once, and keeps no chunks: for a rebuild, which nobody waits for.
pub struct AtOnce {
    tables: Tables,
    last: Mutex<Option<(Height, Result<Digest, String>)>>,
}

impl AtOnce {
    /// Over the database that is executed on.
    pub fn new(tables: Tables) -> Self {
        Self { tables, last: Mutex::default() }
    }
}

impl ReadStates for AtOnce {
    fn take(&self, header: &LedgerHeader, approvals: Approvals) {
        let database = self.tables.database();
        let go_on = AtomicBool::new(false);
        let read = pack::pack(&database.snapshot(), header, &approvals, header.height, None, &go_on);
        let root = read.map(|(manifest, _)| manifest.root()).map_err(|error| error.to_string());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((header.height, root));
    }

    fn root_if_known(&self, height: Height) -> Option<Digest> {
        self.root(height).ok()
    }

    fn root(&self, height: Height) -> Result<Digest, RootError> {
        match &*self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((taken, Ok(root))) if *taken == height => Ok(*root),
            Some((taken, Err(what))) if *taken == height => Err(RootError::Failed { height, what: what.clone() }),
            _ => Err(RootError::Gone(height)),
        }
    }
}

/// See the module.
pub struct StateRoots {
    states: Box<dyn ReadStates>,
    tables: Tables,
    /// The snapshot whose root is not in the database yet.
    pending: Option<Height>,
}

impl StateRoots {
    /// Goes on where the database stands: a snapshot whose root is not known is read again.
    ///
    /// # Errors
    /// [`RootError`] where the database has neither the root nor what it takes to compute it.
    pub fn recovered(states: impl ReadStates + 'static, tables: Tables, ledger: &Ledger) -> Result<Self, RootError> {
        let plan = SnapshotPlan::of(ledger.epoch());
        let tip = ledger.tip().0;
        let mut roots = Self { states: Box::new(states), tables, pending: None };
        let Some(taken) = plan.last(tip) else { return Ok(roots) };
        let known = roots.tables.state_root()?.is_some_and(|root| root.height == taken);
        if known || tip >= plan.root_height(taken) {
            return Ok(roots);
        }
        let pending = match roots.tables.pending_snapshot()?.filter(|pending| pending.height == taken) {
            Some(pending) => pending,
            None if tip == taken => {
                // Genesis, or a state that came from peers: nothing has changed since.
                let pending = PendingSnapshot { height: taken, approvals: ledger.approvals().clone() };
                let mut batch = roots.tables.batch();
                batch.begin_snapshot(&pending);
                roots.tables.commit(batch)?;
                pending
            }
            None => return Err(RootError::Gone(taken)),
        };
        let header = roots.tables.header(taken)?.ok_or(RootError::Gone(taken))?;
        roots.states.take(&header, pending.approvals);
        roots.pending = Some(taken);
        Ok(roots)
    }

    /// What the header of a height carries in `state_root`. Waits for a root that is due and not computed yet.
    ///
    /// # Errors
    /// [`RootError`] where it cannot be computed: this node cannot go on.
    pub fn due(&self, plan: SnapshotPlan, height: Height) -> Result<Digest, RootError> {
        let Some(taken) = plan.root_due(height) else { return Ok(Digest::ZERO) };
        match self.tables.state_root()?.filter(|root| root.height == taken) {
            Some(root) => Ok(root.root),
            None => self.states.root(taken),
        }
    }

    /// Adds to the batch of a commit what keeps the pending snapshot, or its root once it is known; and the beginning of
    /// a new one where one is due. `plan` is that of the epoch behind the commit.
    pub fn write(&mut self, batch: &mut Batch, executed: &Executed, plan: SnapshotPlan) -> Result<(), TableError> {
        let height = executed.header.height;
        if let Some(pending) = self.pending {
            if let Some(root) = self.states.root_if_known(pending) {
                batch.state_root(&StateRoot { height: pending, root });
                self.pending = None;
            } else {
                for ((key, _), before) in executed.changes.iter().zip(&executed.before) {
                    batch.before(height, key, before.as_ref());
                }
                for dropped in executed.live.dropped.iter().filter(|dropped| **dropped <= pending) {
                    if let Some(bucket) = self.tables.live_bucket_row(*dropped)? {
                        batch.before_bucket(*dropped, &bucket);
                    }
                }
            }
        }
        if plan.is_taken(height) {
            batch.begin_snapshot(&PendingSnapshot { height, approvals: executed.checkpoint.approvals.clone() });
            self.pending = Some(height);
        }
        Ok(())
    }

    /// The batch of a commit is written: the state is taken if it is due. That of an epoch's end is taken by those who go
    /// on in the next one.
    pub fn written(&self, executed: &Executed) {
        if self.pending == Some(executed.header.height) && executed.next_epoch.is_none() {
            self.states.take(&executed.header, executed.checkpoint.approvals.clone());
        }
    }
}

#[cfg(test)]
mod tests;
