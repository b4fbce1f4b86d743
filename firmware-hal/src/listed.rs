//! All that there are of a kind, by name, and whether that is all. Where a kernel does not let them be listed, or one does not
//! tell whether it is of the kind, some may be missing: none found is then not none there.

use crate::fact::Why;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map};
use std::ops::Deref;

/// Those that were found, and what kept others from being found. What only looks for something to use reads it as a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    #[serde(flatten)]
    found: BTreeMap<String, T>,
    #[serde(flatten)]
    gap: Option<Gap>,
}

/// Why there may be more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What should tell which there are.
    pub source: String,
    /// Why it does not.
    pub unknown: Why,
}

impl<T> Listed<T> {
    pub(crate) fn new(found: BTreeMap<String, T>, gap: Option<Gap>) -> Self {
        Self { found, gap }
    }

    /// Why there may be more than were found; `None` where these are all.
    pub fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// Others in their place, or under other names; those that are `None` are left out, as being of another kind.
    pub(crate) fn filter_map<U>(self, map: impl Fn((String, T)) -> Option<(String, U)>) -> Listed<U> {
        Listed { found: self.found.into_iter().filter_map(map).collect(), gap: self.gap }
    }
}

impl<T> Deref for Listed<T> {
    type Target = BTreeMap<String, T>;
    fn deref(&self) -> &Self::Target {
        &self.found
    }
}

impl<T> FromIterator<(String, T)> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(all: I) -> Self {
        Self { found: all.into_iter().collect(), gap: None }
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = (&'a String, &'a T);
    type IntoIter = btree_map::Iter<'a, String, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.found.iter()
    }
}
