//! The contract of authorisation: leave is given, taken back, and its use put on record, each as an entry of a trail
//! whose head stands in the grant (`types::Grant::audited`).

use super::{Context, View};
use std::sync::Arc;
use types::{Address, Digest, Grant, GrantId, LedgerEvent, Reject, TimestampMs};

/// Between whom, and about what.
pub(super) struct Parties<'a> {
    pub(super) grantor: &'a Address,
    pub(super) grantee: &'a Address,
    pub(super) resource: &'a Digest,
}

impl Parties<'_> {
    fn grant(&self) -> GrantId {
        GrantId::of(self.grantor, self.grantee, self.resource)
    }

    fn known(&self, view: &View<'_>) -> Result<(GrantId, Arc<Grant>), Reject> {
        let id = self.grant();
        Ok((id, view.grant(id)?.ok_or(Reject::UnknownGrant)?))
    }
}

pub(super) fn grant(
    parties: &Parties<'_>,
    rights: u32,
    expires: TimestampMs,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    let (id, grantor, grantee, resource) = (parties.grant(), *parties.grantor, *parties.grantee, *parties.resource);
    context.signed(&grantor)?;
    if rights == 0 || grantor == grantee || expires < context.time {
        return Err(Reject::InvalidGrant);
    }
    let (entries, audit) = view.grant(id)?.map_or((0, Digest::ZERO), |before| (before.entries, before.audit));
    let event = LedgerEvent::Granted { grant: id, grantor, grantee, resource, rights, expires };
    record(id, Grant { grantor, grantee, resource, rights, expires, entries, audit }, event, context, view)
}

pub(super) fn revoke(parties: &Parties<'_>, context: &Context<'_>, view: &mut View<'_>) -> Result<LedgerEvent, Reject> {
    context.signed(parties.grantor)?;
    let (id, before) = parties.known(view)?;
    if before.rights == 0 {
        return Err(Reject::NotGranted);
    }
    let event = LedgerEvent::Revoked { grant: id, rights: before.rights };
    record(id, Grant { rights: 0, ..*before }, event, context, view)
}

pub(super) fn exercise(
    parties: &Parties<'_>,
    rights: u32,
    purpose: Digest,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    context.signed(parties.grantee)?;
    let (id, grant) = parties.known(view)?;
    if rights == 0 || rights & !grant.rights != 0 || grant.expires < context.time {
        return Err(Reject::NotGranted);
    }
    record(id, *grant, LedgerEvent::Exercised { grant: id, rights, purpose }, context, view)
}

/// Stores a grant with one more entry in its trail.
fn record(
    id: GrantId,
    grant: Grant,
    event: LedgerEvent,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    let audit = Grant::audited(&grant.audit, &context.id(), &event);
    let entries = grant.entries.saturating_add(1);
    view.set(id.into(), Some(Grant { entries, audit, ..grant }.into()))?;
    Ok(event)
}
