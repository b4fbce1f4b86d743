//! The accounts of a devnet: thousands of keys that anyone can compute. For this purpose only.

use types::{Address, AlgId, Allocation, Amount, Hasher, SecretKey};

/// How many.
pub const COUNT: usize = 4096;
/// What each has at the start; the sum stays far below 2^64.
const BALANCE: Amount = Amount(1_000_000_000_000);

/// Keys and addresses, in order.
pub struct Accounts {
    alg: AlgId,
    keys: Vec<SecretKey>,
    addresses: Vec<Address>,
}

impl Accounts {
    /// The first `count` accounts under an algorithm that signs.
    pub fn new(alg: AlgId, count: usize) -> Self {
        let keys: Vec<_> = (0..count as u64).map(|index| key(alg, index)).collect();
        let addresses = keys.iter().map(|key| key.public_key().address()).collect();
        Self { alg, keys, addresses }
    }

    /// What they sign with.
    pub fn alg(&self) -> AlgId {
        self.alg
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of an account.
    pub fn key(&self, index: usize) -> &SecretKey {
        &self.keys[index]
    }

    /// The address of an account.
    pub fn address(&self, index: usize) -> Address {
        self.addresses[index]
    }

    /// All of them, with their balance, for genesis.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.addresses.iter().map(|&address| Allocation { address, balance: BALANCE }).collect()
    }
}

fn key(alg: AlgId, index: u64) -> SecretKey {
    let seed = *Hasher::new("stele/devnet/account").with_encoded(&index).finish().as_bytes();
    SecretKey::from_seed(alg, seed)
        .expect("the flag takes only algorithms that sign, and no seed is unusable in practice")
}
