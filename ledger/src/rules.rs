//! The rules of transfers and deposit certificates as pure functions: what a transaction does to the values of the keys
//! that it declares. Every participant of a cross-shard transaction calls the same function on the same values, so all
//! reach the same outcome. Those of calls stand in [`crate::contracts`].

use crate::account::Account;
use crate::shard::slot_of;
use types::{Access, Amount, Outcome, Reject, TransactionBody};

/// Most slots whose keys a call declares, and so most shards that it spans.
pub const CALL_SLOTS_MAX: usize = 8;

/// New values of sender and receiver.
///
/// [`Reject::BalanceOverflow`] cannot happen while the sum of balances fits in 128 bits, which genesis checks; it is here
/// so that a state that breaks this is rejected alike by all and never wraps.
pub(crate) fn transfer(
    from: Option<Account>,
    to: Option<Account>,
    amount: Amount,
) -> Result<(Account, Account), Reject> {
    let (from, to) = (from.ok_or(Reject::UnknownSender)?, to.unwrap_or_default());
    let debited = from.balance.checked_sub(amount).ok_or(Reject::Overdraft)?;
    let credited = to.balance.checked_add(amount).ok_or(Reject::BalanceOverflow)?;
    Ok((
        Account { balance: debited, transfers_out: from.transfers_out.wrapping_add(1) },
        Account { balance: credited, transfers_out: to.transfers_out },
    ))
}

/// Whether a deposit certificate is granted; it changes no account.
pub(crate) fn certify(sender: Option<Account>) -> Result<(), Reject> {
    sender.map(|_| ()).ok_or(Reject::UnknownSender)
}

/// What can be said of a transaction without any state.
pub(crate) fn stateless(transaction: &types::Transaction) -> Result<(), Reject> {
    match transaction.body() {
        TransactionBody::Transfer { amount: Amount::ZERO, .. } => Err(Reject::ZeroAmount),
        TransactionBody::Transfer { to, .. } if *to == transaction.sender() => Err(Reject::SelfTransfer),
        TransactionBody::Call(call) => declared(&call.access),
        TransactionBody::Transfer { .. } | TransactionBody::Certify { .. } | TransactionBody::Govern { .. } => Ok(()),
    }
}

/// Whether a declaration names keys, and of few enough slots. Slots are what shards are made of, so a bound on them is a
/// bound on shards, and the same one however many shards a node has.
fn declared(access: &[Access]) -> Result<(), Reject> {
    let mut slots: Vec<_> = access.iter().map(|access| slot_of(&access.key)).collect();
    slots.sort_unstable();
    slots.dedup();
    if (1..=CALL_SLOTS_MAX).contains(&slots.len()) { Ok(()) } else { Err(Reject::DeclaredKeys) }
}

/// Whether a receipt with this outcome is the one that took the transaction's id, so that the id cannot be executed
/// again while it lives. An index from ids to receipts holds these and no others.
pub fn claims_id(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Applied | Outcome::Emitted(_) => true,
        Outcome::Rejected(reject) => match reject {
            Reject::ZeroAmount
            | Reject::SelfTransfer
            | Reject::UnknownSender
            | Reject::Overdraft
            | Reject::BalanceOverflow
            | Reject::NotGoverning
            | Reject::WrongEpoch
            | Reject::EpochClosing
            | Reject::AlreadyApproved
            | Reject::UnknownValidator
            | Reject::ChangesNothing
            | Reject::CommitteeSize
            | Reject::InvalidStake
            | Reject::RepeatedValidator
            | Reject::InvalidValidator
            | Reject::InvalidParameters
            | Reject::DeclaredKeys
            | Reject::Undeclared
            | Reject::NotAuthorised
            | Reject::UnknownObject
            | Reject::ObjectExists
            | Reject::NotTransferable
            | Reject::NotDivisible
            | Reject::InvalidQuantity
            | Reject::DifferentObjects
            | Reject::UnknownGrant
            | Reject::InvalidGrant
            | Reject::NotGranted => true,
            Reject::Malformed
            | Reject::TooLarge
            | Reject::WrongChain
            | Reject::AlgorithmNotAllowed
            | Reject::BadSignature
            | Reject::Expired
            | Reject::ValidUntilTooFar
            | Reject::Duplicate
            | Reject::TooManyLiveIds
            | Reject::QuorumUnreachable => false,
        },
    }
}

/// Whether the author of the block could have known, from genesis and the bytes alone (CONSENSUS.md §0.6).
pub fn is_author_fault(reject: Reject) -> bool {
    matches!(
        reject,
        Reject::Malformed | Reject::TooLarge | Reject::WrongChain | Reject::AlgorithmNotAllowed | Reject::BadSignature
    )
}
