//! The governance, once more.

use super::Oracle;
use types::*;

impl Oracle {
    pub(super) fn committee(&self) -> Digest {
        Committee::new(self.epoch, self.validators.clone()).unwrap().digest()
    }

    pub(super) fn govern(&mut self, sender: Address, epoch: Epoch, change: &Change) -> Result<(), Reject> {
        if !self.genesis.governance.members.contains(&sender) {
            return Err(Reject::NotGoverning);
        }
        if epoch != self.epoch {
            return Err(Reject::WrongEpoch);
        }
        self.changed(change)?;
        if self.decided.is_some() {
            return Err(Reject::EpochClosing);
        }
        if self.approved.get(&sender) == Some(change) {
            return Err(Reject::AlreadyApproved);
        }
        self.approved.insert(sender, change.clone());
        let agree = self.approved.iter().filter(|(_, other)| *other == change).count();
        if agree == usize::from(self.genesis.governance.threshold) {
            self.decided = Some(change.clone());
            self.approved.clear();
        }
        Ok(())
    }

    /// Validators and parameters after a change, for the changes that workloads make.
    pub(super) fn changed(&self, change: &Change) -> Result<(Vec<Authority>, Parameters), Reject> {
        let (mut validators, mut parameters) = (self.validators.clone(), self.parameters.clone());
        let find = |name: &str| {
            self.validators.iter().position(|validator| validator.name == name).ok_or(Reject::UnknownValidator)
        };
        match change {
            Change::Add { validator } => {
                if validators.iter().any(|other| other.name == validator.name) {
                    return Err(Reject::RepeatedValidator);
                }
                validators.push(validator.clone());
            }
            Change::Remove { name } => drop(validators.remove(find(name)?)),
            Change::Rekey { name, consensus_key, transport_key } => {
                let validator = &mut validators[find(name)?];
                (validator.consensus_key, validator.transport_key) = (consensus_key.clone(), transport_key.clone());
            }
            Change::Update { name, stake, .. } => {
                let place = find(name)?;
                if validators[place].stake == *stake {
                    return Err(Reject::ChangesNothing);
                }
                if stake.0 == 0 {
                    return Err(Reject::InvalidStake);
                }
                validators[place].stake = *stake;
            }
            Change::Parameters { parameters: wanted } => {
                if wanted.live_ids_max < 1_000 {
                    return Err(Reject::InvalidParameters);
                }
                parameters = wanted.clone();
            }
        }
        if validators.is_empty() {
            return Err(Reject::CommitteeSize);
        }
        let nothing = validators == self.validators && parameters == self.parameters;
        if nothing { Err(Reject::ChangesNothing) } else { Ok((validators, parameters)) }
    }
}
