//! What members approve, and the change that ends the epoch.

use crate::node::Context;
use crate::rpc::error::AnswerError;
use client::rpc::{ApprovedChange, GovernanceInfo};
use std::collections::BTreeMap;
use types::{Address, Change, Digest};

/// The answer. Blocking; see [`State::read`](super::state::State::read).
pub(super) fn of(context: &Context) -> Result<GovernanceInfo, AnswerError> {
    let governance = &context.plan.genesis.governance;
    let approvals = context.tables.applied()?.map(|applied| applied.ledger.approvals).unwrap_or_default();
    // Once an epoch's last height is executed, what is approved belongs to the next one, which the node enters soon.
    let reached = context.tables.last_epoch()?.map_or(context.plan.committee.epoch(), |start| start.epoch());
    Ok(GovernanceInfo {
        epoch: reached,
        members: governance.members.clone(),
        threshold: governance.threshold,
        approved: by_change(approvals.by_member()),
        decided: approvals.decided().cloned(),
        reachable: context.admission.reach.members().into_iter().map(|member| member.name.clone()).collect(),
    })
}

/// Members by what they approve, most of them first.
fn by_change<'a>(approvals: impl Iterator<Item = (&'a Address, &'a Change)>) -> Vec<ApprovedChange> {
    let mut found: BTreeMap<Digest, ApprovedChange> = BTreeMap::new();
    for (member, change) in approvals {
        let digest = change.digest();
        let entry = || ApprovedChange { digest, change: change.clone(), members: Vec::new() };
        found.entry(digest).or_insert_with(entry).members.push(*member);
    }
    let mut changes: Vec<_> = found.into_values().collect();
    changes.sort_by_key(|approved| std::cmp::Reverse(approved.members.len()));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_with_what_they_approve_and_the_change_with_most_of_them_comes_first() {
        let member = |index| Address::from_bytes([index; 32]);
        let remove = |name: &str| Change::Remove { name: name.to_owned() };
        let (one, two) = (remove("north"), remove("south"));
        let backed = [(member(1), &one), (member(2), &two), (member(3), &two)];
        let found = by_change(backed.iter().map(|(member, change)| (member, *change)));
        let shown: Vec<_> = found.iter().map(|approved| (&approved.change, approved.members.clone())).collect();
        assert_eq!(shown, [(&two, vec![member(2), member(3)]), (&one, vec![member(1)])]);
        assert_eq!(found[0].digest, two.digest());
    }
}
