//! Who may change the committee, and what a change of it is (CONSENSUS.md §2.11).
//!
//! Genesis names member accounts and a threshold. A member approves a [`Change`] with a transaction; a change that enough
//! members approve in one epoch decides the next epoch's committee and parameters, and ends the epoch. What a change
//! makes of a committee is a pure function, [`Change::apply`]. Absent: who approved what, which is the ledger's state.

use crate::address::Address;
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use crate::committee::{Authority, Committee, CommitteeError, decode_socket, encode_socket, text};
use crate::digest::{Digest, Hasher};
use crate::genesis::{GenesisError, Parameters};
use crate::key::PublicKey;
use crate::reject::Reject;
use crate::units::{Epoch, Stake};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use thiserror::Error;

/// Most members of a governance.
pub const MEMBERS_MAX: usize = 64;
/// What `transaction_bytes_max` must allow on a ledger with a governance, in bytes: no change and no signature takes more,
/// so no choice of parameters can lock the governance out.
pub const CHANGE_TRANSACTION_BYTES: u32 = 2 << 10;

/// The accounts that decide about committee and parameters. Without members both are fixed for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// The accounts; they need not hold anything.
    pub members: Vec<Address>,
    /// How many of them must approve a change.
    pub threshold: u16,
}

/// Why members and threshold are no governance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GovernanceError {
    /// More members than there may be.
    #[error("a governance has at most {MEMBERS_MAX} members, not {0}")]
    Members(usize),
    /// A member stands twice.
    #[error("{0} is a member twice")]
    Repeated(Address),
    /// No change could be decided, or each by nobody.
    #[error("the threshold of {members} members must be 1 to {members}, not {threshold}")]
    Threshold {
        /// Number of members.
        members: usize,
        /// The threshold.
        threshold: u16,
    },
}

impl Governance {
    /// Whether there is nobody, so that nothing can be changed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.threshold == 0
    }

    /// Whether an account is a member.
    pub fn has(&self, account: &Address) -> bool {
        self.members.contains(account)
    }

    /// Checks members and threshold.
    ///
    /// # Errors
    /// [`GovernanceError`].
    pub fn check(&self) -> Result<(), GovernanceError> {
        if self.is_empty() {
            return Ok(());
        }
        let members = self.members.len();
        if members > MEMBERS_MAX {
            return Err(GovernanceError::Members(members));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.members.iter().find(|member| !seen.insert(**member)) {
            return Err(GovernanceError::Repeated(*twice));
        }
        let threshold = self.threshold;
        if threshold == 0 || usize::from(threshold) > members {
            return Err(GovernanceError::Threshold { members, threshold });
        }
        Ok(())
    }
}

impl Encode for Governance {
    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.members);
        self.threshold.encode(out);
    }
}

/// A change of committee or parameters, to take effect with the next epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A new validator, at the end of the committee.
    Add {
        /// The validator.
        validator: Authority,
    },
    /// A validator leaves.
    Remove {
        /// Its name.
        name: String,
    },
    /// A validator gets new keys: they were lost, or may be known to others.
    Rekey {
        /// Its name.
        name: String,
        /// The new key of its round statements.
        consensus_key: PublicKey,
        /// The new key of its links.
        transport_key: PublicKey,
    },
    /// A validator gets another weight or other addresses.
    Update {
        /// Its name.
        name: String,
        /// Weight.
        stake: Stake,
        /// Where validators reach it.
        peer_address: SocketAddr,
        /// Where clients reach it.
        client_address: SocketAddr,
        /// Where its JSON-RPC is.
        rpc_address: SocketAddr,
    },
    /// Other parameters, all of them.
    Parameters {
        /// The new values.
        parameters: Parameters,
    },
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// No validator of that name.
    #[error("the committee has no validator named `{0}`")]
    UnknownValidator(String),
    /// The outcome is what there is.
    #[error("nothing would change")]
    Unchanged,
    /// The outcome is no committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The parameters are out of range.
    #[error(transparent)]
    Parameters(#[from] GenesisError),
}

impl From<ChangeError> for Reject {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UnknownValidator(_) => Self::UnknownValidator,
            ChangeError::Unchanged => Self::ChangesNothing,
            ChangeError::Committee(CommitteeError::Size(_)) => Self::CommitteeSize,
            ChangeError::Committee(CommitteeError::NoStake(_) | CommitteeError::StakeOverflow) => Self::InvalidStake,
            ChangeError::Committee(CommitteeError::Repeated(_)) => Self::RepeatedValidator,
            ChangeError::Committee(CommitteeError::Name(_) | CommitteeError::Algorithm(_)) => Self::InvalidValidator,
            ChangeError::Parameters(_) => Self::InvalidParameters,
        }
    }
}

