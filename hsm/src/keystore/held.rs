//! Whose keys a keystore holds: a validator's two, or the one of a client's account.

/// The keys of one file, or something for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held<K> {
    /// A validator's.
    Validator {
        /// Signs statements.
        consensus: K,
        /// Signs handshakes.
        transport: K,
    },
    /// An account's: signs transactions.
    Account(K),
}

impl<K> Held<K> {
    pub(super) fn as_ref(&self) -> Held<&K> {
        match self {
            Self::Validator { consensus, transport } => Held::Validator { consensus, transport },
            Self::Account(key) => Held::Account(key),
        }
    }

    /// In the order of the file.
    pub(super) fn map<T>(self, mut map: impl FnMut(K) -> T) -> Held<T> {
        match self {
            Self::Validator { consensus, transport } => {
                let consensus = map(consensus);
                Held::Validator { consensus, transport: map(transport) }
            }
            Self::Account(key) => Held::Account(map(key)),
        }
    }

    /// The key that signs for an account. A validator's file stands for one with its first key: such files were made
    /// before accounts had their own form.
    pub(super) fn account(self) -> K {
        match self {
            Self::Validator { consensus, .. } => consensus,
            Self::Account(key) => key,
        }
    }
}

impl<K> Held<Option<K>> {
    /// All of them or nothing.
    pub(super) fn transpose(self) -> Option<Held<K>> {
        match self {
            Self::Validator { consensus, transport } => {
                Some(Held::Validator { consensus: consensus?, transport: transport? })
            }
            Self::Account(key) => Some(Held::Account(key?)),
        }
    }
}
