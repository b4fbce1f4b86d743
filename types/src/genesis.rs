//! Genesis: everything that all nodes must agree on from the start. Its digest is the chain id.

use crate::address::Address;
use crate::alg::AlgId;
use crate::amount::Amount;
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use crate::committee::{Authority, Committee, CommitteeError};
use crate::digest::{ChainId, Digest, Hasher};
use crate::governance::{CHANGE_TRANSACTION_BYTES, Governance, GovernanceError};
use crate::units::{Epoch, TimestampMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

/// Consensus data with a number: a node with other values would compute other headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Rounds below the last committed leader that a commit may still reach. Range 20 to 100,000.
    pub gc_depth_rounds: u64,
    /// Commits between two recomputations of the leader schedule. Range 1 to 10,000.
    pub schedule_interval_commits: u64,
    /// Commits whose votes are counted when the schedule is computed. Range 1 to 10,000.
    pub schedule_window_commits: u64,
    /// Most bytes of a block's payload. Range 1 KiB to 16 MiB.
    pub block_payload_bytes_max: u32,
    /// Most transactions of a block. Range 1 to 65,536.
    pub block_transactions_max: u32,
    /// Most bytes of a transaction. Range 256 B to 64 KiB.
    pub transaction_bytes_max: u32,
    /// How far ahead of commit time `valid_until` may lie, in milliseconds. Range 1 s to 24 h.
    pub validity_window_ms: u64,
    /// Most unexpired transaction ids that the ledger remembers. Range 1,000 to 1,000,000,000.
    pub live_ids_max: u64,
    /// Heights between two snapshots of the state, whose roots stand in headers half as many heights later
    /// ([`SnapshotPlan`](crate::SnapshotPlan)). Range 16 to 1,000,000; 0 for no snapshots.
    pub snapshot_interval_heights: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            gc_depth_rounds: 300,
            schedule_interval_commits: 5,
            schedule_window_commits: 60,
            block_payload_bytes_max: 1 << 20,
            block_transactions_max: 4096,
            transaction_bytes_max: 16 << 10,
            validity_window_ms: 60_000,
            live_ids_max: 8_000_000,
            snapshot_interval_heights: 4_096,
        }
    }
}

impl Parameters {
    /// Whether a governance could work under these parameters.
    pub(crate) fn check_governed(&self) -> Result<(), GenesisError> {
        if self.transaction_bytes_max < CHANGE_TRANSACTION_BYTES {
            return Err(GenesisError::NoRoomForChanges);
        }
        Ok(())
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`GenesisError::OutOfRange`], [`GenesisError::TransactionOverBlock`].
    pub fn check(&self) -> Result<(), GenesisError> {
        let range = |name, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(GenesisError::OutOfRange { name, value, min, max }) }
        };
        range("gc_depth_rounds", self.gc_depth_rounds, 20, 100_000)?;
        range("schedule_interval_commits", self.schedule_interval_commits, 1, 10_000)?;
        range("schedule_window_commits", self.schedule_window_commits, 1, 10_000)?;
        range("block_payload_bytes_max", self.block_payload_bytes_max.into(), 1 << 10, 16 << 20)?;
        range("block_transactions_max", self.block_transactions_max.into(), 1, 1 << 16)?;
        range("transaction_bytes_max", self.transaction_bytes_max.into(), 256, 64 << 10)?;
        range("validity_window_ms", self.validity_window_ms, 1_000, 24 * 3_600_000)?;
        range("live_ids_max", self.live_ids_max, 1_000, 1_000_000_000)?;
        if self.snapshot_interval_heights != 0 {
            range("snapshot_interval_heights", self.snapshot_interval_heights, 16, 1_000_000)?;
        }
        if self.transaction_bytes_max + 4 > self.block_payload_bytes_max {
            return Err(GenesisError::TransactionOverBlock);
        }
        Ok(())
    }
}

impl Encode for Parameters {
    fn encode(&self, out: &mut Vec<u8>) {
        self.gc_depth_rounds.encode(out);
        self.schedule_interval_commits.encode(out);
        self.schedule_window_commits.encode(out);
        self.block_payload_bytes_max.encode(out);
        self.block_transactions_max.encode(out);
        self.transaction_bytes_max.encode(out);
        self.validity_window_ms.encode(out);
        self.live_ids_max.encode(out);
        self.snapshot_interval_heights.encode(out);
    }
}

impl Decode for Parameters {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            gc_depth_rounds: u64::decode(reader)?,
            schedule_interval_commits: u64::decode(reader)?,
            schedule_window_commits: u64::decode(reader)?,
            block_payload_bytes_max: u32::decode(reader)?,
            block_transactions_max: u32::decode(reader)?,
            transaction_bytes_max: u32::decode(reader)?,
            validity_window_ms: u64::decode(reader)?,
            live_ids_max: u64::decode(reader)?,
            snapshot_interval_heights: u64::decode(reader)?,
        })
    }
}

/// An account that exists from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The account.
    pub address: Address,
    /// Its balance; a string of decimal digits in the file.
    pub balance: Amount,
}

impl Encode for Allocation {
    fn encode(&self, out: &mut Vec<u8>) {
        self.address.encode(out);
        self.balance.encode(out);
    }
}

