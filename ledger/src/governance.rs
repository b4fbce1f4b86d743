//! Approvals of changes, and the decision that ends an epoch (CONSENSUS.md §2.11).
//!
//! A member of the governance backs at most one change at a time: approving another takes the first approval back. So the
//! state is at most one change a member, whatever members send. The first change with enough approvals is decided, and
//! everything else of that epoch is refused. [`Approvals`] is replicated state: in the state digest, while there are any,
//! and in the checkpoint. Transactions are judged one after the other in the global order, before the shards run.

use std::collections::BTreeMap;
use types::{
    Address, Change, Committee, Decode, DecodeError, Digest, Encode, Epoch, EpochStart, Governance, Hasher, Parameters,
    Reader, Reject, Transaction, TransactionBody, governance::MEMBERS_MAX,
};

/// Who approves what in the present epoch, until a change is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    by_member: BTreeMap<Address, Change>,
    decided: Option<Change>,
}

impl Approvals {
    /// The changes that members approve, by member; none once a change is decided.
    pub fn by_member(&self) -> impl Iterator<Item = (&Address, &Change)> {
        self.by_member.iter()
    }

    /// The change that ends the epoch.
    pub fn decided(&self) -> Option<&Change> {
        self.decided.as_ref()
    }

    /// What stands in the state digest; nothing while nobody approves anything.
    pub fn element(&self) -> Option<Digest> {
        let nothing = self.by_member.is_empty() && self.decided.is_none();
        (!nothing).then(|| Hasher::new("stele/approvals/1").with_encoded(self).finish())
    }
}

impl Encode for Approvals {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.by_member.len() as u32).encode(out);
        for (member, change) in &self.by_member {
            member.encode(out);
            change.encode(out);
        }
        self.decided.encode(out);
    }
}

impl Decode for Approvals {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let not_canonical = DecodeError::NotCanonical { field: "approvals" };
        let mut by_member = BTreeMap::new();
        for _ in 0..reader.length("approvals", MEMBERS_MAX)? {
            let (member, change) = (Address::decode(reader)?, Change::decode(reader)?);
            if by_member.last_key_value().is_some_and(|(last, _)| *last >= member) {
                return Err(not_canonical);
            }
            by_member.insert(member, change);
        }
        let decided = Option::decode(reader)?;
        if decided.is_some() && !by_member.is_empty() { Err(not_canonical) } else { Ok(Self { by_member, decided }) }
    }
}

/// What approvals of an epoch are held against. Fixed for the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Electorate {
    governance: Governance,
    committee: Committee,
    parameters: Parameters,
}

impl Electorate {
    pub(crate) fn new(governance: Governance, start: &EpochStart) -> Self {
        Self { governance, committee: start.committee.clone(), parameters: start.parameters.clone() }
    }

    /// What can be said of an approval without the others; the committee and the parameters that it would lead to.
    pub(crate) fn next(
        &self,
        sender: &Address,
        epoch: Epoch,
        change: &Change,
    ) -> Result<(Committee, Parameters), Reject> {
        if !self.governance.has(sender) {
            return Err(Reject::NotGoverning);
        }
        if epoch != self.committee.epoch() {
            return Err(Reject::WrongEpoch);
        }
        Ok(change.apply(&self.committee, &self.parameters)?)
    }

    /// Takes in an approval.
    pub(crate) fn approve(
        &self,
        approvals: &mut Approvals,
        sender: Address,
        epoch: Epoch,
        change: &Change,
    ) -> Result<(), Reject> {
        self.next(&sender, epoch, change)?;
        if approvals.decided.is_some() {
            return Err(Reject::EpochClosing);
        }
        if approvals.by_member.get(&sender) == Some(change) {
            return Err(Reject::AlreadyApproved);
        }
        approvals.by_member.insert(sender, change.clone());
        let agreeing = approvals.by_member.values().filter(|other| *other == change).count();
        if agreeing >= usize::from(self.governance.threshold) {
            *approvals = Approvals { by_member: BTreeMap::new(), decided: Some(change.clone()) };
        }
        Ok(())
    }

    /// Committee and parameters of the next epoch, when this one ends. Without a decision it ends only if more than f
    /// validators lie; then the next epoch is like this one.
    pub(crate) fn next_epoch(&self, approvals: &Approvals) -> (Committee, Parameters) {
        let decided = approvals.decided.as_ref().map(|change| change.apply(&self.committee, &self.parameters));
        match decided {
            Some(Ok(next)) => next,
            Some(Err(_)) | None => {
                let epoch = Epoch(self.committee.epoch().0 + 1);
                let same = Committee::new(epoch, self.committee.authorities().to_vec());
                (same.expect("its validators are a committee in this epoch"), self.parameters.clone())
            }
        }
    }

    pub(crate) fn into_governance(self) -> Governance {
        self.governance
    }
}

/// The epoch and the change that a transaction approves.
pub(crate) fn approved(transaction: &Transaction) -> Option<(Epoch, &Change)> {
    match transaction.body() {
        TransactionBody::Govern { epoch, change } => Some((*epoch, change)),
        TransactionBody::Transfer { .. } | TransactionBody::Certify { .. } | TransactionBody::Call(_) => None,
    }
}
