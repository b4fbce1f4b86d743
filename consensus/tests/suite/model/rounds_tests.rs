//! The bounds to which [`super::rounds`] is exhausted, and that it can fail.

use super::rounds::model;
use super::{exhaust, torture};
use stateright::{Checker, Model};

#[test]
fn no_dag_within_the_deviations_makes_the_honest_differ() {
    exhaust("rounds: the faulty leads third, 8 rounds, 2 deviations", model(&[0, 1, 3], 1, 8, 2, 0, 0));
    if torture() {
        exhaust("rounds: the faulty leads first, 8 rounds, 2 deviations", model(&[3, 0, 1], 1, 8, 2, 0, 0));
        exhaust("rounds: the faulty leads twice, 7 rounds, 3 deviations", model(&[3, 3, 0], 1, 7, 3, 0, 0));
    }
}

#[test]
fn crashes_and_catching_up_break_neither_agreement_nor_progress() {
    exhaust("rounds: 11 rounds, 1 deviation, 1 crash, 1 adoption", model(&[0, 3, 1], 1, 11, 1, 1, 1));
    exhaust("rounds: 5 rounds, 2 deviations, 1 crash, 1 adoption", model(&[0, 1, 3], 1, 5, 2, 1, 1));
    if torture() {
        exhaust("rounds: 8 rounds, 2 deviations, 1 crash, 1 adoption", model(&[0, 3, 1], 1, 8, 2, 1, 1));
        exhaust("rounds: 6 rounds, 3 deviations, 1 crash, 1 adoption", model(&[0, 3, 1], 1, 6, 3, 1, 1));
    }
}

/// That the model can fail: more than f faulty fork the honest, and it finds how.
#[test]
fn two_faulty_of_four_make_the_honest_differ() {
    let mut split = model(&[3, 0, 1], 2, 4, u32::MAX, 0, 0);
    split.splits_only = true;
    let checker = split.checker().spawn_dfs().join();
    let path = checker.assert_any_discovery("the honest agree, and break no rule");
    let (states, actions) = (checker.unique_state_count(), path.into_actions());
    println!("rounds: 2 faulty of 4: forked after {states} states by {} turns", actions.len());
    assert!(actions.len() >= 12, "a leader is committed by three rounds: {actions:?}");
}
