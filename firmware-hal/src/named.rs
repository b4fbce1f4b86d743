//! The facts of an inventory in a row, each under its name: the way to it through the structure.

use crate::fact::{Reading, Why};
use crate::inventory::Inventory;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A fact by its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its name, as in the catalogue, with the names of devices in the place of stars.
    pub name: String,
    /// Where it was read.
    pub source: String,
    /// What it says.
    #[serde(flatten)]
    pub reading: Reading<Value>,
}

impl Named {
    /// The value, if it is known.
    pub fn value(&self) -> Option<&Value> {
        match &self.reading {
            Reading::Value(value) => Some(value),
            Reading::Unknown(_) => None,
        }
    }
}

/// What it says, for a reader.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reading {
            Reading::Value(value) => write!(f, "{value}"),
            Reading::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl Inventory {
    /// All facts, names rising within each part.
    pub fn named(&self) -> Vec<Named> {
        let tree = serde_json::to_value(self).expect("facts are strings, numbers, flags and lists");
        let mut facts = Vec::new();
        gather(&mut facts, String::new(), &tree);
        facts
    }
}

/// Walks the tree to every object that has a source: a fact, or devices of which not all may have been found. Those that were
/// come after it.
fn gather(facts: &mut Vec<Named>, name: String, tree: &Value) {
    let Value::Object(fields) = tree else { return };
    let why = |why: &Value| serde_json::from_value::<Why>(why.clone()).ok();
    let reading = match (fields.get("value"), fields.get("unknown")) {
        (Some(value), None) => Some(Reading::Value(value.clone())),
        (None, Some(unknown)) => why(unknown).map(Reading::Unknown),
        _ => None,
    };
    if let (Some(Value::String(source)), Some(reading)) = (fields.get("source"), reading) {
        facts.push(Named { name: name.clone(), source: source.clone(), reading });
    }
    for (field, tree) in fields {
        let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
        gather(facts, name, tree);
    }
}
