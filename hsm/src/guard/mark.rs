//! What a guard knows, for another guard: a JSON document in the spirit of EIP-3076, whose import only ever raises.
//!
//! ```json
//! {
//!   "format": "stele-guard-mark",
//!   "version": 1,
//!   "chain": "sha256:…",
//!   "author": 0,
//!   "key": "ed25519:…",
//!   "signed_up_to": { "epoch": 1, "round": 4711 },
//!   "sign_from": { "epoch": 1, "round": 4712 },
//!   "votes_above": 4500,
//!   "exported_at": 1790000000
//! }
//! ```
//!
//! `sign_from` is the first round that the taker may sign for, and `votes_above` the highest height that it may no longer
//! vote for; both may be above what was really signed, after a crash. `signed_up_to` is the highest round that the giver
//! knows to have approved, or null, and `exported_at` is in seconds since 1970; both are for people. A key that is not
//! listed here is an error, as is another version.

use super::fence::{self, Witness};
use super::standing::{Act, Floor};
use super::{Guard, Identity, Index, Limits, LockedFile, witness};
use crate::config::FenceConfig;
use crate::error::{ConfigError, StartError};
use crate::refusal::Slot;
use serde::{Deserialize, Serialize};
use std::path::Path;
use thiserror::Error;
use types::{AuthorityIndex, ChainId, Epoch, Height, PublicKey, Round};

const FORMAT: &str = "stele-guard-mark";
const VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    format: String,
    version: u32,
    chain: ChainId,
    author: AuthorityIndex,
    key: PublicKey,
    signed_up_to: Option<Place>,
    sign_from: Place,
    votes_above: Height,
    exported_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    epoch: Epoch,
    round: Round,
}

impl From<Slot> for Place {
    fn from(Slot { epoch, round }: Slot) -> Self {
        Self { epoch, round }
    }
}

/// Why a document is not taken.
#[derive(Debug, Error)]
pub enum MarkError {
    /// It does not parse.
    #[error("not a mark: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Another kind of document, or a later version.
    #[error("a document of format \"{format}\" and version {version}, not \"stele-guard-mark\" and 1")]
    Unknown {
        /// What it says.
        format: String,
        /// What it says.
        version: u32,
    },
}

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Whether there was no guard file.
    pub created: bool,
    /// What was refused before.
    pub before: Floor,
    /// What is refused from now on.
    pub after: Floor,
}

impl Mark {
    /// Reads a document.
    ///
    /// # Errors
    /// [`MarkError`].
    pub fn parse(text: &str) -> Result<Self, MarkError> {
        /// What is looked at first, so that a later version is told as such.
        #[derive(Deserialize)]
        struct Envelope {
            format: String,
            version: u32,
        }
        let Envelope { format, version } = serde_json::from_str(text)?;
        if format != FORMAT || version != VERSION {
            return Err(MarkError::Unknown { format, version });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The document.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers")
    }

    /// What the taker refuses.
    pub fn floor(&self) -> Floor {
        let Place { epoch, round } = self.sign_from;
        Floor { from: Slot { epoch, round }, votes_above: self.votes_above }
    }

    fn is_of(&self, identity: &Identity) -> bool {
        let Identity { chain, author, key } = identity;
        (&self.chain, &self.author, &self.key) == (chain, author, key)
    }
}

impl Guard {
    /// What this guard knows, for another one. To be sure of it the signer must not run, which the lock sees to; nor must
    /// it run again, which `retire` sees to: the file then refuses every round.
    ///
    /// # Errors
    /// As [`Guard::open`].
    pub fn export(
        path: &Path,
        identity: &Identity,
        fence: &FenceConfig,
        retire: bool,
        at: u64,
    ) -> Result<Mark, StartError> {
        let mut guard = Self::open(path, identity, fence)?;
        let mark = guard.export_mark(identity, at);
        if retire {
            let never = Slot { epoch: Epoch(u64::MAX), round: Round(u64::MAX) };
            guard.fence.raise(Floor { from: never, votes_above: Height(u64::MAX) }, (Act::Retired, at));
            guard.write_standing().map_err(|fault| fault.about(path.display()))?;
        }
        Ok(mark)
    }

    pub(super) fn export_mark(&self, identity: &Identity, at: u64) -> Mark {
        let floor = self.fence.standing().fenced().max(Floor {
            from: self.mark().map_or(Floor::NONE.from, fence::after),
            votes_above: self.window.votes().1,
        });
        Mark {
            format: FORMAT.to_owned(),
            version: VERSION,
            chain: identity.chain,
            author: identity.author,
            key: identity.key.clone(),
            signed_up_to: self.mark().map(Place::from),
            sign_from: floor.from.into(),
            votes_above: floor.votes_above,
            exported_at: at,
        }
    }

    /// Takes over what another guard of the same key knows: nothing is refused less than before. Where there is no file
    /// one is made.
    ///
    /// # Errors
    /// [`ConfigError::GuardForeign`] for a mark of another chain, validator or key; as [`Guard::open`].
    pub fn import(
        path: &Path,
        identity: &Identity,
        fence: &FenceConfig,
        mark: &Mark,
        at: u64,
    ) -> Result<Imported, StartError> {
        if !mark.is_of(identity) {
            return Err(ConfigError::GuardForeign.about("the mark"));
        }
        if !path.exists() {
            let mut witness = witness(fence, identity, Index::Any)?;
            let after = mark.floor();
            Self::create_with(path, identity, Limits::default(), &mut witness, after, (Act::Imported, at))?;
            return Ok(Imported { created: true, before: Floor::NONE, after });
        }
        let (file, content) = LockedFile::open(path)?;
        let witness: Witness = witness(fence, identity, Index::Known)?;
        let fail = |cause: crate::error::StoreError| cause.about(path.display());
        let mut guard = Self::on_disk(Box::new(file), &content, identity, Limits::default(), witness).map_err(fail)?;
        let before = guard.export_mark(identity, at).floor();
        let after = before.max(mark.floor());
        if after != before {
            guard.fence.raise(mark.floor(), (Act::Imported, at));
            guard.write_standing().map_err(|fault| fail(fault.into()))?;
        }
        Ok(Imported { created: false, before, after })
    }
}
