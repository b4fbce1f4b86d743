//! The contracts, once more: step after step on the whole state, which is put back where one is refused.

use super::Oracle;
use ledger::Value;
use std::collections::BTreeSet;
use types::*;

impl Oracle {
    pub(super) fn call(
        &mut self,
        transaction: &Transaction,
        call: &Call,
        time: TimestampMs,
    ) -> Result<Vec<LedgerEvent>, Reject> {
        let slot = |access: &Access| u16::from_le_bytes([access.key.as_bytes()[0], access.key.as_bytes()[1]]) % 4096;
        let slots: BTreeSet<u16> = call.access.iter().map(slot).collect();
        if slots.is_empty() || slots.len() > 8 {
            return Err(Reject::DeclaredKeys);
        }
        let before = self.values.clone();
        let result = self.steps(transaction, call, time);
        if result.is_err() {
            self.values = before;
        }
        result
    }

    fn steps(&mut self, transaction: &Transaction, call: &Call, time: TimestampMs) -> Result<Vec<LedgerEvent>, Reject> {
        let look = |key: StateKey| match call.access.iter().any(|access| access.key == key) {
            true => Ok(()),
            false => Err(Reject::Undeclared),
        };
        let change = |key: StateKey| match call.access.contains(&Access { key, write: true }) {
            true => Ok(()),
            false => Err(Reject::Undeclared),
        };
        let signers: Vec<Address> = transaction.claims().map(|(key, _)| key.address()).collect();
        let signed = |account: &Address| if signers.contains(account) { Ok(()) } else { Err(Reject::NotAuthorised) };
        look(transaction.sender().into())?;
        self.account(&transaction.sender()).ok_or(Reject::UnknownSender)?;
        let mut events = Vec::new();
        for (number, step) in call.steps.iter().enumerate() {
            let event = match step.clone() {
                Step::Pay { from, to, amount } => {
                    signed(&from)?;
                    // A payment that makes no sense whoever makes it is told apart before the keys are.
                    if amount != Amount(0) && from != to {
                        look(from.into())?;
                        look(to.into())?;
                    }
                    self.pay(from, to, amount)?;
                    change(from.into())?;
                    change(to.into())?;
                    LedgerEvent::Paid { from, to, amount }
                }
                Step::Create { issuer, salt, owner, quantity, rights, content } => {
                    signed(&issuer)?;
                    if quantity == Amount(0) {
                        return Err(Reject::InvalidQuantity);
                    }
                    let object = ObjectId::issued(&issuer, salt);
                    look(object.into())?;
                    if self.values.contains_key(&object.into()) {
                        return Err(Reject::ObjectExists);
                    }
                    change(object.into())?;
                    let asset = Object::asset_of(&transaction.id(), number as u8);
                    let value = Object { owner, issuer, asset, content, quantity, rights };
                    self.values.insert(object.into(), value.into());
                    LedgerEvent::Created { object, asset, issuer, owner, quantity, content }
                }
                Step::Transfer { object, to } => {
                    let mut held = self.held(object, look, signed)?;
                    let from = held.owner;
                    if !held.rights.transferable {
                        return Err(Reject::NotTransferable);
                    }
                    if from == to {
                        return Err(Reject::SelfTransfer);
                    }
                    change(object.into())?;
                    held.owner = to;
                    self.values.insert(object.into(), held.into());
                    LedgerEvent::Transferred { object, from, to, quantity: held.quantity }
                }
                Step::Split { object, salt, quantity } => {
                    let mut held = self.held(object, look, signed)?;
                    if !held.rights.divisible {
                        return Err(Reject::NotDivisible);
                    }
                    if quantity == Amount(0) || quantity >= held.quantity {
                        return Err(Reject::InvalidQuantity);
                    }
                    let part = ObjectId::part(&object, salt);
                    look(part.into())?;
                    if self.values.contains_key(&part.into()) {
                        return Err(Reject::ObjectExists);
                    }
                    change(object.into())?;
                    change(part.into())?;
                    let left = Amount(held.quantity.0 - quantity.0);
                    held.quantity = quantity;
                    self.values.insert(part.into(), held.into());
                    held.quantity = left;
                    self.values.insert(object.into(), held.into());
                    LedgerEvent::Split { object, part, quantity, left }
                }
                Step::Merge { object, into } => {
                    let held = self.held(object, look, signed)?;
                    look(into.into())?;
                    let mut other = self.object(into).ok_or(Reject::UnknownObject)?;
                    if object == into || held.asset != other.asset || held.owner != other.owner {
                        return Err(Reject::DifferentObjects);
                    }
                    change(object.into())?;
                    change(into.into())?;
                    other.quantity = Amount(other.quantity.0 + held.quantity.0);
                    self.values.remove(&object.into());
                    self.values.insert(into.into(), other.into());
                    LedgerEvent::Merged { object, into, quantity: other.quantity }
                }
                Step::Burn { object } => {
                    let held = self.held(object, look, signed)?;
                    change(object.into())?;
                    self.values.remove(&object.into());
                    LedgerEvent::Burned { object, owner: held.owner, quantity: held.quantity }
                }
                Step::Grant { grantor, grantee, resource, rights, expires } => {
                    let id = GrantId::of(&grantor, &grantee, &resource);
                    signed(&grantor)?;
                    if rights == 0 || grantor == grantee || expires < time {
                        return Err(Reject::InvalidGrant);
                    }
                    look(id.into())?;
                    let (entries, audit) = self.grant(id).map_or((0, Digest::ZERO), |old| (old.entries, old.audit));
                    let grant = Grant { grantor, grantee, resource, rights, expires, entries, audit };
                    let event = LedgerEvent::Granted { grant: id, grantor, grantee, resource, rights, expires };
                    change(id.into())?;
                    self.record(id, grant, &transaction.id(), event)
                }
                Step::Revoke { grantor, grantee, resource } => {
                    let id = GrantId::of(&grantor, &grantee, &resource);
                    signed(&grantor)?;
                    look(id.into())?;
                    let mut grant = self.grant(id).ok_or(Reject::UnknownGrant)?;
                    let rights = std::mem::take(&mut grant.rights);
                    if rights == 0 {
                        return Err(Reject::NotGranted);
                    }
                    change(id.into())?;
                    self.record(id, grant, &transaction.id(), LedgerEvent::Revoked { grant: id, rights })
                }
                Step::Exercise { grantee, grantor, resource, rights, purpose } => {
                    let id = GrantId::of(&grantor, &grantee, &resource);
                    signed(&grantee)?;
                    look(id.into())?;
                    let grant = self.grant(id).ok_or(Reject::UnknownGrant)?;
                    if rights == 0 || grant.rights & rights != rights || time > grant.expires {
                        return Err(Reject::NotGranted);
                    }
                    change(id.into())?;
                    self.record(id, grant, &transaction.id(), LedgerEvent::Exercised { grant: id, rights, purpose })
                }
            };
            events.push(event);
        }
        Ok(events)
    }

