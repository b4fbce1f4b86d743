//! From a log to the same core again: any checkpoint, any cut of the log.

use crate::oracle_tests::{feed, keys_for, records};
use crate::random_dag::random_dag;
use crate::seeds;
use consensus::sim::{Keys, Rng};
use consensus::{Checkpoint, Config, Core, Effect, Input, RecoverError, Recovered};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, CommitRecord, Decode, Encode, Height, Round};

/// A life: what a core said when it was fed a DAG in causal order.
fn life(seed: u64) -> (Config, Vec<Arc<BlockHeader>>, Vec<Effect>) {
    let mut rng = Rng::new(seed);
    let keys = keys_for(&mut rng);
    let dag = random_dag(&keys, &mut rng, 40);
    let config = keys.config(AuthorityIndex(0));
    let effects = feed(&mut Core::new(config.clone(), 0), &dag);
    (config, dag, effects)
}

fn checkpoints(effects: &[Effect]) -> Vec<Checkpoint> {
    let checkpoint = |effect: &Effect| match effect {
        Effect::Commit { checkpoint, .. } => Some(checkpoint.clone()),
        _ => None,
    };
    effects.iter().filter_map(checkpoint).collect()
}

/// What is on disk when the log ends after `effects` and the state is behind `checkpoint`.
fn disk(config: &Config, effects: &[Effect], checkpoint: Option<Checkpoint>) -> Recovered {
    let gc_round = checkpoint
        .as_ref()
        .map_or(Round(0), |checkpoint| checkpoint.leader.round.saturating_sub(config.parameters.gc_depth_rounds));
    let accepted = |effect: &Effect| match effect {
        Effect::Accepted { header } if header.round() > gc_round => Some(header.clone()),
        _ => None,
    };
    let commits = records(effects);
    let oldest = commits.iter().rposition(|record| record.leader.round <= gc_round.next()).unwrap_or(0);
    Recovered {
        checkpoint,
        headers: effects.iter().filter_map(accepted).collect(),
        commits: commits[oldest..].to_vec(),
        last_own: None,
        proposed_unsigned_round: None,
        own_blocks_lost: false,
        signed_up_to: None,
    }
}

#[test]
fn every_checkpoint_and_every_cut_of_the_log_lead_to_the_same_commits() {
    for seed in seeds(2) {
        let (config, dag, effects) = life(seed);
        let (all, states) = (records(&effects), checkpoints(&effects));
        let mut rng = Rng::new(seed ^ 1);
        for _ in 0..40 {
            let cut = rng.between(0, effects.len() as u64) as usize;
            let logged = records(&effects[..cut]).len() as u64;
            let behind = rng.between(0, logged) as usize;
            let checkpoint = behind.checked_sub(1).map(|index| states[index].clone());
            let mut said = Vec::new();
            let recovered = disk(&config, &effects[..cut], checkpoint);
            let mut core = Core::recover(config.clone(), recovered, 0, &mut said).unwrap();
            assert!(core.status().last_commit_height >= Height(logged), "seed {seed}: what was logged is there");
            said.extend(feed(&mut core, &dag));
            assert_eq!(records(&said), all[behind..], "seed {seed}, cut {cut}, checkpoint {behind}");
            assert_eq!(checkpoints(&said), states[behind..], "seed {seed}, cut {cut}, checkpoint {behind}");
        }
    }
}

#[test]
fn adopting_gives_the_same_state_as_deciding() {
    for seed in seeds(4) {
        let (config, dag, effects) = life(seed);
        let (all, states) = (records(&effects), checkpoints(&effects));
        let mut rng = Rng::new(seed ^ 2);
        let mut core = Core::new(config.clone(), 0);
        let mut said = Vec::new();
        let adopted = rng.between(0, all.len() as u64) as usize;
        for record in &all[..adopted] {
            let find =
                |block: &types::BlockRef| dag.iter().find(|header| header.block_ref() == *block).unwrap().clone();
            let headers = record.blocks.iter().map(find).collect();
            core.step(0, Input::Adopt { record: record.clone(), headers }, &mut said);
        }
        assert_eq!(core.status().last_commit_height, Height(adopted as u64));
        said.extend(feed(&mut core, &dag));
        assert_eq!(checkpoints(&said), states, "seed {seed}, {adopted} adopted");
    }
}

