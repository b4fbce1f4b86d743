//! Which peers are let in by their machines, where `[attestation] peers` in node.toml names a policy; and this machine's word
//! for peers who ask.
//!
//! With each link that stands the peer is sent a nonce, and has its TPM sign what its machine measured when it started
//! (docs/attestation.md). Until that fulfils the policy the link does not count: the consensus core does not hear of the peer,
//! what it asks is declined, and of what it sends the newest waits. A machine cannot measure anything else without a restart,
//! which ends its link, so one answer is good for as long as the link stands.
//!
//! It is this node's view and no rule of the ledger: what others have taken from such a validator is taken from them, since
//! agreement is not a matter of one node's policy.

mod asked;
mod asking;
mod held;
mod links;

use crate::config::Plan;
use crate::topology::MACHINE_ANSWERS;
use asking::{Asking, Heard};
use links::Links;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use transport::{Mesh, MeshEvent, MeshEvents};

pub use asked::Asked;

/// Which peers count, for those who look at links from elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Admitted(Option<Arc<[AtomicBool]>>);

impl Admitted {
    /// Nobody is asked for a machine.
    pub fn everybody() -> Self {
        Self(None)
    }

    /// Nobody yet.
    fn nobody(plan: &Plan) -> Self {
        Self(Some(plan.committee.indices().map(|_| AtomicBool::new(false)).collect()))
    }

    /// Whether there is a policy.
    pub fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a peer with a link counts.
    pub fn holds(&self, peer: u16) -> bool {
        let Some(admitted) = &self.0 else { return true };
        admitted.get(usize::from(peer)).is_some_and(|admitted| admitted.load(Ordering::Relaxed))
    }

    fn set(&self, peer: u16, holds: bool) {
        if let Some(admitted) = self.0.as_ref().and_then(|admitted| admitted.get(usize::from(peer))) {
            admitted.store(holds, Ordering::Relaxed);
        }
    }
}

/// The mesh's events, without those of peers whose machine is not let in.
pub struct Door {
    mesh: MeshEvents,
    network: Handle,
    heard: Receiver<Heard>,
    /// Where there is a policy.
    links: Option<Links>,
}

impl Door {
    /// Over the events of a mesh.
    pub fn new(plan: &Plan, events: MeshEvents, mesh: &Mesh, network: &Handle) -> (Self, Admitted) {
        let (tell, heard) = channel(MACHINE_ANSWERS);
        let admitted = plan.machines.as_ref().map_or_else(Admitted::everybody, |_| Admitted::nobody(plan));
        let links = plan.machines.as_ref().map(|policy| {
            let asking = Asking::new(plan, Arc::clone(policy), mesh.clone(), network.clone(), tell);
            Links::new(admitted.clone(), Box::new(move |peer, link, pause| asking.ask(peer, link, pause)))
        });
        (Self { mesh: events, network: network.clone(), heard, links }, admitted)
    }

    /// The next event that is let in; waits for it. `None` once the mesh is gone.
    pub fn next(&mut self) -> Option<MeshEvent> {
        let Some(links) = &mut self.links else {
            return self.mesh.try_recv().or_else(|| self.network.block_on(self.mesh.recv()));
        };
        loop {
            if let Some(event) = links.let_in() {
                return Some(event);
            }
            // Under load there is always an event, and an answer must not wait for a pause.
            if let Ok(heard) = self.heard.try_recv() {
                links.hear(heard);
            } else if let Some(event) = self.mesh.try_recv() {
                links.take(event);
            } else {
                let arrival = async {
                    tokio::select! {
                        Some(heard) = self.heard.recv() => Err(heard),
                        event = self.mesh.recv() => Ok(event),
                    }
                };
                match self.network.block_on(arrival) {
                    Ok(event) => links.take(event?),
                    Err(heard) => links.hear(heard),
                }
            }
        }
    }
}
