//! Since when the validators have had their keys, as the ledger tells it, and which keys are due for replacement.
//!
//! A key's age is counted from the commit at which the committee that first named it began to decide; for the keys of genesis
//! from its date. An alarm changes nothing: `stele governance rekey` does.

use crate::config::KeysSection;
use crate::tables::{TableError, Tables};
use std::collections::BTreeMap;
use types::{AlgId, Committee, EpochStart, Genesis, PublicKey, TimestampMs};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// One key of a validator of the present committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAge {
    /// Its name.
    pub validator: String,
    /// `consensus` or `transport`.
    pub role: &'static str,
    /// What it signs with.
    pub alg: AlgId,
    /// Since when.
    pub since: TimestampMs,
}

/// All keys of the present committee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAges(Vec<KeyAge>);

impl KeyAges {
    /// As the state has it. An epoch that is not there is passed over: keys may then be older than it says.
    ///
    /// # Errors
    /// Those of the database.
    pub fn read(tables: &Tables, genesis: &Genesis, present: &EpochStart) -> Result<Self, TableError> {
        let mut since = Since::default();
        if let Ok(first) = EpochStart::first(genesis) {
            since.names(&first.committee, TimestampMs(genesis.created_ms));
            for epoch in first.epoch().0 + 1..=present.epoch().0 {
                if let Some(start) = tables.epoch(types::Epoch(epoch))? {
                    since.names(&start.committee, start.anchor.timestamp);
                }
            }
        }
        Ok(since.of(&present.committee))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &KeyAge> {
        self.0.iter()
    }

    /// What is due at a time, in words.
    pub fn alarms(&self, policy: &KeysSection, now: TimestampMs) -> Vec<String> {
        self.0.iter().filter_map(|key| key.alarm(policy, now)).collect()
    }
}

impl KeyAge {
    /// Why it is due for replacement.
    pub fn alarm(&self, policy: &KeysSection, now: TimestampMs) -> Option<String> {
        let Self { validator, role, alg, since } = self;
        let days = now.0.saturating_sub(since.0) / DAY_MS;
        if policy.algorithm_alarms.contains(alg) {
            return Some(format!("the {role} key of {validator} is of algorithm {alg}, which is to be replaced"));
        }
        let limit = u64::from(policy.age_alarm_days);
        (limit > 0 && days >= limit)
            .then(|| format!("the {role} key of {validator} is {days} days old, {limit} are allowed"))
    }
}

/// When each key was first named, of those that are still in use.
#[derive(Default)]
struct Since(BTreeMap<PublicKey, TimestampMs>);

impl Since {
    /// A committee that begins at this time. A key that it does not name any more begins anew should it return.
    fn names(&mut self, committee: &Committee, from: TimestampMs) {
        let before = std::mem::take(&mut self.0);
        for key in keys(committee) {
            self.0.insert(key.2.clone(), before.get(key.2).copied().unwrap_or(from));
        }
    }

    fn of(&self, committee: &Committee) -> KeyAges {
        let age = |(validator, role, key): (&str, &'static str, &PublicKey)| {
            let since = *self.0.get(key)?;
            Some(KeyAge { validator: validator.to_owned(), role, alg: key.alg(), since })
        };
        KeyAges(keys(committee).filter_map(age).collect())
    }
}

fn keys(committee: &Committee) -> impl Iterator<Item = (&str, &'static str, &PublicKey)> {
    committee.authorities().iter().flat_map(|authority| {
        let name = authority.name.as_str();
        [(name, "consensus", &authority.consensus_key), (name, "transport", &authority.transport_key)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::genesis;
    use types::{Epoch, SecretKey};

    fn committee(epoch: u64, renewed: Option<u8>) -> Committee {
        let mut authorities = EpochStart::first(&genesis()).expect("a good genesis").committee.authorities().to_vec();
        if let Some(seed) = renewed {
            authorities[1].consensus_key = SecretKey::ed25519_from_seed([seed; 32]).public_key();
        }
        Committee::new(Epoch(epoch), authorities).expect("four members")
    }

    fn ages(committees: &[(Committee, u64)]) -> KeyAges {
        let mut since = Since::default();
        committees.iter().for_each(|(committee, days)| since.names(committee, TimestampMs(days * DAY_MS)));
        since.of(&committees.last().expect("one").0)
    }

    fn policy(age_alarm_days: u32, algorithms: &[AlgId]) -> KeysSection {
        KeysSection { age_alarm_days, algorithm_alarms: algorithms.to_vec() }
    }

    #[test]
    fn a_renewed_key_is_as_old_as_its_epoch_and_the_others_as_before() {
        let ages = ages(&[(committee(1, None), 0), (committee(2, Some(200)), 300), (committee(3, Some(200)), 350)]);
        let since: Vec<u64> = ages.iter().map(|key| key.since.0 / DAY_MS).collect();
        assert_eq!(since, [0, 0, 300, 0, 0, 0, 0, 0]);
        let alarms = ages.alarms(&policy(365, &[]), TimestampMs(400 * DAY_MS));
        assert_eq!(alarms.len(), 7, "{alarms:?}");
        assert!(
            alarms[0].contains("consensus key of") && alarms[0].contains("400 days old, 365 are allowed"),
            "{alarms:?}"
        );
        assert_eq!(ages.alarms(&policy(365, &[]), TimestampMs(364 * DAY_MS)), Vec::<String>::new());
        assert_eq!(ages.alarms(&policy(0, &[]), TimestampMs(9_000 * DAY_MS)), Vec::<String>::new(), "0 is no alarm");
    }

    #[test]
    fn a_key_that_was_away_begins_anew() {
        let ages = ages(&[(committee(1, Some(200)), 0), (committee(2, Some(201)), 10), (committee(3, Some(200)), 20)]);
        assert_eq!(ages.iter().nth(2).map(|key| key.since.0 / DAY_MS), Some(20));
    }

    #[test]
    fn an_algorithm_that_is_to_go_is_told_whatever_the_age_and_so_is_a_clock_that_goes_back() {
        let ages = ages(&[(committee(1, None), 10)]);
        let alarms = ages.alarms(&policy(1, &[AlgId::Ed25519]), TimestampMs(0));
        assert_eq!(alarms.len(), 8);
        assert!(alarms[7].contains("ed25519"), "{alarms:?}");
        assert_eq!(ages.alarms(&policy(1, &[AlgId::EcdsaP256]), TimestampMs(0)), Vec::<String>::new());
    }
}
