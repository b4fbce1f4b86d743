//! The validators of an epoch, their weight, and the thresholds that follow from it.

use crate::alg::AlgId;
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use crate::digest::{Digest, Hasher};
use crate::key::PublicKey;
use crate::units::{AuthorityIndex, Epoch, Stake};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use thiserror::Error;

/// Most validators of a committee.
pub const COMMITTEE_MAX: usize = 512;
/// Algorithms of a validator's keys, consensus and transport alike: those that tokens and TLS 1.3 have. A committee may mix
/// them.
pub const ALGORITHMS: [AlgId; 2] = [AlgId::Ed25519, AlgId::EcdsaP256];
/// Longest name or address in bytes.
const TEXT_MAX: usize = 255;
/// Shortest text of a socket address: `[::]:0`.
const SOCKET_LEN_MIN: usize = 6;

/// One validator (CONSENSUS.md §0.14). Its index is its position in the committee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Name for people; unique.
    pub name: String,
    /// Signs round statements.
    pub consensus_key: PublicKey,
    /// Proves the node's identity in transport handshakes; not the consensus key.
    pub transport_key: PublicKey,
    /// Voting weight, at least 1.
    pub stake: Stake,
    /// Where other validators reach it (UDP).
    pub peer_address: SocketAddr,
    /// Where clients reach it with raw transaction batches (UDP).
    pub client_address: SocketAddr,
    /// Where clients reach its JSON-RPC (TCP).
    pub rpc_address: SocketAddr,
}

impl Encode for Authority {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.name.as_bytes());
        self.consensus_key.encode(out);
        self.transport_key.encode(out);
        self.stake.encode(out);
        for address in [self.peer_address, self.client_address, self.rpc_address] {
            encode_socket(&address, out);
        }
    }
}

impl Decode for Authority {
    const ENCODED_LEN_MIN: usize = 4 + 2 * PublicKey::ENCODED_LEN_MIN + 8 + 3 * (4 + SOCKET_LEN_MIN);

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = text(reader, "validator name")?;
        let (consensus_key, transport_key) = (PublicKey::decode(reader)?, PublicKey::decode(reader)?);
        let stake = Stake::decode(reader)?;
        let (peer_address, client_address) = (decode_socket(reader)?, decode_socket(reader)?);
        let rpc_address = decode_socket(reader)?;
        Ok(Self { name, consensus_key, transport_key, stake, peer_address, client_address, rpc_address })
    }
}

/// Writes an address as its text.
pub(crate) fn encode_socket(address: &SocketAddr, out: &mut Vec<u8>) {
    put_bytes(out, address.to_string().as_bytes());
}

/// Reads an address in its one text form.
pub(crate) fn decode_socket(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let written = text(reader, "address")?;
    let parsed: SocketAddr = written.parse().map_err(|_| DecodeError::NotCanonical { field: "address" })?;
    if parsed.to_string() == written { Ok(parsed) } else { Err(DecodeError::NotCanonical { field: "address" }) }
}

pub(crate) fn text(reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let bytes = reader.bytes(field, TEXT_MAX)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotCanonical { field })
}

/// Why a list of validators is no committee.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitteeError {
    /// Nobody, or too many.
    #[error("a committee has 1 to {COMMITTEE_MAX} validators, not {0}")]
    Size(usize),
    /// A validator without weight.
    #[error("validator {0} has no stake")]
    NoStake(AuthorityIndex),
    /// The sum does not fit.
    #[error("the stakes add up to more than 2^62")]
    StakeOverflow,
    /// A key or name stands twice.
    #[error("validator {0} repeats a name or key of another")]
    Repeated(AuthorityIndex),
    /// A name that is empty or does not fit its encoding.
    #[error("the name of validator {0} is empty or longer than {TEXT_MAX} bytes")]
    Name(AuthorityIndex),
    /// Another algorithm than those in [`ALGORITHMS`].
    #[error("validator {0} has a key of an unsuitable algorithm")]
    Algorithm(AuthorityIndex),
}