#[test]
fn damaged_disks_are_refused_with_the_reason() {
    let mut keys = Keys::generate(4);
    keys.parameters.gc_depth_rounds = 6;
    let mut rng = Rng::new(5);
    let dag = random_dag(&keys, &mut rng, 40);
    let config = keys.config(AuthorityIndex(0));
    let effects = feed(&mut Core::new(config.clone(), 0), &dag);
    let states = checkpoints(&effects);
    let last = states.last().unwrap().clone();
    let whole = disk(&config, &effects, Some(last.clone()));
    let try_it = |recovered: Recovered| Core::recover(config.clone(), recovered, 0, &mut Vec::new()).err();
    assert_eq!(try_it(whole.clone()), None);

    let mut gap = whole.clone();
    gap.commits.remove(1);
    assert_eq!(try_it(gap), Some(RecoverError::CommitChain(whole.commits[2].height)));

    let mut short = whole.clone();
    short.commits.drain(..2);
    assert!(matches!(try_it(short), Some(RecoverError::CommitGap { .. })));

    let mut other = whole.clone();
    let other_last: &mut CommitRecord = other.commits.last_mut().unwrap();
    other_last.timestamp.0 += 1;
    assert_eq!(try_it(other), Some(RecoverError::CheckpointMismatch(last.height)));

    let mut headless = disk(&config, &effects, None);
    headless.headers.remove(0);
    assert!(matches!(try_it(headless), Some(RecoverError::Adopt { .. })));

    let elsewhere = Keys::generate(7).config(AuthorityIndex(0));
    assert_eq!(Core::recover(elsewhere, whole, 0, &mut Vec::new()).err(), Some(RecoverError::Schedule));
}

#[test]
fn checkpoints_are_small_and_canonical() {
    let (_, _, effects) = life(8);
    for checkpoint in checkpoints(&effects) {
        let bytes = checkpoint.to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes), Ok(checkpoint));
        (0..bytes.len()).for_each(|cut| assert!(Checkpoint::from_bytes(&bytes[..cut]).is_err()));
    }
    let mut simulation = consensus::sim::Simulation::new(consensus::sim::Scenario::new(8, 4));
    simulation.run_for(2_000).unwrap();
    assert!(simulation.checkpoint_bytes_max() < 4_096, "{} bytes at n = 4", simulation.checkpoint_bytes_max());
}

#[test]
fn a_checkpoint_follows_from_the_last_commits_alone() {
    let mut rebuilt_in_the_middle = 0;
    for seed in seeds(2) {
        let mut rng = Rng::new(seed);
        let mut keys = keys_for(&mut rng);
        keys.parameters.schedule_interval_commits = rng.between(1, 6);
        keys.parameters.schedule_window_commits = rng.between(1, 8);
        let dag = random_dag(&keys, &mut rng, 60);
        let config = keys.config(AuthorityIndex(0));
        let effects = feed(&mut Core::new(config.clone(), 0), &dag);
        let commit = |effect: &Effect| match effect {
            Effect::Commit { record, headers, .. } => Some((record.clone(), headers.clone())),
            _ => None,
        };
        let commits: Vec<_> = effects.iter().filter_map(commit).collect();
        for (index, expected) in checkpoints(&effects).into_iter().enumerate() {
            let from = Checkpoint::rebuilt_from(&config.parameters, Height(1), expected.height);
            let needed = &commits[from.0 as usize - 1..=index];
            let rebuilt = Checkpoint::rebuild(&config, Height(1), needed);
            assert_eq!(rebuilt, Some(expected), "seed {seed}, height {}", index + 1);
            if from > Height(1) {
                rebuilt_in_the_middle += 1;
                assert_eq!(Checkpoint::rebuild(&config, Height(1), &needed[1..]), None, "one commit short");
            }
        }
    }
    assert!(rebuilt_in_the_middle > 20, "only {rebuilt_in_the_middle} checkpoints lay far from the start");
}
