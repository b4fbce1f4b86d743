//! What the simulator counts, against what a calm committee must say by the rules alone.

use consensus::sim::traffic::weight;
use consensus::sim::{Keys, Links, MessageKind, Scenario, Simulation, Traffic};
use consensus::{Config, genesis_refs};
use types::{AuthorityIndex, Round};

/// Equal links, each node with some transactions in every block.
fn calm(size: u16) -> Scenario {
    let mut scenario = Scenario::new(3, size);
    scenario.links = Links { delay_us_min: 50_000, delay_us_max: 50_000, payload_us_max: 0, ..Links::default() };
    scenario.load_us = 10_000;
    scenario.transaction_bytes = 512;
    scenario
}

/// What is said in a simulated second in the middle of a run, and how many rounds were made.
fn a_second(simulation: &mut Simulation) -> (Traffic, u64) {
    simulation.run_for(2_000).unwrap();
    let (before, round) = (*simulation.traffic(), simulation.status(0).unwrap().last_own_round);
    simulation.run_for(1_000).unwrap();
    (simulation.traffic().since(&before), simulation.status(0).unwrap().last_own_round.0 - round.0)
}

#[test]
fn a_calm_committee_sends_each_header_and_payload_once_to_each_and_asks_for_nothing() {
    for size in [4u16, 7] {
        let mut simulation = Simulation::new(calm(size));
        let (traffic, rounds) = a_second(&mut simulation);
        let (n, keys) = (u64::from(size), Keys::generate(size));
        let config: Config = keys.config(AuthorityIndex(0));
        let header = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 1, 1);
        let own = traffic.of(MessageKind::OwnHeader);
        // The first and the last round of the second are cut at different places at different nodes.
        let most = (rounds + 1) * n * (n - 1);
        assert!(own.messages <= most && own.messages + 2 * n * n >= most, "{own:?} in {rounds} rounds of {size}");
        // A header names a quorum of the round below at least, and all of it at most.
        let full = weight::own_header(&header);
        let least = full - (n - 1) / 3 * weight::REF;
        assert!(own.bytes >= own.messages * least && own.bytes <= own.messages * full, "{own:?}");
        let payloads = traffic.of(MessageKind::Payload);
        assert_eq!(payloads.messages, own.messages);
        let transactions = n * (n - 1) * 100;
        let without = payloads.bytes - payloads.messages * weight::REF;
        assert!(without.abs_diff(transactions * 516) < transactions * 516 / 10, "{payloads:?}");
        assert_eq!(traffic.total().bytes, own.bytes + payloads.bytes, "{traffic:?}");
        assert!(traffic.checks.headers.abs_diff(own.messages) <= n * n, "{:?}", traffic.checks);
        assert_eq!(traffic.checks.headers_again, 0);
        assert!(traffic.checks.transactions.abs_diff(n * n * 100) < n * n * 10, "{:?}", traffic.checks);
    }
}

#[test]
fn what_bad_links_make_necessary_is_counted_by_kind() {
    let mut scenario = calm(4);
    scenario.links.loss_permille = 50;
    scenario.links.duplicate_permille = 50;
    let mut simulation = Simulation::new(scenario);
    let (traffic, _) = a_second(&mut simulation);
    for kind in [MessageKind::RelayedHeaders, MessageKind::HeadersRequest, MessageKind::HeadersAnswer] {
        assert!(traffic.of(kind).messages > 0, "{kind:?}");
    }
    assert!(traffic.checks.headers_again > 0);
}

#[test]
fn a_block_takes_four_delays_to_its_commit_and_its_transactions_half_a_round_more() {
    let mut simulation = Simulation::new(calm(10));
    simulation.run_for(4_000).unwrap();
    let median = |times: Vec<u64>| times[times.len() / 2];
    let block = median(simulation.block_latencies_us(2_000));
    let transaction = median(simulation.latencies_us(2_000));
    // Links take 50 ms; disk and signer 0.8 ms of each round.
    assert!((200_000..=215_000).contains(&block), "{block}");
    assert!((20_000..=35_000).contains(&(transaction - block)), "{transaction}");
}
