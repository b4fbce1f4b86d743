//! Recovery from a log that is much longer than garbage collection is deep, behind a checkpoint that is as old.

use consensus::sim::{Scenario, Simulation};

/// Node 2 is not heard for longer than a block can be late, and then with all of its chain at once: the oldest blocks of it
/// that the others accept stand on garbage, which their logs never held. A log is then read back from genesis on, where that
/// was no garbage yet.
#[test]
fn blocks_that_stood_on_garbage_when_they_came_are_read_back() {
    let mut scenario = Scenario::new(5, 4);
    scenario.keys.parameters.gc_depth_rounds = 20;
    scenario.devices.flush_permille = 0;
    let mut committee = Simulation::new(scenario);
    committee.run_for(500).unwrap();
    for peer in [0, 1, 3] {
        committee.set_silent(2, peer, true);
    }
    committee.run_for(1_500).unwrap();
    for peer in [0, 1, 3] {
        committee.set_silent(2, peer, false);
    }
    committee.run_for(3_000).unwrap();
    committee.crash(1);
    committee.restart(1).unwrap();
    committee.run_for(1_000).unwrap();
    assert!(committee.height(1).0 + 10 > committee.top().0);
}
