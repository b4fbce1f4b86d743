//! Why a transaction is refused: a client's fault, with a stable code on the wire, in receipts and in the RPC.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use thiserror::Error;

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $text:literal;)*) => {
        /// A refused transaction. The number is the stable wire code; an id is never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
        #[repr(u16)]
        pub enum Reject {
            $($(#[$doc])* #[error($text)] $name = $code,)*
        }

        impl Reject {
            /// Every code there is.
            pub const ALL: &[Reject] = &[$(Reject::$name),*];

            /// Short label for metrics and JSON.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

rejects! {
    /// The bytes are no transaction.
    Malformed = 1, "malformed", "the bytes are not a transaction in canonical form";
    /// Over the size limit of genesis.
    TooLarge = 2, "too_large", "the transaction is larger than this ledger allows";
    /// Made for another ledger.
    WrongChain = 3, "wrong_chain", "the transaction names another ledger";
    /// `valid_until` has passed.
    Expired = 4, "expired", "the transaction has expired";
    /// `valid_until` is further ahead than the validity window.
    ValidUntilTooFar = 5, "valid_until_too_far", "valid_until is further ahead than this ledger's window";
    /// Its id was executed already, or is queued.
    Duplicate = 6, "duplicate", "a transaction with this id was taken already";
    /// The signature does not verify.
    BadSignature = 7, "bad_signature", "the signature does not verify";
    /// The algorithm is unknown or not allowed on this ledger.
    AlgorithmNotAllowed = 8, "algorithm_not_allowed", "the signature algorithm is not allowed on this ledger";
    /// The sender has no account.
    UnknownSender = 9, "unknown_sender", "the sender has no account";
    /// The balance is smaller than the amount.
    Overdraft = 10, "overdraft", "the sender's balance is smaller than the amount";
    /// The receiver's balance would pass 2^128 − 1.
    BalanceOverflow = 11, "balance_overflow", "the receiver's balance would overflow";
    /// Sender and receiver are one account.
    SelfTransfer = 12, "self_transfer", "sender and receiver are the same account";
    /// The amount is zero.
    ZeroAmount = 13, "zero_amount", "the amount is zero";
    /// The ledger holds as many unexpired ids as genesis allows.
    TooManyLiveIds = 14, "too_many_live_ids", "the ledger holds as many unexpired transactions as it may; try again later";
    /// The sender is no member of the governance, or the ledger has none.
    NotGoverning = 15, "not_governing", "the sender is not a member of this ledger's governance";
    /// Made for another epoch.
    WrongEpoch = 16, "wrong_epoch", "the change was made for another epoch";
    /// The epoch's one change is decided.
    EpochClosing = 17, "epoch_closing", "a change is decided and this epoch is ending; make the change for the next one";
    /// The member approves the same change already.
    AlreadyApproved = 18, "already_approved", "this member approves this change already";
    /// The change names a validator that is not in the committee.
    UnknownValidator = 19, "unknown_validator", "the committee has no validator of that name";
    /// The change would change nothing.
    ChangesNothing = 20, "changes_nothing", "the change would leave everything as it is";
    /// Nobody would be left, or too many.
    CommitteeSize = 21, "committee_size", "a committee has 1 to 512 validators";
    /// A stake of zero, or a sum that does not fit.
    InvalidStake = 22, "invalid_stake", "a validator's stake is zero, or the stakes add up to more than 2^62";
    /// A name or key that stands in the committee already.
    RepeatedValidator = 23, "repeated_validator", "the name or a key is another validator's already";
    /// A name that is empty or too long, or a key of another algorithm than Ed25519.
    InvalidValidator = 24, "invalid_validator", "the validator's name or the algorithm of a key is not allowed";
    /// A parameter out of its range.
    InvalidParameters = 25, "invalid_parameters", "a parameter is outside its range";
    /// Too few members of the next committee can be reached from the node that was asked. Never in a receipt.
    QuorumUnreachable = 26, "quorum_unreachable", "the next committee would have no quorum with the validators reachable now";
    /// Declares no key, or keys in more slots than a transaction may touch.
    DeclaredKeys = 27, "declared_keys", "the transaction declares no key, or keys in more than 8 slots of the state";
    /// A step looks at a key that is not declared, or changes one that is declared for looking alone.
    Undeclared = 28, "undeclared", "a step touches a key of the state that the transaction does not declare for it";
    /// Who must sign for a step has not.
    NotAuthorised = 29, "not_authorised", "a step needs the signature of an account that has not signed";
    /// There is no such object.
    UnknownObject = 30, "unknown_object", "there is no such object";
    /// There is such an object already.
    ObjectExists = 31, "object_exists", "there is an object under this salt already";
    /// The object does not change hands.
    NotTransferable = 32, "not_transferable", "the object is not transferable";
    /// The object has no parts.
    NotDivisible = 33, "not_divisible", "the object is not divisible";
    /// A quantity that is zero, or more than can be split off.
    InvalidQuantity = 34, "invalid_quantity", "the quantity is zero, or not less than what it is split off";
    /// Objects that cannot be merged.
    DifferentObjects = 35, "different_objects", "the objects are not two parts of one asset with one owner";
    /// Nothing was ever granted.
    UnknownGrant = 36, "unknown_grant", "there is no such grant";
    /// A grant of nothing, to oneself, or that is over when it begins.
    InvalidGrant = 37, "invalid_grant", "a grant gives some right to another account, until a time to come";
    /// The grant does not give the right, or no longer.
    NotGranted = 38, "not_granted", "the grant does not give this right, was revoked, or has expired";
}

impl Reject {
    /// The stable wire code.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reject with this code.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reject| reject.code() == code)
    }
}

impl Encode for Reject {
    fn encode(&self, out: &mut Vec<u8>) {
        self.code().encode(out);
    }
}

impl Decode for Reject {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = u16::decode(reader)?;
        Self::from_code(code).ok_or(DecodeError::UnknownTag { field: "reject", value: code.into() })
    }
}
