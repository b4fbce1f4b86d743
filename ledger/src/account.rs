//! The value that the state holds under an address.

use types::{Amount, Decode, DecodeError, Encode, Reader};

/// An account. It exists from its allocation in genesis or its first receipt of units, and is never removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Units that it holds.
    pub balance: Amount,
    /// Transfers from this account that took effect. It makes every applied transfer change the sender's value.
    pub transfers_out: u64,
}

impl Account {
    /// Bytes of the encoding.
    pub const ENCODED_LEN: usize = 24;
}

impl Encode for Account {
    fn encode(&self, out: &mut Vec<u8>) {
        self.balance.encode(out);
        self.transfers_out.encode(out);
    }
}

impl Decode for Account {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { balance: Amount::decode(reader)?, transfers_out: u64::decode(reader)? })
    }
}
