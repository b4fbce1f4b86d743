//! How much of what a device says is checked, seen from outside: floods buy no more than their budgets, lies that canaries
//! cannot show are found by samples within the bound, or by the audit.

use crate::faults::{A, Bench, C, ed25519};
use crate::scripted_device::{Act, Script, config};
use accel::{DeviceConfig, Origin, TrustConfig, VerifierConfig};
use std::time::Instant;

#[test]
fn a_clients_flood_of_bad_signatures_buys_no_time_of_the_cpu() {
    let trust = TrustConfig { client_checks_per_s: 10, ..config().device.trust };
    let bench = Bench::serving(VerifierConfig { device: DeviceConfig { trust, ..config().device }, ..config() }, &[]);
    let all: Vec<u32> = (0..200).collect();
    let start = Instant::now();
    for id in 0..10 {
        bench.submit(id, C, ed25519(200, &all));
        assert_eq!(bench.next().1.len(), 200);
    }
    let stats = bench.verifier.stats();
    assert_eq!((stats.device.engine.items, stats.cpu.items, stats.suspect_items), (2000, 0, 0));
    assert_eq!(stats.device.trust.confirmations, 0);
    let budget = 10 + 10 * (start.elapsed().as_secs() + 1);
    assert!(stats.device.trust.client_checks > 0 && stats.device.trust.client_checks <= budget);
    bench.end();
}

#[test]
fn an_authors_flood_is_confirmed_within_the_budget_and_then_waits_for_the_cpu() {
    let trust = TrustConfig { confirmations_per_s: 30, ..config().device.trust };
    let bench = Bench::serving(VerifierConfig { device: DeviceConfig { trust, ..config().device }, ..config() }, &[]);
    bench.submit(0, A, ed25519(50, &(0..25).collect::<Vec<_>>()));
    assert_eq!(bench.next().1, (0..25).collect::<Vec<_>>());
    assert_eq!(bench.verifier.stats().device.trust.confirmations, 25);
    // Another one, so that nobody is a suspect yet, and more than what is left.
    bench.submit(1, Origin::Author(2), ed25519(100, &(0..90).collect::<Vec<_>>()));
    assert_eq!(bench.next().1, (0..90).collect::<Vec<_>>());
    let stats = bench.verifier.stats();
    assert_eq!((stats.device.trust.confirmations, stats.device.trust.deferred_jobs), (25, 1));
    assert_eq!((stats.suspect_items, stats.device.engine.items, stats.device_faults), (100, 50, 0));
    // From then on the author's jobs go to the CPU at once.
    bench.submit(2, Origin::Author(2), ed25519(7, &[]));
    assert_eq!(bench.next(), (2, vec![]));
    let stats = bench.verifier.stats();
    assert_eq!((stats.suspect_items, stats.device.engine.items), (107, 50));
    bench.end();
}

/// The device knows canaries when it sees them and accepts every own item. Each wrong accept is sampled with
/// probability 1/q, so that more than q·ln(1000) of them before the first is seen come once in a thousand runs.
#[test]
fn a_liar_that_spares_canaries_is_found_by_samples_within_the_bound() {
    let one_in = 16_u32;
    let (mut wrong_in_all, runs) = (0, 12_u8);
    for run in 0..runs {
        let trust = TrustConfig { sample_one_in: one_in, seed: Some([run; 32]), ..TrustConfig::default() };
        let config = VerifierConfig { device: DeviceConfig { trust, ..config().device }, ..config() };
        let bench = Bench::new(config, Script { then: Some(Act::AcceptOwn), ..Script::default() });
        bench.until_serving();
        let mut wrong = 0;
        while bench.verifier.stats().device_faults == 0 {
            bench.submit(0, C, ed25519(4, &[0, 2]));
            wrong += 2 - bench.next().1.len();
            assert!(wrong <= 110, "run {run}: 16 · ln 1000");
        }
        assert!(bench.verifier.stats().device.trust.samples_wrong > 0);
        wrong_in_all += wrong;
        bench.end();
    }
    let mean = wrong_in_all as f64 / f64::from(runs);
    assert!((4.0..40.0).contains(&mean), "{mean} wrong accepts before the first is seen, of 15 expected");
}

#[test]
fn when_every_accept_is_sampled_no_lie_leaves() {
    let trust = TrustConfig { sample_one_in: 1, ..config().device.trust };
    let config = VerifierConfig { device: DeviceConfig { trust, ..config().device }, ..config() };
    let bench = Bench::serving(config, &[Act::AcceptOwn]);
    bench.submit(0, C, ed25519(50, &[7]));
    assert_eq!(bench.next(), (0, vec![7]));
    assert_eq!((bench.faults("wrong_answer"), bench.verifier.stats().device.trust.samples_wrong), (1, 1));
    bench.end();
}

#[test]
fn an_audit_finds_what_slipped_through_and_quarantines_the_device() {
    let trust = TrustConfig { sample_one_in: u32::MAX, audit: true, ..config().device.trust };
    let config = VerifierConfig { device: DeviceConfig { trust, ..config().device }, ..config() };
    let bench = Bench::serving(config, &[Act::Honest, Act::AcceptOwn]);
    bench.submit(0, C, ed25519(300, &[7]));
    assert_eq!(bench.next(), (0, vec![7]));
    bench.until(|verifier| verifier.stats().device.audited == 299);
    assert_eq!(bench.verifier.stats().device_faults, 0);
    bench.submit(1, C, ed25519(300, &[7]));
    assert_eq!(bench.next(), (1, vec![]), "the lie has left");
    bench.until(|verifier| verifier.stats().device_faults == 1);
    let stats = bench.verifier.stats();
    assert_eq!((stats.device.audit_wrong, stats.device.audit_skipped), (1, 0));
    bench.until_serving();
    bench.end();
}
