//! What an operator demands of a machine: facts that are required, warned about, or forbidden.
//!
//! ```toml
//! [require]                                   # unmet: the node does not start
//! "boot.secure_boot" = true
//! "tpm.version" = { at_least = 2 }
//! "cpu.features" = { contains = ["sha_ni", "avx2"] }
//! "nvme.*.numa_node" = { same_as = "nics.eth0.numa_node" }
//!
//! [warn]                                      # unmet: said, and counted
//! "cpu.vulnerabilities.*" = { starts_with = ["Not affected", "Mitigation"] }
//!
//! [forbid]                                    # met: the node does not start
//! "cpu.smt" = true
//! ```
//!
//! A rule over `*` speaks of every device that there is, and where it requires, of at least one. What is unknown meets no
//! requirement, and does not clear a machine of what is forbidden; nor does a list of devices that may lack some.

mod demand;
mod finding;

pub use finding::Finding;

use crate::catalogue::{self, CATALOGUE};
use crate::inventory::Inventory;
use demand::{Bounds, Demand};
use finding::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// What a policy does where a rule is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The node does not start unless it is so.
    Require,
    /// It is said where it is not so.
    Warn,
    /// The node does not start if it is so.
    Forbid,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    require: BTreeMap<String, Demand>,
    warn: BTreeMap<String, Demand>,
    forbid: BTreeMap<String, Demand>,
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    rules: Vec<(Level, String, Demand)>,
}

/// Why a text is no policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is no TOML, or has other parts.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// It names a fact that does not exist.
    #[error("there is no fact `{name}`; near it are {near}")]
    UnknownFact {
        /// The name.
        name: String,
        /// Some that exist.
        near: String,
    },
    /// A demand that no value can meet, or every value does.
    #[error("the rule for `{name}` demands nothing, or what nothing can be")]
    Empty {
        /// Whose.
        name: String,
    },
    /// A value that is both demanded and forbidden.
    #[error("one rule for `{name}` forbids what another one wants")]
    Contradiction {
        /// Whose.
        name: String,
    },
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let File { require, warn, forbid } = toml::from_str(text)?;
        let of =
            |level, rules: BTreeMap<String, Demand>| rules.into_iter().map(move |(name, demand)| (level, name, demand));
        let rules: Vec<_> =
            of(Level::Require, require).chain(of(Level::Warn, warn)).chain(of(Level::Forbid, forbid)).collect();
        for (_, name, demand) in &rules {
            known(name)?;
            if let Demand::Fits(bounds) = demand {
                if *bounds == Bounds::default() || bounds.is_impossible() {
                    return Err(PolicyError::Empty { name: name.clone() });
                }
                bounds.same_as.as_deref().map_or(Ok(()), known)?;
            }
        }
        for (index, (level, name, demand)) in rules.iter().enumerate() {
            let contradicts = |(other, of, demanded): &&(Level, String, Demand)| {
                of == name && demanded == demand && (*other == Level::Forbid) != (*level == Level::Forbid)
            };
            if rules[..index].iter().any(|rule| contradicts(&rule)) {
                return Err(PolicyError::Contradiction { name: name.clone() });
            }
        }
        Ok(Self { rules })
    }

    /// Every rule that the machine does not meet, in the order of levels and names.
    pub fn check(&self, inventory: &Inventory) -> Vec<Finding> {
        let facts = Facts(inventory.named());
        self.rules.iter().flat_map(|(level, name, demand)| facts.findings(*level, name, demand)).collect()
    }
}

fn known(name: &str) -> Result<(), PolicyError> {
    if catalogue::entry(name).is_some() {
        return Ok(());
    }
    let part = name.split('.').next().unwrap_or_default();
    let mut near: Vec<&str> =
        CATALOGUE.iter().map(|entry| entry.name).filter(|known| known.starts_with(part)).collect();
    if near.is_empty() || part.is_empty() {
        near = CATALOGUE.iter().filter_map(|entry| entry.name.split('.').next()).collect();
        near.dedup();
    }
    Err(PolicyError::UnknownFact { name: name.to_owned(), near: near.join(", ") })
}
