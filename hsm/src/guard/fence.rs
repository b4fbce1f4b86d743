//! The fence around a guard file: an older copy of it, or a second one in use, must not sign what the first one signed.
//!
//! # On one machine
//! Without anything outside of the disk the file is bound to the machine's id and to what tells the file itself from a
//! copy, its inode and the time of its birth (an identity: it is never compared with a clock). A copy elsewhere or a
//! restored file does not open. What is *not* caught: content written into the same inode, and a restore of the whole
//! disk below the file system.
//!
//! # With an anchor
//! An [`Anchor`] is a value that only moves forward: it takes in claims, v' = H(v ‖ claim), and no claim is ever made
//! twice, since claims are random. A TPM keeps one as an NV index of the kind *extend*.
//!
//! The file holds the anchor's value v and a limit. A process *reserves* before it approves anything: it writes (claim,
//! new limit) durably, then lets the anchor take in the claim, then reads the anchor. Only where that reads H(v ‖ claim)
//! does it go on, with rounds below the new limit. At a start the anchor reads
//!
//! - v: the reservation of the file, if any, was never in force and is forgotten;
//! - H(v ‖ claim): it is in force, and the crash was after that;
//! - anything else: somebody else has reserved since this file was written, and it does not open.
//!
//! In the first two cases everything below the limit is refused that the file does not know, until a new reservation.
//!
//! *Why nothing is signed twice.* Let two files sign different statements for one slot, under the reservations R1 and R2.
//! Each was in force when its process signed, so both claims are in the anchor, in some order, say R1 before R2, and R2
//! was made by a process whose file stood at a value that contains R1's claim. Claims are random, so that file is a copy,
//! or the descendant of a copy, of the one in which R1 was written, taken after R1 was written: its limit was at least
//! R1's from then on, and what R1's process signed is below R1's limit and therefore refused under R2, unless that
//! process itself wrote a lower limit at its orderly end, after its last signature, above everything that it signed.
//! If R1 = R2, two processes would have to have seen the same claim succeed; but a reservation that is found at a start
//! is never signed under, it only counts as used.
//!
//! *Why not a counter.* With (count, limit) in the file and the file written first, a crash between file and counter
//! leaves a file one above the counter. A second instance from an older copy may then move the counter by one itself and
//! sign below *its* limit; the first file now equals the counter and takes its own, lower limit for the truth. A value
//! that contains the claim tells the two apart, at the same cost.
//!
//! A start moves nothing; so neither a crash loop nor a signer that is only looked at uses up rounds or the TPM.
//! What is *not* caught: a running process whose memory is restored signs below its limit twice (until its next
//! reservation); and whoever can have the TPM do arbitrary things can remake the index.

use super::standing::{Act, Binding, Floor, Reservation, Standing};
use crate::error::{ConfigError, Fault, StoreError};
use crate::refusal::Slot;
use types::{Digest, Height, Round};

/// A value outside of the guard's disk that only moves forward.
pub trait Anchor: Send {
    /// The value.
    ///
    /// # Errors
    /// [`ConfigError::FenceMissing`], [`ConfigError::FenceForeign`], [`ConfigError::FenceUnusable`];
    /// [`Fault::FenceSilent`].
    fn value(&mut self) -> Result<Digest, StoreError>;

    /// Moves it to SHA-256(value ‖ claim). After an error it is unknown whether it has moved.
    ///
    /// # Errors
    /// As [`Anchor::value`].
    fn extend(&mut self, claim: &Digest) -> Result<(), StoreError>;
}

/// What a guard file is held against.
pub(super) enum Witness {
    /// The machine, by a digest of its id, and the file itself.
    Machine(Digest),
    /// An anchor, and how many rounds are reserved at a time.
    Anchor(Box<dyn Anchor>, u64),
}

/// The fence of an open guard.
pub(super) struct Fence {
    witness: Witness,
    standing: Standing,
    /// What is refused in this process: all below is used up, by this file or by a copy.
    floor: Floor,
    /// First round and last height that this process has not reserved. `None` where it has reserved nothing.
    reserved: Option<Floor>,
    /// Whether the anchor may or may not have taken in the reservation's claim.
    unsure: bool,
}

impl Fence {
    /// Holds what a file says against the world; the file's present identity is `file`. The second value tells whether
    /// the standing has changed and has to be written.
    pub(super) fn start(
        mut witness: Witness,
        mut standing: Standing,
        file: &Digest,
    ) -> Result<(Self, bool), StoreError> {
        let changed = standing.reservation.is_some();
        match (&mut witness, standing.binding) {
            (Witness::Machine(ours), Binding::Place { machine, file: bound }) => {
                if (machine, bound) != (*ours, *file) {
                    return Err(ConfigError::GuardMoved.into());
                }
            }
            (Witness::Anchor(anchor, _), Binding::Anchor(known)) => {
                let value = anchor.value()?;
                let claimed = |standing: &Standing| {
                    standing.reservation.is_some_and(|made| Standing::value_after(&known, &made.claim) == value)
                };
                if value == known {
                    standing.reservation = None;
                } else if claimed(&standing) {
                    standing.adopt();
                } else {
                    return Err(ConfigError::GuardStale.into());
                }
            }
            // Every file says at its beginning what it is bound to.
            (_, Binding::None) => return Err(ConfigError::GuardDamaged.into()),
            _ => return Err(ConfigError::GuardMoved.into()),
        }
        let floor = standing.fenced();
        Ok((Self { witness, standing, floor, reserved: None, unsure: false }, changed))
    }

