//! The contract of objects: an asset has an owner, who alone hands it on, divides it, puts parts together and burns it.
//!
//! Units of an asset are made when it is created and go when an object is burned; nothing else changes their sum.

use super::{Context, View};
use std::sync::Arc;
use types::{Address, Amount, LedgerEvent, Object, ObjectId, Reject};

pub(super) fn create(
    object: Object,
    salt: u64,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    context.signed(&object.issuer)?;
    if object.quantity == Amount::ZERO {
        return Err(Reject::InvalidQuantity);
    }
    let id = ObjectId::issued(&object.issuer, salt);
    if view.object(id)?.is_some() {
        return Err(Reject::ObjectExists);
    }
    view.set(id.into(), Some(object.into()))?;
    let Object { asset, issuer, owner, quantity, content, .. } = object;
    Ok(LedgerEvent::Created { object: id, asset, issuer, owner, quantity, content })
}

pub(super) fn transfer(
    id: ObjectId,
    to: Address,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    let object = owned(id, context, view)?;
    if !object.rights.transferable {
        return Err(Reject::NotTransferable);
    }
    let (from, quantity) = (object.owner, object.quantity);
    if from == to {
        return Err(Reject::SelfTransfer);
    }
    view.set(id.into(), Some(Object { owner: to, ..*object }.into()))?;
    Ok(LedgerEvent::Transferred { object: id, from, to, quantity })
}

pub(super) fn split(
    id: ObjectId,
    salt: u64,
    quantity: Amount,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    let object = owned(id, context, view)?;
    if !object.rights.divisible {
        return Err(Reject::NotDivisible);
    }
    let left = object.quantity.checked_sub(quantity).filter(|left| *left != Amount::ZERO);
    let left = left.filter(|_| quantity != Amount::ZERO).ok_or(Reject::InvalidQuantity)?;
    let part = ObjectId::part(&id, salt);
    if view.object(part)?.is_some() {
        return Err(Reject::ObjectExists);
    }
    view.set(id.into(), Some(Object { quantity: left, ..*object }.into()))?;
    view.set(part.into(), Some(Object { quantity, ..*object }.into()))?;
    Ok(LedgerEvent::Split { object: id, part, quantity, left })
}

pub(super) fn merge(
    id: ObjectId,
    into: ObjectId,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    let object = owned(id, context, view)?;
    let other = view.object(into)?.ok_or(Reject::UnknownObject)?;
    if id == into || (object.asset, object.owner) != (other.asset, other.owner) {
        return Err(Reject::DifferentObjects);
    }
    // The parts of an asset were one object, whose quantity was a number: a sum that does not fit would be our own bug,
    // and is rejected alike by all instead of wrapping.
    let quantity = other.quantity.checked_add(object.quantity).ok_or(Reject::InvalidQuantity)?;
    view.set(id.into(), None)?;
    view.set(into.into(), Some(Object { quantity, ..*other }.into()))?;
    Ok(LedgerEvent::Merged { object: id, into, quantity })
}

pub(super) fn burn(id: ObjectId, context: &Context<'_>, view: &mut View<'_>) -> Result<LedgerEvent, Reject> {
    let object = owned(id, context, view)?;
    view.set(id.into(), None)?;
    Ok(LedgerEvent::Burned { object: id, owner: object.owner, quantity: object.quantity })
}

/// An object whose owner has signed.
fn owned(id: ObjectId, context: &Context<'_>, view: &View<'_>) -> Result<Arc<Object>, Reject> {
    let object = view.object(id)?.ok_or(Reject::UnknownObject)?;
    context.signed(&object.owner)?;
    Ok(object)
}