    fn record(
        &mut self,
        id: GrantId,
        mut grant: Grant,
        transaction: &TransactionId,
        event: LedgerEvent,
    ) -> LedgerEvent {
        let entry = [grant.audit.to_bytes(), transaction.to_bytes(), event.to_bytes()].concat();
        grant.audit = Hasher::new("stele/grant-audit/1").with(&entry).finish();
        grant.entries += 1;
        self.values.insert(id.into(), grant.into());
        event
    }

    /// An object that is declared and whose owner has signed.
    fn held(
        &self,
        object: ObjectId,
        look: impl Fn(StateKey) -> Result<(), Reject>,
        signed: impl Fn(&Address) -> Result<(), Reject>,
    ) -> Result<Object, Reject> {
        look(object.into())?;
        let held = self.object(object).ok_or(Reject::UnknownObject)?;
        signed(&held.owner)?;
        Ok(held)
    }

    fn object(&self, object: ObjectId) -> Option<Object> {
        match self.values.get(&object.into())? {
            Value::Object(object) => Some(**object),
            Value::Account(_) | Value::Grant(_) => None,
        }
    }

    fn grant(&self, grant: GrantId) -> Option<Grant> {
        match self.values.get(&grant.into())? {
            Value::Grant(grant) => Some(**grant),
            Value::Account(_) | Value::Object(_) => None,
        }
    }
}
