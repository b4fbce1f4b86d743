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

use crate::catalogue::{self, CATALOGUE, Entry, Kind};
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
    /// It holds a fact against what its values never are.
    #[error("`{name}` is {kind}, and not {demanded}: {}", takes(*.kind))]
    OtherType {
        /// The fact.
        name: String,
        /// What it is.
        kind: Kind,
        /// What the rule takes it for.
        demanded: String,
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
            let kind = known(name)?.kind;
            let other = |demanded| PolicyError::OtherType { name: name.clone(), kind, demanded };
            if let Demand::Fits(bounds) = demand {
                if *bounds == Bounds::default() || bounds.is_impossible() {
                    return Err(PolicyError::Empty { name: name.clone() });
                }
                let same = bounds.same_as.as_deref().map(known).transpose()?;
                if let Some(same) = same.filter(|same| same.kind != kind) {
                    return Err(other(format!("`same_as` with {}", same.kind)));
                }
            }
            demand.misfit(kind).map_or(Ok(()), |demanded| Err(other(demanded)))?;
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

/// What a rule over facts of a kind may say.
fn takes(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "it is held against true, false, or `same_as`",
        Kind::Number => "it is held against a number, `at_least`, `at_most`, `one_of` with numbers, or `same_as`",
        Kind::Text => "it is held against a text, or `one_of`, `contains`, `starts_with` with texts, or `same_as`",
        Kind::Numbers => "it is held against `contains` with numbers, or `same_as`",
        Kind::Words => "it is held against `contains` with texts, or `same_as`",
    }
}

fn known(name: &str) -> Result<&'static Entry, PolicyError> {
    if let Some(entry) = catalogue::entry(name) {
        return Ok(entry);
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