/// Why a genesis cannot start a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// Not readable as a genesis.
    #[error("genesis.toml: {0}")]
    Toml(Box<toml::de::Error>),
    /// A parameter outside its range.
    #[error("parameter {name} = {value} is outside {min} to {max}")]
    OutOfRange {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A transaction could be larger than a block.
    #[error("transaction_bytes_max must leave room in block_payload_bytes_max")]
    TransactionOverBlock,
    /// A transaction of the governance could be larger than allowed.
    #[error("with a governance, transaction_bytes_max must be at least {CHANGE_TRANSACTION_BYTES}")]
    NoRoomForChanges,
    /// Members and threshold are no governance.
    #[error("governance: {0}")]
    Governance(#[from] GovernanceError),
    /// The validators are no committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// Ceremonies for some of the validators only, or for more than there are.
    #[error("{ceremonies} key ceremonies for {validators} validators: one for each, or none")]
    Ceremonies {
        /// How many ceremonies.
        ceremonies: usize,
        /// How many validators.
        validators: usize,
    },
    /// One ceremony for two validators.
    #[error("the key ceremony {0} is there twice")]
    RepeatedCeremony(Digest),
    /// An account stands twice.
    #[error("account {0} is allocated twice")]
    RepeatedAccount(Address),
    /// The balances add up to more than fits.
    #[error("the balances add up to more than 2^128 - 1")]
    SupplyOverflow,
    /// An algorithm name that is unknown, unsupported, or not one that signs.
    #[error("signature algorithm `{0}` is unknown or not supported by this build")]
    Algorithm(String),
    /// No transaction could ever be signed.
    #[error("signature_algorithms is empty: name at least one, for example \"ed25519\"")]
    NoAlgorithm,
}

/// The start of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Name for people; part of the chain id.
    pub name: String,
    /// BFT time at height 0, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Names of the algorithms that transactions may be signed with: `ed25519`, `sm2-sm3`, `ecdsa-p256`, `ecdsa-secp256k1`.
    /// At least one. Validators' own keys are Ed25519 whatever stands here.
    pub signature_algorithms: Vec<String>,
    /// Numbers that all nodes share, in the first epoch.
    #[serde(default)]
    pub parameters: Parameters,
    /// Who may change validators and parameters; left out, nobody may.
    #[serde(default, skip_serializing_if = "Governance::is_empty")]
    pub governance: Governance,
    /// The first committee, in order.
    pub validators: Vec<Authority>,
    /// Roots of the key ceremonies that made the validators' keys, in the order of `validators`; or none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ceremonies: Vec<Digest>,
    /// The first accounts.
    #[serde(default)]
    pub accounts: Vec<Allocation>,
}

impl Genesis {
    /// Reads and checks `genesis.toml`.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn from_toml(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self = toml::from_str(text).map_err(|error| GenesisError::Toml(Box::new(error)))?;
        genesis.check()?;
        Ok(genesis)
    }

    /// The text of `genesis.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a genesis has only string keys and TOML values")
    }

    /// Checks everything that [`Genesis::from_toml`] checks.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn check(&self) -> Result<(), GenesisError> {
        self.parameters.check()?;
        self.governance.check()?;
        if !self.governance.is_empty() {
            self.parameters.check_governed()?;
        }
        self.committee()?;
        self.algorithms()?;
        self.check_ceremonies()?;
        let (mut seen, mut supply) = (BTreeSet::new(), Amount::ZERO);
        for account in &self.accounts {
            if !seen.insert(account.address) {
                return Err(GenesisError::RepeatedAccount(account.address));
            }
            supply = supply.checked_add(account.balance).ok_or(GenesisError::SupplyOverflow)?;
        }
        Ok(())
    }

    fn check_ceremonies(&self) -> Result<(), GenesisError> {
        let (ceremonies, validators) = (self.ceremonies.len(), self.validators.len());
        if ceremonies != 0 && ceremonies != validators {
            return Err(GenesisError::Ceremonies { ceremonies, validators });
        }
        let mut seen = BTreeSet::new();
        match self.ceremonies.iter().find(|root| !seen.insert(**root)) {
            Some(root) => Err(GenesisError::RepeatedCeremony(*root)),
            None => Ok(()),
        }
    }

    /// The first committee, of epoch 1.
    ///
    /// # Errors
    /// [`GenesisError::Committee`].
    pub fn committee(&self) -> Result<Committee, GenesisError> {
        Ok(Committee::new(Epoch(1), self.validators.clone())?)
    }

    /// The algorithms that transactions may be signed with; at least one.
    ///
    /// # Errors
    /// [`GenesisError::Algorithm`], [`GenesisError::NoAlgorithm`].
    pub fn algorithms(&self) -> Result<Vec<AlgId>, GenesisError> {
        if self.signature_algorithms.is_empty() {
            return Err(GenesisError::NoAlgorithm);
        }
        self.signature_algorithms
            .iter()
            .map(|name| AlgId::signing_from_name(name).ok_or_else(|| GenesisError::Algorithm(name.clone())))
            .collect()
    }

    /// BFT time at height 0.
    pub fn timestamp(&self) -> TimestampMs {
        TimestampMs(self.created_ms)
    }

    /// The identity of the ledger: the digest over all of this.
    pub fn chain_id(&self) -> ChainId {
        let mut encoded = Vec::new();
        put_bytes(&mut encoded, self.name.as_bytes());
        self.created_ms.encode(&mut encoded);
        put_list(&mut encoded, &self.algorithms().unwrap_or_default());
        self.parameters.encode(&mut encoded);
        self.governance.encode(&mut encoded);
        put_list(&mut encoded, &self.validators);
        put_list(&mut encoded, &self.accounts);
        // A ledger without ceremonies keeps the identity that it has always had.
        if !self.ceremonies.is_empty() {
            put_list(&mut encoded, &self.ceremonies);
        }
        ChainId(Hasher::new("stele/genesis/3").with(&encoded).finish())
    }
}
