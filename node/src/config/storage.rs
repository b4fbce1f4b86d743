//! `[storage]`: how much of the past a node keeps. One choice, from which follows what of the log and of the database goes.

use super::ConfigError;
use serde::{Deserialize, Serialize};

/// Least heights of `pruned`, and most.
const KEEP_RANGE: (u64, u64) = (64, 1 << 60);

/// What a node is to those who ask for the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Has everything.
    #[default]
    Archive,
    /// Has all receipts, events and indexes, and of the log what a restart and joiners need, and some more.
    Full,
    /// Has the last heights.
    Pruned,
}

/// How much of the past is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// `archive`, `full` or `pruned`. Default `archive`.
    pub role: Role,
    /// Of `pruned`: heights whose receipts, events, indexes and blocks are kept. Range 64 to 2^60.
    pub keep: Option<u64>,
    /// Of `full`: bytes of log that are kept for nodes that catch up by commits; what a restart needs, and what those need
    /// who take a state from this node, is kept in any case. Default 1 GiB, range 1 MiB to 2^60.
    pub keep_log_bytes: u64,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self { role: Role::default(), keep: None, keep_log_bytes: 1 << 30 }
    }
}

/// What follows from the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Everything,
    /// Of the log, so many bytes beyond what is needed.
    LogBytes(u64),
    /// So many heights.
    Heights(u64),
}

impl StorageSection {
    /// What is kept.
    pub fn keep(&self) -> Keep {
        match (self.role, self.keep) {
            (Role::Pruned, Some(heights)) => Keep::Heights(heights),
            (Role::Full, _) => Keep::LogBytes(self.keep_log_bytes),
            (Role::Archive | Role::Pruned, _) => Keep::Everything,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (min, max) = KEEP_RANGE;
        match (self.role, self.keep) {
            (Role::Pruned, None) => {
                Err(ConfigError::Keep { what: "role = \"pruned\" needs keep, a number of heights" })
            }
            (Role::Pruned, Some(value)) if !(min..=max).contains(&value) => {
                Err(ConfigError::OutOfRange { key: "storage.keep", value, min, max })
            }
            (Role::Archive | Role::Full, Some(_)) => {
                Err(ConfigError::Keep { what: "keep belongs to role = \"pruned\"; the other roles keep all heights" })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<Keep, ConfigError> {
        let section: StorageSection = toml::from_str(text).expect("TOML");
        section.check().map(|()| section.keep())
    }

    #[test]
    fn a_role_says_what_is_kept_and_keep_belongs_to_one_of_them() {
        assert_eq!(section("").expect("the default"), Keep::Everything);
        assert_eq!(section("role = \"full\"").expect("a role"), Keep::LogBytes(1 << 30));
        assert_eq!(section("role = \"pruned\"\nkeep = 5000").expect("a role"), Keep::Heights(5_000));
        assert!(matches!(section("role = \"pruned\""), Err(ConfigError::Keep { .. })));
        assert!(matches!(section("role = \"full\"\nkeep = 5000"), Err(ConfigError::Keep { .. })));
        assert!(matches!(section("role = \"pruned\"\nkeep = 1"), Err(ConfigError::OutOfRange { .. })));
        assert!(toml::from_str::<StorageSection>("role = \"half\"").is_err());
    }
}
