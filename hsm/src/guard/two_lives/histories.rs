//! Random histories of copies that are taken, restored, started, killed and used side by side: whatever happens, no slot has
//! two statements and no height two headers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One step of the property test. Files and rounds are chosen modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Start(usize),
    Crash(usize),
    Stop(usize),
    Copy(usize),
    Settle(usize),
    Ask { file: usize, ahead: u64, variant: u8, votes: Vec<(u64, u8)> },
    AnchorFails { calls: u64, after_the_fact: bool },
    DiskFails { file: usize, operations: u64, power_loss: bool },
    Activate(usize),
    NextEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    let file = || 0..6usize;
    let votes = prop::collection::vec((0..80u64, 0..2u8), 0..3);
    prop_oneof![
        4 => file().prop_map(Step::Start),
        2 => file().prop_map(Step::Crash),
        2 => file().prop_map(Step::Stop),
        2 => file().prop_map(Step::Copy),
        3 => file().prop_map(Step::Settle),
        20 => (file(), 0..24u64, 0..2u8, votes)
            .prop_map(|(file, ahead, variant, votes)| Step::Ask { file, ahead, variant, votes }),
        1 => (0..4u64, any::<bool>()).prop_map(|(calls, after_the_fact)| Step::AnchorFails { calls, after_the_fact }),
        1 => (file(), 0..8u64, any::<bool>())
            .prop_map(|(file, operations, power_loss)| Step::DiskFails { file, operations, power_loss }),
        1 => file().prop_map(Step::Activate),
        1 => Just(Step::NextEpoch),
    ]
}

/// Everything that may happen to the files of one validator on one machine.
struct World {
    anchor: Memory,
    files: Vec<(SimulatedDisk, Option<Guard>)>,
    epoch: u64,
    rounds: BTreeMap<(u64, u64), Digest>,
    heights: BTreeMap<Height, Digest>,
}

impl World {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let count = self.files.len();
        match step {
            Step::Start(file) => {
                let (disk, guard) = &mut self.files[file % count];
                if guard.is_none() {
                    *guard = open(disk, self.anchor.witness()).ok();
                }
            }
            Step::Crash(file) => self.files[file % count].1 = None,
            Step::Stop(file) => {
                if let Some(mut guard) = self.files[file % count].1.take() {
                    let _ = guard.close();
                }
            }
            Step::Copy(file) => {
                let copy = self.files[file % count].0.copy(count as u64);
                // The newest copies replace older ones that do not run.
                match self.files.iter().skip(1).position(|(_, guard)| guard.is_none()) {
                    Some(place) if count >= 6 => self.files[place + 1] = (copy, None),
                    _ if count < 6 => self.files.push((copy, None)),
                    _ => {}
                }
            }
            Step::Settle(file) => {
                if let Some(guard) = &mut self.files[file % count].1 {
                    let _ = guard.settle();
                }
            }
            Step::Ask { file, ahead, variant, votes } => {
                let highest = self.rounds.last_key_value().map_or(0, |((_, round), _)| *round);
                let round = (highest + ahead).saturating_sub(8);
                let votes: Vec<_> = votes.into_iter().map(|(height, variant)| vote(height, variant)).collect();
                let statement = statement(self.epoch, round, variant, &votes);
                let Some(guard) = &mut self.files[file % count].1 else { return Ok(()) };
                if guard.approve(&statement, &votes).is_ok() {
                    let digest = statement.digest();
                    prop_assert_eq!(*self.rounds.entry((self.epoch, round)).or_insert(digest), digest);
                    for vote in &votes {
                        prop_assert_eq!(*self.heights.entry(vote.height).or_insert(vote.header), vote.header);
                    }
                }
            }
            Step::AnchorFails { calls, after_the_fact } => {
                self.anchor.with(|state| (state.fails_in, state.fails_after_the_fact) = (Some(calls), after_the_fact))
            }
            Step::DiskFails { file, operations, power_loss } => {
                let (disk, guard) = &mut self.files[file % count];
                disk.fail_after(if guard.is_some() { operations } else { u64::MAX });
                if power_loss {
                    *guard = None;
                    disk.fail_after(u64::MAX);
                    disk.lose_power();
                }
            }
            // True to its word: from above all that was ever signed, with nobody else running.
            Step::Activate(file) => {
                if self.files.iter().all(|(_, guard)| guard.is_none()) {
                    let round = Round(self.rounds.last_key_value().map_or(0, |((_, round), _)| round + 1));
                    let votes_above = self.heights.last_key_value().map_or(Height(0), |(height, _)| *height);
                    let from = Floor { from: Slot { epoch: Epoch(self.epoch), round }, votes_above };
                    let disk = &self.files[file % count].0;
                    let (boxed, witness) = (Box::new(disk.clone()), &mut self.anchor.witness());
                    let word = Activation::From(from);
                    let _ = Guard::activate_on_disk(boxed, &disk.content(), &identity(), SMALL, witness, word, 0);
                }
            }
            Step::NextEpoch => self.epoch += 1,
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn no_two_statements_for_a_slot_whatever_copies_run(steps in prop::collection::vec(step(), 1..120)) {
        let (disk, anchor) = new();
        let files = vec![(disk, None)];
        let mut world = World { anchor, files, epoch: 0, rounds: BTreeMap::new(), heights: BTreeMap::new() };
        world.take(Step::Start(0))?;
        for step in steps {
            world.take(step)?;
        }
    }
}