    /// A new binding to the world as it is, for a file that an operator vouches for. With an anchor all other files are
    /// out of date once the reservation in it is claimed.
    pub(super) fn bind(witness: &mut Witness, standing: &mut Standing, file: &Digest) -> Result<(), StoreError> {
        standing.reservation = None;
        standing.binding = match witness {
            Witness::Machine(machine) => Binding::Place { machine: *machine, file: *file },
            Witness::Anchor(anchor, _) => {
                standing.reservation = Some(Reservation { claim: claim()?, limit: standing.limit });
                Binding::Anchor(anchor.value()?)
            }
        };
        Ok(())
    }

    /// After [`Fence::bind`], once the file is durable. Where this fails the others are outdated by the first statement.
    pub(super) fn outdate_others(witness: &mut Witness, standing: &Standing) -> Result<(), StoreError> {
        match (witness, standing.reservation) {
            (Witness::Anchor(anchor, _), Some(reservation)) => anchor.extend(&reservation.claim),
            _ => Ok(()),
        }
    }

    /// What stands in the file.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What is refused in this process.
    pub(super) fn floor(&self) -> Floor {
        self.floor
    }

    /// Whether a statement may be approved without another reservation.
    pub(super) fn covers(&self, slot: Slot, votes: Option<Height>) -> bool {
        match (&self.witness, self.reserved) {
            (Witness::Machine(_), _) => true,
            (Witness::Anchor(..), None) => false,
            (Witness::Anchor(..), Some(Floor { from, votes_above })) => {
                slot < from && votes.is_none_or(|height| height <= votes_above)
            }
        }
    }

    /// What has to be reserved for a statement, to be written down before [`Fence::claim`].
    pub(super) fn reserve(&mut self, slot: Slot, votes: Option<Height>) -> Result<(), Fault> {
        if let Witness::Anchor(_, rounds) = self.witness {
            let used = self.standing.fenced();
            let round = Round(slot.round.0.saturating_add(rounds));
            // As many heights again, since a round may commit more than one.
            let height = votes.unwrap_or(Height(0)).max(used.votes_above).0.saturating_add(2 * rounds);
            let limit = Floor { from: Slot { epoch: slot.epoch, round }, votes_above: Height(height) };
            self.standing.reservation = Some(Reservation { claim: claim()?, limit: limit.max(used) });
        }
        Ok(())
    }

    /// Refuses more than before, on an operator's word.
    pub(super) fn raise(&mut self, floor: Floor, (act, at): (Act, u64)) {
        self.standing.floor = self.standing.floor.max(floor);
        self.floor = self.floor.max(floor);
        self.standing.record(act, at);
    }

    /// Forgets a reservation that could not be written down.
    pub(super) fn forget_reservation(&mut self) {
        self.standing.reservation = None;
    }

    /// Whether so little is left that the record of this statement should carry the next reservation along.
    pub(super) fn runs_low(&self, slot: Slot, votes: Option<Height>) -> bool {
        let (Witness::Anchor(_, rounds), Some(Floor { from, votes_above })) = (&self.witness, self.reserved) else {
            return false;
        };
        let rounds_low = slot.epoch == from.epoch && slot.round.0.saturating_add(rounds / 2) >= from.round.0;
        let heights_low = votes.is_some_and(|height| height.0.saturating_add(*rounds) >= votes_above.0);
        self.standing.reservation.is_none() && (rounds_low || heights_low)
    }

    /// Whether a reservation is written down and not in force.
    pub(super) fn is_pending(&self) -> bool {
        self.standing.reservation.is_some()
    }

    /// A reservation that was written down takes force.
    pub(super) fn claim(&mut self) -> Result<(), StoreError> {
        let (Witness::Anchor(anchor, _), Binding::Anchor(before), Some(Reservation { claim, .. })) =
            (&mut self.witness, self.standing.binding, self.standing.reservation)
        else {
            return Ok(());
        };
        let after = Standing::value_after(&before, &claim);
        // Asked first, so that a signer that is behind does not move the anchor away from the one that is not.
        let mut value = anchor.value()?;
        if value == before {
            self.unsure = true;
            anchor.extend(&claim)?;
            value = anchor.value()?;
        }
        if value != after {
            return Err(ConfigError::GuardStale.into());
        }
        self.unsure = false;
        self.standing.adopt();
        self.reserved = Some(self.standing.limit);
        Ok(())
    }

    /// Gives back what was reserved and not used, above `mark` and the highest vote. `None` where nothing was.
    pub(super) fn give_back(&mut self, mark: Option<Slot>, votes: Height) -> Option<&Standing> {
        self.reserved.take()?;
        if self.unsure {
            // The anchor may stand at what the file must be able to explain.
            return None;
        }
        let from = mark.map_or(Floor::NONE.from, after);
        self.standing.limit = self.floor.max(Floor { from, votes_above: votes });
        self.standing.reservation = None;
        Some(&self.standing)
    }
}

/// The round after.
pub(crate) fn after(slot: Slot) -> Slot {
    Slot { epoch: slot.epoch, round: Round(slot.round.0.saturating_add(1)) }
}

/// 256 bits that nobody else has.
fn claim() -> Result<Digest, Fault> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|_| Fault::Randomness)?;
    Ok(Digest::sha256(&random))
}