impl Change {
    const ADD: u8 = 1;
    const REMOVE: u8 = 2;
    const REKEY: u8 = 3;
    const UPDATE: u8 = 4;
    const PARAMETERS: u8 = 5;

    /// Digest: what members agree on.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/change/1").with_encoded(self).finish()
    }

    /// Short name for people and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::Rekey { .. } => "rekey",
            Self::Update { .. } => "update",
            Self::Parameters { .. } => "parameters",
        }
    }

    /// The next epoch's committee and parameters, with every check that genesis makes. A validator that stays keeps its
    /// place in the order, less one for each one removed before it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn apply(
        &self,
        committee: &Committee,
        parameters: &Parameters,
    ) -> Result<(Committee, Parameters), ChangeError> {
        let epoch = Epoch(committee.epoch().0 + 1);
        let mut validators = committee.authorities().to_vec();
        let mut next_parameters = parameters.clone();
        match self {
            Self::Add { validator } => validators.push(validator.clone()),
            Self::Remove { name } => {
                let place = place(&validators, name)?;
                validators.remove(place);
            }
            Self::Rekey { name, consensus_key, transport_key } => {
                let place = place(&validators, name)?;
                validators[place].consensus_key = consensus_key.clone();
                validators[place].transport_key = transport_key.clone();
            }
            Self::Update { name, stake, peer_address, client_address, rpc_address } => {
                let place = place(&validators, name)?;
                let validator = &mut validators[place];
                validator.stake = *stake;
                validator.peer_address = *peer_address;
                validator.client_address = *client_address;
                validator.rpc_address = *rpc_address;
            }
            Self::Parameters { parameters } => {
                parameters.check()?;
                parameters.check_governed()?;
                next_parameters = parameters.clone();
            }
        }
        if validators == committee.authorities() && next_parameters == *parameters {
            return Err(ChangeError::Unchanged);
        }
        Ok((Committee::new(epoch, validators)?, next_parameters))
    }
}

fn place(validators: &[Authority], name: &str) -> Result<usize, ChangeError> {
    let found = validators.iter().position(|validator| validator.name == name);
    found.ok_or_else(|| ChangeError::UnknownValidator(name.to_owned()))
}

impl Encode for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Add { validator } => {
                out.push(Self::ADD);
                validator.encode(out);
            }
            Self::Remove { name } => {
                out.push(Self::REMOVE);
                put_bytes(out, name.as_bytes());
            }
            Self::Rekey { name, consensus_key, transport_key } => {
                out.push(Self::REKEY);
                put_bytes(out, name.as_bytes());
                consensus_key.encode(out);
                transport_key.encode(out);
            }
            Self::Update { name, stake, peer_address, client_address, rpc_address } => {
                out.push(Self::UPDATE);
                put_bytes(out, name.as_bytes());
                stake.encode(out);
                for address in [peer_address, client_address, rpc_address] {
                    encode_socket(address, out);
                }
            }
            Self::Parameters { parameters } => {
                out.push(Self::PARAMETERS);
                parameters.encode(out);
            }
        }
    }
}

impl Decode for Change {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = |reader: &mut Reader<'_>| text(reader, "validator name");
        match u8::decode(reader)? {
            Self::ADD => Ok(Self::Add { validator: Authority::decode(reader)? }),
            Self::REMOVE => Ok(Self::Remove { name: name(reader)? }),
            Self::REKEY => Ok(Self::Rekey {
                name: name(reader)?,
                consensus_key: PublicKey::decode(reader)?,
                transport_key: PublicKey::decode(reader)?,
            }),
            Self::UPDATE => Ok(Self::Update {
                name: name(reader)?,
                stake: Stake::decode(reader)?,
                peer_address: decode_socket(reader)?,
                client_address: decode_socket(reader)?,
                rpc_address: decode_socket(reader)?,
            }),
            Self::PARAMETERS => Ok(Self::Parameters { parameters: Parameters::decode(reader)? }),
            tag => Err(DecodeError::UnknownTag { field: "change", value: tag.into() }),
        }
    }
}
