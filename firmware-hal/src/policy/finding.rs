//! The rules of a policy held against facts, and what is said where one is not met.

use super::Level;
use super::demand::{Bounds, Demand, Way};
use crate::catalogue::{self, Cure};
use crate::fact::Why;
use crate::named::Named;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

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
    /// What to do, the way that the rule wants it; empty where nothing but another machine helps.
    pub cure: String,
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

/// All facts by their names.
pub(super) struct Facts(pub(super) Vec<Named>);

impl Facts {
    pub fn findings(&self, level: Level, name: &str, demand: &Demand) -> Vec<Finding> {
        let named = self.0.iter().filter(|fact| catalogue::fits(name, &fact.name));
        let bad = level == Level::Forbid;
        let mut findings: Vec<Finding> = named
            .clone()
            .filter(|fact| self.is_met(demand, fact).unwrap_or(bad) == bad)
            .map(|fact| finding(level, &fact.name, Some(fact), demand, self.unknown_other(demand)))
            .collect();
        let is_found = named.count() > 0;
        let gap = self.gap(name);
        if gap.is_some() || (level != Level::Forbid && !is_found) {
            findings.push(finding(level, name, gap, demand, None));
        }
        findings
    }

    /// Why there may be more of the devices that a name speaks of than were found: a fact under the name of their list. One that
    /// is named and found is known, whichever others there are.
    fn gap(&self, name: &str) -> Option<&Named> {
        let (list, _) = catalogue::entry(name)?.name.split_once(".*")?;
        let is_found = || !name.contains('*') && self.0.iter().any(|fact| fact.name == name);
        self.0.iter().find(|fact| fact.name == list).filter(|_| !is_found())
    }

    /// Whether a fact is as demanded; `None` where that cannot be told.
    fn is_met(&self, demand: &Demand, fact: &Named) -> Option<bool> {
        let value = fact.value()?;
        match demand {
            Demand::Is(scalar) => Some(scalar.is(value)),
            Demand::Fits(bounds) => match &bounds.same_as {
                Some(other) if bounds.hold(value) => self.all_are(other, value),
                _ => Some(bounds.hold(value)),
            },
        }
    }

    fn all_are(&self, name: &str, value: &Value) -> Option<bool> {
        let mut others = self.0.iter().filter(|fact| catalogue::fits(name, &fact.name)).peekable();
        others.peek()?;
        if self.gap(name).is_some() {
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
    let entry = catalogue::entry(name).expect("a policy names facts of the catalogue and no others");
    // A list of devices is no fact of one of them.
    let is_one = fact.is_some_and(|fact| catalogue::fits(entry.name, &fact.name));
    let told = entry.cure.told;
    let why = |fact: Option<&Named>| fact.and_then(|fact| fact.reading.unknown());
    let other = other.filter(|_| why(fact).is_none());
    let found = match (fact, why(fact), other) {
        (None, ..) => "nowhere on this machine".to_owned(),
        (Some(_), Some(why), _) if !is_one => format!("unknown, as which there are is: {why}"),
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
        to_know: match (why(fact), why(other)) {
            (Some(Why::Absent | Why::Denied), _) if is_one && !told.is_empty() => told,
            (Some(why), _) | (None, Some(why)) => why.cure(),
            (None, None) => "",
        },
        cure: match fact {
            None => "have one, with its driver loaded: `stele hw --facts` lists those that there are".to_owned(),
            Some(fact) if is_one => cure(entry.cure, demand.way(level, fact.value())),
            Some(_) => String::new(),
        },
    }
}

fn cure(Cure { up, down, .. }: Cure, way: Way) -> String {
    match way {
        Way::Up => up.to_owned(),
        Way::Down => down.to_owned(),
        Way::Either if up == down || down.is_empty() => up.to_owned(),
        Way::Either if up.is_empty() => down.to_owned(),
        Way::Either => format!("{up}; or else {down}"),
    }
}
