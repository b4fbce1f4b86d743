//! What an operator says of a guard file that does not open by itself, and what a guard file says of itself to him.

use super::disk::{self, Disk, LockedFile};
use super::fence::{self, Fence, Witness};
use super::journal::{self, Journal};
use super::record::Record;
use super::standing::{Act, Action, Binding, Floor, Standing};
use super::window::Window;
use super::{Guard, Identity, Index, Limits, replay, witness};
use crate::config::FenceConfig;
use crate::error::{StartError, StoreError};
use crate::refusal::Slot;
use std::path::Path;

/// What an operator says of a guard file that does not open by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It is the newest there is, and no other signer of this key runs.
    Acknowledge,
    /// This key has signed for no round from this one on and voted for no height above, wherever it was.
    From(Floor),
}

/// What a guard file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Whose it is.
    pub identity: Identity,
    /// The highest approved round in it.
    pub mark: Option<Slot>,
    /// What a signer that starts from it refuses.
    pub floor: Floor,
    /// What it is held against: `none`, `machine` or `anchor`.
    pub bound_to: &'static str,
    /// What operators did with it.
    pub actions: Vec<Action>,
}

impl Guard {
    /// Binds a file that does not open by itself to the world as it is, on an operator's word. Returns what is refused
    /// from now on.
    ///
    /// # Errors
    /// As [`Guard::open`], but for [`GuardMoved`](crate::ConfigError::GuardMoved) and [`GuardStale`](crate::ConfigError::GuardStale).
    pub fn activate(
        path: &Path,
        identity: &Identity,
        fence: &FenceConfig,
        activation: Activation,
        at: u64,
    ) -> Result<Floor, StartError> {
        let (file, content) = LockedFile::open(path)?;
        let mut witness = witness(fence, identity, Index::Any)?;
        Self::activate_on_disk(Box::new(file), &content, identity, Limits::default(), &mut witness, activation, at)
            .map_err(|cause| cause.about(path.display()))
    }

    /// What a guard file says of itself, without a lock: a signer may be using it.
    ///
    /// # Errors
    /// [`GuardMissing`](crate::ConfigError::GuardMissing), [`GuardDamaged`](crate::ConfigError::GuardDamaged); faults of the disk.
    pub fn review(path: &Path) -> Result<Review, StartError> {
        let content = disk::read(path)?;
        let (identity, records) = journal::inspect(&content).map_err(|cause| cause.about(path.display()))?;
        let (window, standing) = replay(records, Limits::default()).map_err(|cause| cause.about(path.display()))?;
        Ok(Review {
            identity,
            mark: window.mark(),
            floor: standing.fenced(),
            bound_to: match standing.binding {
                Binding::None => "none",
                Binding::Place { .. } => "machine",
                Binding::Anchor(_) => "anchor",
            },
            actions: standing.actions,
        })
    }

    pub(super) fn activate_on_disk(
        disk: Box<dyn Disk>,
        content: &[u8],
        identity: &Identity,
        limits: Limits,
        witness: &mut Witness,
        activation: Activation,
        at: u64,
    ) -> Result<Floor, StoreError> {
        let (mut journal, records) = Journal::open(disk, content, identity, limits.file_bytes)?;
        let (window, mut standing) = replay(records, limits)?;
        let known = Floor { from: window.mark().map_or(Floor::NONE.from, fence::after), votes_above: window.votes().1 };
        let act = match activation {
            Activation::Acknowledge => {
                standing.limit = known;
                Act::Acknowledged
            }
            Activation::From(floor) => {
                standing.floor = standing.floor.max(floor);
                standing.limit = known;
                Act::Activated
            }
        };
        Self::bind_anew(&mut journal, &window, standing, witness, limits, (act, at))
    }

    /// Writes a standing that is bound to the world as it is, and makes all other files of the anchor outdated.
    pub(super) fn bind_anew(
        journal: &mut Journal,
        window: &Window,
        mut standing: Standing,
        witness: &mut Witness,
        limits: Limits,
        (act, at): (Act, u64),
    ) -> Result<Floor, StoreError> {
        standing.record(act, at);
        Fence::bind(witness, &mut standing, &journal.file_identity()?)?;
        let written = Record::Standing(standing.clone());
        if journal.has_room() {
            journal.append(&written)?;
        } else {
            journal.replace(&mut |of_file| window.records(standing.of(of_file)), limits.file_bytes)?;
        }
        Fence::outdate_others(witness, &standing)?;
        Ok(standing.fenced())
    }
}