/// An ordered set of validators with checked weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    epoch: Epoch,
    authorities: Vec<Authority>,
    total: Stake,
    digest: Digest,
}

impl Committee {
    /// Checks a list of validators.
    ///
    /// # Errors
    /// [`CommitteeError`].
    pub fn new(epoch: Epoch, authorities: Vec<Authority>) -> Result<Self, CommitteeError> {
        if authorities.is_empty() || authorities.len() > COMMITTEE_MAX {
            return Err(CommitteeError::Size(authorities.len()));
        }
        let (mut total, mut names, mut keys) = (0u64, BTreeSet::new(), BTreeSet::new());
        for (index, authority) in authorities.iter().enumerate() {
            let index = AuthorityIndex(index as u16);
            if authority.stake.0 == 0 {
                return Err(CommitteeError::NoStake(index));
            }
            if authority.name.is_empty() || authority.name.len() > TEXT_MAX {
                return Err(CommitteeError::Name(index));
            }
            total = total
                .checked_add(authority.stake.0)
                .filter(|sum| *sum <= 1 << 62)
                .ok_or(CommitteeError::StakeOverflow)?;
            let fresh = names.insert(&authority.name)
                && keys.insert(&authority.consensus_key)
                && keys.insert(&authority.transport_key);
            if !fresh {
                return Err(CommitteeError::Repeated(index));
            }
            let keys = [&authority.consensus_key, &authority.transport_key];
            if keys.into_iter().any(|key| !ALGORITHMS.contains(&key.alg())) {
                return Err(CommitteeError::Algorithm(index));
            }
        }
        let mut encoded = Vec::new();
        epoch.encode(&mut encoded);
        put_list(&mut encoded, &authorities);
        let digest = Hasher::new("stele/committee/1").with(&encoded).finish();
        Ok(Self { epoch, authorities, total: Stake(total), digest })
    }

    /// The epoch that it governs.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Number of validators.
    pub fn size(&self) -> usize {
        self.authorities.len()
    }

    /// All validators, in order.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// All indices, in order.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = AuthorityIndex> + use<> {
        (0..self.authorities.len() as u16).map(AuthorityIndex)
    }

    /// The validator with this index.
    pub fn authority(&self, index: AuthorityIndex) -> Option<&Authority> {
        self.authorities.get(index.index())
    }

    /// Weight of a validator; zero for an unknown one.
    pub fn stake(&self, index: AuthorityIndex) -> Stake {
        self.authority(index).map_or(Stake(0), |authority| authority.stake)
    }

    /// N: the sum of all stakes.
    pub fn total_stake(&self) -> Stake {
        self.total
    }

    /// f = ⌊(N − 1) / 3⌋: the stake that may be faulty.
    pub fn faulty_max(&self) -> Stake {
        Stake((self.total.0 - 1) / 3)
    }

    /// Q = N − f: two sets with this much stake share an honest validator.
    pub fn quorum(&self) -> Stake {
        Stake(self.total.0 - self.faulty_max().0)
    }

    /// f + 1: a set with this much stake has an honest validator.
    pub fn validity(&self) -> Stake {
        Stake(self.faulty_max().0 + 1)
    }

    /// Whether the stake of these distinct validators reaches [`Committee::quorum`].
    pub fn is_quorum(&self, members: impl IntoIterator<Item = AuthorityIndex>) -> bool {
        members.into_iter().map(|member| self.stake(member).0).sum::<u64>() >= self.quorum().0
    }

    /// Digest over epoch and validators.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Encode for Committee {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        put_list(out, &self.authorities);
    }
}

impl Decode for Committee {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = Epoch::decode(reader)?;
        let authorities = reader.list("committee", COMMITTEE_MAX)?;
        Self::new(epoch, authorities).map_err(|_| DecodeError::NotCanonical { field: "committee" })
    }
}
