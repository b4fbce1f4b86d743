//! How a guard file stands to the world outside of its disk: whose it is, how far it may have been used, and who has
//! vouched for it. Pure data and the rules for it; the argument why they hold is in [`super::fence`].

use crate::refusal::Slot;
use types::codec::{Decode, DecodeError, Encode, Reader, put_list};
use types::{Digest, Epoch, Height, Round};

/// Actions of operators that are kept in the file; older ones make room.
pub const ACTIONS_MAX: usize = 16;

/// The first round that may be signed for, and the last height that may no longer be voted for anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Rounds below this one are refused, except for what the file knows.
    pub from: Slot,
    /// Heights up to this one are refused, except for votes that the file knows.
    pub votes_above: Height,
}

impl Floor {
    /// Refuses nothing.
    pub const NONE: Self = Self { from: Slot { epoch: Epoch(0), round: Round(0) }, votes_above: Height(0) };

    /// The higher of each.
    pub fn max(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), votes_above: self.votes_above.max(other.votes_above) }
    }
}

/// What ties a file to one place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// Nothing yet: an operator has to say that it is the right one.
    None,
    /// The machine and the very file.
    Place {
        /// Digest of the machine's id.
        machine: Digest,
        /// Digest of what tells the file from a copy.
        file: Digest,
    },
    /// The anchor's value.
    Anchor(Digest),
}

/// Rounds and heights that may be signed for once the anchor has taken in the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// Random: nobody else can have made the same reservation.
    pub(super) claim: Digest,
    /// First round and last height that are not reserved.
    pub(super) limit: Floor,
}

/// What an operator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    /// Made the file.
    Created = 1,
    /// Said that the file is the newest and no other signer runs.
    Acknowledged = 2,
    /// Said from which round on the file is right.
    Activated = 3,
    /// Took over the mark of another guard.
    Imported = 4,
    /// Gave the mark to another guard for good.
    Retired = 5,
}

impl Act {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Acknowledged => "acknowledged",
            Self::Activated => "activated",
            Self::Imported => "imported",
            Self::Retired => "retired",
        }
    }
}

/// An [`Act`], when, and the floor after it. The time is for people: nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub act: Act,
    /// Seconds since 1970 by the machine's clock.
    pub at: u64,
    /// What was refused from then on.
    pub floor: Floor,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) binding: Binding,
    /// What operators said. Never lowered.
    pub(super) floor: Floor,
    /// First round and last height that were not reserved: a copy of this file may have used all below.
    pub(super) limit: Floor,
    /// What the anchor may have taken in.
    pub(super) reservation: Option<Reservation>,
    pub(super) actions: Vec<Action>,
}

impl Standing {
    /// Of a file that was never used.
    pub(super) fn new(binding: Binding) -> Self {
        Self { binding, floor: Floor::NONE, limit: Floor::NONE, reservation: None, actions: Vec::new() }
    }

    /// What is refused after a start from this file.
    pub(super) fn fenced(&self) -> Floor {
        self.floor.max(self.limit)
    }

    /// The value of the anchor that has taken in a claim.
    pub(super) fn value_after(value: &Digest, claim: &Digest) -> Digest {
        Digest::sha256(&[&value.as_bytes()[..], &claim.as_bytes()[..]].concat())
    }

    /// The same, for a file of another identity that takes this one's place.
    pub(super) fn of(&self, of_file: &Digest) -> Self {
        let mut standing = self.clone();
        if let Binding::Place { file, .. } = &mut standing.binding {
            *file = *of_file;
        }
        standing
    }

    /// The reservation is in force.
    pub(super) fn adopt(&mut self) {
        if let (Some(Reservation { claim, limit }), Binding::Anchor(value)) = (self.reservation.take(), self.binding) {
            self.binding = Binding::Anchor(Self::value_after(&value, &claim));
            self.limit = limit;
        }
    }

    pub(super) fn record(&mut self, act: Act, at: u64) {
        if self.actions.len() >= ACTIONS_MAX {
            self.actions.remove(0);
        }
        self.actions.push(Action { act, at, floor: self.fenced() });
    }
}

impl Encode for Floor {
    fn encode(&self, out: &mut Vec<u8>) {
        self.from.encode(out);
        self.votes_above.encode(out);
    }
}

impl Decode for Floor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { from: Slot::decode(reader)?, votes_above: Height::decode(reader)? })
    }
}

impl Encode for Binding {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.push(0),
            Self::Place { machine, file } => {
                out.push(1);
                machine.encode(out);
                file.encode(out);
            }
            Self::Anchor(value) => {
                out.push(2);
                value.encode(out);
            }
        }
    }
}

impl Decode for Binding {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(Self::None),
            1 => Ok(Self::Place { machine: Digest::decode(reader)?, file: Digest::decode(reader)? }),
            2 => Ok(Self::Anchor(Digest::decode(reader)?)),
            tag => Err(DecodeError::UnknownTag { field: "binding", value: tag.into() }),
        }
    }
}

impl Encode for Reservation {
    fn encode(&self, out: &mut Vec<u8>) {
        self.claim.encode(out);
        self.limit.encode(out);
    }
}

impl Decode for Reservation {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { claim: Digest::decode(reader)?, limit: Floor::decode(reader)? })
    }
}

impl Encode for Action {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.act as u8);
        self.at.encode(out);
        self.floor.encode(out);
    }
}

impl Decode for Action {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let act = match u8::decode(reader)? {
            1 => Act::Created,
            2 => Act::Acknowledged,
            3 => Act::Activated,
            4 => Act::Imported,
            5 => Act::Retired,
            tag => return Err(DecodeError::UnknownTag { field: "act", value: tag.into() }),
        };
        Ok(Self { act, at: u64::decode(reader)?, floor: Floor::decode(reader)? })
    }
}

impl Encode for Standing {
    fn encode(&self, out: &mut Vec<u8>) {
        self.binding.encode(out);
        self.floor.encode(out);
        self.limit.encode(out);
        self.reservation.encode(out);
        put_list(out, &self.actions);
    }
}

impl Decode for Standing {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            binding: Binding::decode(reader)?,
            floor: Floor::decode(reader)?,
            limit: Floor::decode(reader)?,
            reservation: Option::decode(reader)?,
            actions: reader.list("actions", ACTIONS_MAX)?,
        })
    }
}
