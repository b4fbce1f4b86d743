//! The contracts, as one pure function: what a call does to the values of the keys that it declares.
//!
//! Every shard that takes part calls it on the same values, so all come to the same end, and each keeps what lies in it.
//! The steps work on a copy through a [`View`] that gives nothing that is not declared; where one is refused, nothing
//! of the call happens. Deliberately absent: the state, and which shard holds what.

mod grants;
mod objects;
mod view;

use crate::account::Account;
use crate::rules;
use types::{
    Address, Amount, Call, LedgerEvent, Reject, Step, TimestampMs, Transaction, TransactionBody, TransactionId,
};
pub(crate) use view::View;

/// What the steps of a call know of it.
pub(crate) struct Context<'a> {
    transaction: &'a Transaction,
    /// BFT time of the commit.
    time: TimestampMs,
}

impl Context<'_> {
    fn id(&self) -> TransactionId {
        self.transaction.id()
    }

    /// Whether an account has signed.
    fn signed(&self, account: &Address) -> Result<(), Reject> {
        if self.transaction.is_signed_by(account) { Ok(()) } else { Err(Reject::NotAuthorised) }
    }
}

/// Runs a call on the values of its declared keys, in the order of their declaration. The values are as they are to be
/// afterwards where it succeeds, and without meaning where it does not.
pub(crate) fn run(
    transaction: &Transaction,
    time: TimestampMs,
    view: &mut View<'_>,
) -> Result<Vec<LedgerEvent>, Reject> {
    let call = call(transaction).expect("only calls are run as calls");
    let context = Context { transaction, time };
    view.account(&transaction.sender())?.ok_or(Reject::UnknownSender)?;
    call.steps.iter().zip(0..).map(|(step, number)| apply(step, number, &context, view)).collect()
}

/// The call in a transaction.
pub(crate) fn call(transaction: &Transaction) -> Option<&Call> {
    match transaction.body() {
        TransactionBody::Call(call) => Some(call),
        TransactionBody::Transfer { .. } | TransactionBody::Certify { .. } | TransactionBody::Govern { .. } => None,
    }
}

fn apply(step: &Step, number: u8, context: &Context<'_>, view: &mut View<'_>) -> Result<LedgerEvent, Reject> {
    match step {
        Step::Pay { from, to, amount } => pay(*from, *to, *amount, context, view),
        Step::Create { issuer, salt, owner, quantity, rights, content } => {
            let asset = types::Object::asset_of(&context.id(), number);
            let (issuer, owner, content) = (*issuer, *owner, *content);
            let object = types::Object { owner, issuer, asset, content, quantity: *quantity, rights: *rights };
            objects::create(object, *salt, context, view)
        }
        Step::Transfer { object, to } => objects::transfer(*object, *to, context, view),
        Step::Split { object, salt, quantity } => objects::split(*object, *salt, *quantity, context, view),
        Step::Merge { object, into } => objects::merge(*object, *into, context, view),
        Step::Burn { object } => objects::burn(*object, context, view),
        Step::Grant { grantor, grantee, resource, rights, expires } => {
            grants::grant(&grants::Parties { grantor, grantee, resource }, *rights, *expires, context, view)
        }
        Step::Revoke { grantor, grantee, resource } => {
            grants::revoke(&grants::Parties { grantor, grantee, resource }, context, view)
        }
        Step::Exercise { grantee, grantor, resource, rights, purpose } => {
            grants::exercise(&grants::Parties { grantor, grantee, resource }, *rights, *purpose, context, view)
        }
    }
}

fn pay(
    from: Address,
    to: Address,
    amount: Amount,
    context: &Context<'_>,
    view: &mut View<'_>,
) -> Result<LedgerEvent, Reject> {
    context.signed(&from)?;
    if amount == Amount::ZERO {
        return Err(Reject::ZeroAmount);
    }
    if from == to {
        return Err(Reject::SelfTransfer);
    }
    let (payer, payee): (Option<Account>, Option<Account>) = (view.account(&from)?, view.account(&to)?);
    let (debited, credited) = rules::transfer(payer, payee, amount)?;
    view.set(from.into(), Some(debited.into()))?;
    view.set(to.into(), Some(credited.into()))?;
    Ok(LedgerEvent::Paid { from, to, amount })
}
