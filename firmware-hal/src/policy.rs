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

use crate::catalogue::{self, CATALOGUE};
use crate::fact::Why;
use crate::inventory::Inventory;
use crate::named::Named;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
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

/// What is demanded of a fact.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
enum Demand {
    /// It is this.
    Is(Scalar),
    /// It fits all of these.
    Fits(Bounds),
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
enum Scalar {
    Flag(bool),
    Number(u64),
    Text(String),
}

/// One or several values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
enum Scalars {
    One(Scalar),
    Many(Vec<Scalar>),
}

impl Scalars {
    fn all(&self) -> &[Scalar] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_with: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<String>,
}

impl Bounds {
    /// Whether no value fits: a range that ends before it begins, or a choice of nothing.
    fn is_impossible(&self) -> bool {
        let empty = |scalars: &Option<Scalars>| scalars.as_ref().is_some_and(|scalars| scalars.all().is_empty());
        let backwards = self.at_least.zip(self.at_most).is_some_and(|(least, most)| least > most);
        backwards || [&self.one_of, &self.contains, &self.starts_with].into_iter().any(empty)
    }
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

/// A rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which kind the rule is.
    pub level: Level,
    /// The fact.
    pub fact: String,
    /// Where it was read.
    pub source: Option<String>,
    /// What it is, or why that is unknown.
    pub found: String,
    /// What is demanded, as the policy says.
    pub demanded: String,
    /// What makes it known; empty where it is.
    pub to_know: &'static str,
    /// What to do.
    pub cure: &'static str,
}

impl Finding {
    /// Whether a node with this must not start.
    pub fn refuses(&self) -> bool {
        self.level != Level::Warn
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, fact, source, found, demanded, to_know, cure } = self;
        let word = match level {
            Level::Require => "required",
            Level::Warn => "warning",
            Level::Forbid => "forbidden",
        };
        write!(f, "{word}: {fact} is {found}; the policy says {demanded}")?;
        if let Some(source) = source {
            write!(f, " (read from {source})")?;
        }
        if !to_know.is_empty() {
            write!(f, "; to know it: {to_know}")?;
        }
        if cure.is_empty() { Ok(()) } else { write!(f, "; to change it: {cure}") }
    }
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

/// All facts by their names.
struct Facts(Vec<Named>);

impl Facts {
    fn findings(&self, level: Level, name: &str, demand: &Demand) -> Vec<Finding> {
        let named = self.0.iter().filter(|fact| catalogue::fits(name, &fact.name));
        let bad = level == Level::Forbid;
        let mut findings: Vec<Finding> = named
            .clone()
            .filter(|fact| self.is_met(demand, fact).unwrap_or(bad) == bad)
            .map(|fact| finding(level, &fact.name, Some(fact), demand, self.unknown_other(demand)))
            .collect();
        let is_found = named.count() > 0;
        // One that is named and found is known, whichever others there are.
        let gap = self.gap(name).filter(|_| !is_found || name.contains('*'));
        if gap.is_some() || (level != Level::Forbid && !is_found) {
            findings.push(finding(level, name, gap, demand, None));
        }
        findings
    }

    /// Why there may be more of the devices that a name speaks of than were found: a fact under the name of their list.
    fn gap(&self, name: &str) -> Option<&Named> {
        let (list, _) = catalogue::entry(name)?.name.split_once(".*")?;
        self.0.iter().find(|fact| fact.name == list)
    }

    /// Whether a fact is as demanded; `None` where that cannot be told.
    fn is_met(&self, demand: &Demand, fact: &Named) -> Option<bool> {
        let value = fact.value()?;
        match demand {
            Demand::Is(scalar) => Some(scalar.is(value)),
            Demand::Fits(bounds) => {
                let Bounds { at_least, at_most, one_of, contains, starts_with, same_as } = bounds;
                let number = value.as_u64();
                let any = |scalars: &Scalars, is: &dyn Fn(&Scalar) -> bool| scalars.all().iter().any(is);
                let all = |scalars: &Scalars, is: &dyn Fn(&Scalar) -> bool| scalars.all().iter().all(is);
                let items = || value.as_array().into_iter().flatten();
                let words = || value.as_str().into_iter().flat_map(str::split_whitespace);
                let has = |wanted: &Scalar| {
                    items().any(|item| wanted.is(item)) || words().any(|word| wanted.is(&Value::from(word)))
                };
                let begins = |wanted: &Scalar| match (wanted, value.as_str()) {
                    (Scalar::Text(prefix), Some(text)) => text.starts_with(prefix.as_str()),
                    _ => false,
                };
                let met = at_least.is_none_or(|least| number.is_some_and(|number| number >= least))
                    && at_most.is_none_or(|most| number.is_some_and(|number| number <= most))
                    && one_of.as_ref().is_none_or(|scalars| any(scalars, &|scalar| scalar.is(value)))
                    && contains.as_ref().is_none_or(|scalars| all(scalars, &has))
                    && starts_with.as_ref().is_none_or(|scalars| any(scalars, &begins));
                match same_as {
                    Some(other) if met => self.all_are(other, value),
                    _ => Some(met),
                }
            }
        }
    }

    fn all_are(&self, name: &str, value: &Value) -> Option<bool> {
        let mut others = self.0.iter().filter(|fact| catalogue::fits(name, &fact.name)).peekable();
        others.peek()?;
        if name.contains('*') && self.gap(name).is_some() {
            return None;
        }
        others.map(|other| Some(other.value()? == value)).try_fold(true, |all, is| Some(all && is?))
    }

    /// What a demand compares with, where that is unknown.
    fn unknown_other(&self, demand: &Demand) -> Option<&Named> {
        let Demand::Fits(Bounds { same_as: Some(name), .. }) = demand else { return None };
        let mut unknown = self.0.iter().filter(|fact| fact.value().is_none() && catalogue::fits(name, &fact.name));
        unknown.next().or_else(|| self.gap(name))
    }
}

fn finding(level: Level, name: &str, fact: Option<&Named>, demand: &Demand, other: Option<&Named>) -> Finding {
    let why = |fact: Option<&Named>| fact.and_then(|fact| fact.reading.unknown());
    let other = other.filter(|_| why(fact).is_none());
    let found = match (fact, why(fact), other) {
        (None, ..) => "nowhere on this machine".to_owned(),
        (Some(fact), Some(why), _) if !catalogue::fits(name, &fact.name) => {
            format!("unknown, as which there are is: {why}")
        }
        (Some(fact), _, Some(other)) => format!("{fact}, and {} is {other} ({})", other.name, other.source),
        (Some(fact), ..) => fact.to_string(),
    };
    let verb = if level == Level::Forbid { "not " } else { "" };
    let demanded = toml::Value::try_from(demand).map_or_else(|_| format!("{demand:?}"), |value| value.to_string());
    Finding {
        level,
        fact: name.to_owned(),
        source: fact.map(|fact| fact.source.clone()),
        found,
        demanded: format!("{verb}{demanded}"),
        to_know: why(fact).or(why(other)).map_or("", Why::cure),
        cure: catalogue::entry(name).map_or("", |entry| entry.cure),
    }
}

impl Scalar {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Number(number) => value.as_u64() == Some(*number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}
