//! What holds for the present epoch and changes with it: committee, place in it, links. Written by the thread that runs
//! the node, at an epoch's start; read by the RPC, the metrics and admission.

use crate::config::Plan;
use std::sync::{Arc, PoisonError, RwLock};
use transport::Mesh;
use types::Committee;

/// An epoch as this node takes part in it.
pub struct InEpoch {
    /// Configuration, committee, and this node's place in it.
    pub plan: Plan,
    /// Links to its members.
    pub mesh: Mesh,
}

/// The present one. The lock is held for an exchange of pointers.
pub struct Present(RwLock<Arc<InEpoch>>);

/// A committee that could do nothing if it took over now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Stake of its members that this node has a link to, itself among them.
    pub reachable: u64,
    /// Stake that it needs.
    pub quorum: u64,
}

impl Present {
    /// In an epoch.
    pub fn new(plan: Plan, mesh: Mesh) -> Self {
        Self(RwLock::new(Arc::new(InEpoch { plan, mesh })))
    }

    /// In the next one.
    pub fn enter(&self, plan: Plan, mesh: Mesh) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(InEpoch { plan, mesh });
    }

    /// The present epoch.
    pub fn get(&self) -> Arc<InEpoch> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the members of another committee that can be reached from here make a quorum of it. A new validator and
    /// one with a new transport key count as out of reach: nothing has been heard from them.
    pub fn reaches(&self, next: &Committee) -> Result<(), Unreachable> {
        let InEpoch { plan, mesh } = &*self.get();
        let up: Vec<_> = mesh
            .peers()
            .into_iter()
            .filter(|peer| peer.up)
            .filter_map(|peer| plan.committee.authority(types::AuthorityIndex(peer.index)))
            .chain(plan.committee.authority(plan.me))
            .map(|authority| &authority.transport_key)
            .collect();
        let members = next.authorities().iter().filter(|member| up.contains(&&member.transport_key));
        let reachable = members.map(|member| member.stake.0).sum();
        let quorum = next.quorum().0;
        if reachable >= quorum { Ok(()) } else { Err(Unreachable { reachable, quorum }) }
    }
}
