//! The machine's health with consequences: what is wrong is told once as it begins, is a metric, and does what the operator has
//! decided for it: nothing, no new transactions from clients, no own blocks, or a clean stop. A look every ten seconds.
//!
//! A restraint ends with the trouble that it is for. By default everything is told and nothing else is done: how hot a machine may
//! get is its maker's business and its operator's.

use crate::config::{HealthSection, Restraint};
use crate::node::Stopper;
use firmware_hal::Root;
use firmware_hal::health::{Health, Trouble};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// What was last seen, and what is done about it.
#[derive(Debug, Default)]
pub struct Condition(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    health: Health,
    troubles: Vec<Trouble>,
    restraint: Restraint,
}

impl Condition {
    /// The sensors at the last look.
    pub fn health(&self) -> Health {
        self.seen().health
    }

    /// What was wrong at the last look.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.seen().troubles
    }

    /// What the node does about it.
    pub fn restraint(&self) -> Restraint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).restraint
    }

    fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One look. What is new among the troubles.
    fn look(&self, health: Health, rules: &HealthSection) -> Vec<Trouble> {
        let before = self.seen();
        // The first look has nothing to compare its counters with.
        let troubles =
            if before.health == Health::default() { health.troubles(&health) } else { health.troubles(&before.health) };
        let restraint = troubles.iter().map(|trouble| rules.against(trouble)).max().unwrap_or_default();
        let is_new = |trouble: &&Trouble| !before.troubles.iter().any(|before| trouble.is_still(before));
        let new = troubles.iter().filter(is_new).cloned().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Seen { health, troubles, restraint };
        new
    }
}

/// Looks at the machine from now on.
///
/// # Errors
/// Where the thread cannot be started.
pub fn follow(root: Root, rules: HealthSection, condition: Arc<Condition>, stopper: Stopper) -> io::Result<()> {
    let look = move || {
        loop {
            let before = condition.restraint();
            for trouble in condition.look(Health::take(&root), &rules) {
                let restraint = rules.against(&trouble);
                tracing::warn!(%trouble, %restraint, "the machine is not well");
            }
            let now = condition.restraint();
            if now != before {
                tracing::warn!(%before, %now, "what the node does about the machine's health");
            }
            if now == Restraint::Stop {
                return stopper.stop();
            }
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("health".into()).spawn(look).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware_hal::health::Temperature;

    fn at(now: i64) -> Health {
        let temperature = Temperature { now, critical: Some(90_000) };
        Health { temperatures: [("cpu".to_owned(), temperature)].into(), ..Health::default() }
    }

    #[test]
    fn a_restraint_begins_and_ends_with_its_trouble_and_is_told_once() {
        let rules = HealthSection { hot: Restraint::Shed, critical: Restraint::Stop, ..HealthSection::default() };
        let condition = Condition::default();
        assert_eq!((condition.look(at(50_000), &rules).len(), condition.restraint()), (0, Restraint::None));
        assert_eq!((condition.look(at(81_000), &rules).len(), condition.restraint()), (1, Restraint::Shed));
        assert_eq!((condition.look(at(83_000), &rules).len(), condition.restraint()), (0, Restraint::Shed));
        assert_eq!(condition.troubles().len(), 1);
        assert_eq!((condition.look(at(70_000), &rules).len(), condition.restraint()), (0, Restraint::None));
        assert_eq!((condition.look(at(91_000), &rules).len(), condition.restraint()), (1, Restraint::Stop));
    }

    #[test]
    fn by_default_it_is_told_and_nothing_is_done() {
        let condition = Condition::default();
        assert_eq!(condition.look(at(99_000), &HealthSection::default()).len(), 1);
        assert_eq!(condition.restraint(), Restraint::None);
    }
}
