//! Which validators can be reached from here, and whether a committee that is proposed could work with them.
//!
//! A change of membership takes effect as soon as it is decided. One whose committee would have no quorum among the
//! validators that answer now would stop the ledger, and no further change could mend that. So a node does not take
//! an approval of it from a client (CONSENSUS.md §2.11). It is this node's view and no rule of the
//! ledger: another node may take it, and so does this one without `[governance] quorum_in_reach`.

use crate::config::Plan;
use crate::machines::Admitted;
use std::sync::Arc;
use transport::Mesh;
use types::{Authority, AuthorityIndex, Committee, PublicKey};

/// A committee that could do nothing if it took over now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// Stake of its members that answer.
    pub reachable: u64,
    /// Stake that it needs.
    pub quorum: u64,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Reach {
    committee: Arc<Committee>,
    me: AuthorityIndex,
    mesh: Mesh,
    admitted: Admitted,
    quorum_in_reach: bool,
}

impl Reach {
    /// As this node sees it.
    pub fn new(plan: &Plan, mesh: Mesh, admitted: Admitted) -> Self {
        let quorum_in_reach = plan.config.governance.quorum_in_reach;
        Self { committee: Arc::clone(&plan.committee), me: plan.me, mesh, admitted, quorum_in_reach }
    }

    /// The validators with a link to this one that counts, and this one; in the order of the committee.
    pub fn members(&self) -> Vec<&Authority> {
        let links = self.mesh.peers();
        let linked = |index: usize| {
            links.iter().any(|link| usize::from(link.index) == index && link.up && self.admitted.holds(link.index))
        };
        let reachable = |index: usize| index == usize::from(self.me.0) || linked(index);
        self.committee
            .authorities()
            .iter()
            .enumerate()
            .filter(|(index, _)| reachable(*index))
            .map(|(_, it)| it)
            .collect()
    }

    /// Whether a next committee would have a quorum, where this node's configuration asks for one.
    ///
    /// # Errors
    /// How much is missing.
    pub fn carries(&self, next: &Committee) -> Result<(), OutOfReach> {
        if !self.quorum_in_reach {
            return Ok(());
        }
        let keys: Vec<_> = self.members().into_iter().map(|member| &member.transport_key).collect();
        carries(next, &keys)
    }
}

/// Members whose transport key is not among those that are reachable count as out of reach: nothing was heard of a new
/// validator, or of one with new keys.
fn carries(next: &Committee, reachable: &[&PublicKey]) -> Result<(), OutOfReach> {
    let members = next.authorities().iter().filter(|member| reachable.contains(&&member.transport_key));
    let (reachable, quorum) = (members.map(|member| member.stake.0).sum(), next.quorum().0);
    if reachable >= quorum { Ok(()) } else { Err(OutOfReach { reachable, quorum }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use types::{Epoch, SecretKey, Stake};

    #[test]
    fn a_committee_needs_a_quorum_among_those_that_answer() {
        let four = fixtures::genesis().validators;
        let keys: Vec<_> = four.iter().map(|member| &member.transport_key).collect();
        let committee = |members: &[Authority]| Committee::new(Epoch(2), members.to_vec()).expect("distinct members");
        assert_eq!(carries(&committee(&four), &keys[..3]), Ok(()));
        assert_eq!(carries(&committee(&four), &keys[..2]), Err(OutOfReach { reachable: 2, quorum: 3 }));
        // A fifth raises the quorum to four, and counts for nothing before it was heard of.
        let key = |seed| SecretKey::ed25519_from_seed([seed; 32]).public_key();
        let fifth =
            Authority { name: "fifth".into(), consensus_key: key(201), transport_key: key(202), ..four[0].clone() };
        let five = [&four[..], &[fifth]].concat();
        assert_eq!(carries(&committee(&five), &keys), Ok(()));
        assert_eq!(carries(&committee(&five), &keys[1..]), Err(OutOfReach { reachable: 3, quorum: 4 }));
        // Stake counts, not heads: one of three with most of the stake.
        let mut heavy = four[..3].to_vec();
        heavy[0].stake = Stake(8);
        assert_eq!(carries(&committee(&heavy), &keys[..1]), Ok(()));
        assert_eq!(carries(&committee(&heavy), &keys[1..]), Err(OutOfReach { reachable: 2, quorum: 7 }));
    }
}
