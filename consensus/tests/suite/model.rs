//! Model checking of the real core with stateright, in two models: [`rounds`], where a bounded adversary decides which
//! blocks each block stands on, and [`steps`], where single messages, timeouts, signatures and crashes interleave.
//!
//! `STELE_TORTURE` raises the bounds (`cargo xtask torture`). What each bound came to stands in
//! `benches/results/model-checking.md`.

mod jump;
mod rounds;
mod rounds_tests;
mod steps;

use stateright::{Checker, Model};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whether the long bounds are asked for.
fn torture() -> bool {
    std::env::var_os("STELE_TORTURE").is_some()
}

/// States are equal when their hashes are, as the checker has it.
fn fingerprint<T: Hash>(state: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Explores everything within the model's bounds and holds the properties against it.
fn exhaust<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().spawn_dfs().join();
    let (states, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} transitions, {unique} states, depth {depth}");
    assert!(checker.is_done(), "{name} is not exhausted");
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation != stateright::Expectation::Sometimes {
            let last = format!("{:?}", path.last_state());
            panic!("{name}: {property} fails\n{:#?}\nends in {last}", path.into_actions());
        }
    }
    checker.assert_properties();
}
