//! What a review finds, with answers made up by hand.

use super::*;
use std::sync::Arc;
use types::{Digest, SecretKey, SigningMessage};

fn items(count: u32, bad: &[u32]) -> Vec<Item> {
    let secret = SecretKey::ed25519_from_seed([8; 32]);
    let message = |number: u32| SigningMessage::transaction(&Digest::sha256(&number.to_le_bytes()));
    let item = |i| {
        let signed = message(if bad.contains(&i) { i + 100_000 } else { i });
        Item { key: secret.public_key(), message: message(i).into(), signature: secret.sign(&signed) }
    };
    (0..count).map(item).collect()
}

fn trust(config: TrustConfig) -> Trust {
    Trust::new(TrustConfig { seed: Some([9; 32]), ..config }).expect("a seed")
}

fn truth(laden: &Laden) -> Verdicts {
    Verdicts::from_bools(laden.batch().items().iter().map(Item::verify_alone))
}

/// The truth, but for the item with this number.
fn lie_about(laden: &Laden, number: usize) -> Verdicts {
    let signature = &laden.item(number).signature;
    let lie = |item: &Item| item.verify_alone() ^ (item.signature == *signature);
    Verdicts::from_bools(laden.batch().items().iter().map(lie))
}

fn parts(parts: &[(Origin, Range<usize>)]) -> Vec<Part> {
    parts.iter().map(|(origin, range)| Part { origin: *origin, range: range.clone() }).collect()
}

const AUTHOR: Origin = Origin::Author(1);
const CLIENT: Origin = Origin::Client(1);

#[test]
fn the_truth_passes_without_its_canaries() {
    let mut trust = trust(TrustConfig::default());
    let laden = trust.lade(items(40, &[3, 20]));
    let parts = parts(&[(AUTHOR, 0..10), (CLIENT, 10..40)]);
    let reviewed = trust.review(&laden, &truth(&laden), &parts, Instant::now()).expect("the truth");
    assert_eq!(reviewed.verdicts.invalid().collect::<Vec<_>>(), [3, 20]);
    assert!(reviewed.deferred.is_empty());
    let counts = trust.counts();
    assert_eq!((counts.canaries, counts.canaries_wrong), (4, 0));
    assert_eq!((counts.confirmations, counts.confirmations_wrong), (1, 0));
}

#[test]
fn one_answer_for_all_is_caught_by_the_canaries() {
    let mut trust = trust(TrustConfig { sample_one_in: u32::MAX, confirmations_per_s: 0, ..TrustConfig::default() });
    let laden = trust.lade(items(40, &[]));
    let parts = parts(&[(AUTHOR, 0..40)]);
    for all in [true, false] {
        let verdicts = Verdicts::from_bools((0..laden.batch().len()).map(|_| all));
        let fault = trust.review(&laden, &verdicts, &parts, Instant::now()).expect_err("canaries");
        assert_eq!(fault, DeviceFault::WrongAnswer);
    }
    assert_eq!(trust.counts().canaries_wrong, 4);
    let short = Verdicts::all_invalid(laden.len());
    assert!(trust.review(&laden, &short, &parts, Instant::now()).is_err(), "not as many as there are items");
}

#[test]
fn a_wrong_accept_is_found_when_it_is_sampled() {
    let mut trust = trust(TrustConfig { sample_one_in: 1, ..TrustConfig::default() });
    let laden = trust.lade(items(40, &[7]));
    let parts = parts(&[(CLIENT, 0..40)]);
    let lie = lie_about(&laden, 7);
    assert_eq!(trust.review(&laden, &lie, &parts, Instant::now()).err(), Some(DeviceFault::WrongAnswer));
    assert_eq!((trust.counts().samples, trust.counts().samples_wrong), (40, 1));
}

#[test]
fn a_wrong_reject_of_an_author_never_passes_and_one_of_a_client_may() {
    let mut trust = trust(TrustConfig { client_checks_per_s: 0, ..TrustConfig::default() });
    let laden = trust.lade(items(40, &[]));
    let lie = lie_about(&laden, 7);
    let of_author = parts(&[(CLIENT, 0..7), (AUTHOR, 7..8), (CLIENT, 8..40)]);
    assert!(trust.review(&laden, &lie, &of_author, Instant::now()).is_err());
    assert_eq!(trust.counts().confirmations_wrong, 1);
    assert!(trust.review(&laden, &lie, &parts(&[(CLIENT, 0..40)]), Instant::now()).is_ok());
}

#[test]
fn confirmations_beyond_the_budget_defer_the_whole_job_and_no_other() {
    let mut trust = trust(TrustConfig { confirmations_per_s: 3, ..TrustConfig::default() });
    let bad: Vec<u32> = (10..16).collect();
    let laden = trust.lade(items(40, &bad));
    let parts = parts(&[(AUTHOR, 0..12), (Origin::Author(2), 12..16), (Origin::Author(3), 16..40)]);
    let reviewed = trust.review(&laden, &truth(&laden), &parts, Instant::now()).expect("the truth");
    assert_eq!(reviewed.deferred, [1], "two of three tokens went to the first job");
    assert_eq!((trust.counts().confirmations, trust.counts().deferred_jobs), (2, 1));
}

#[test]
fn a_flood_of_bad_signatures_of_clients_buys_no_more_than_the_budget() {
    let mut trust = trust(TrustConfig { client_checks_per_s: 5, ..TrustConfig::default() });
    let bad: Vec<u32> = (0..1000).collect();
    let now = Instant::now();
    for _ in 0..4 {
        let laden = trust.lade(items(1000, &bad));
        let reviewed = trust.review(&laden, &truth(&laden), &parts(&[(CLIENT, 0..1000)]), now).expect("the truth");
        assert_eq!(reviewed.verdicts.valid_count(), 0);
    }
    assert_eq!((trust.counts().client_checks, trust.counts().confirmations), (5, 0));
}

#[test]
fn the_audits_backlog_is_bounded_and_holds_accepts_alone() {
    let mut trust = trust(TrustConfig::default());
    let laden = Arc::new(trust.lade(items(40, &[3])));
    let verdicts = laden.strip(&truth(&laden));
    let mut backlog = AuditBacklog::new(50);
    assert_eq!(backlog.push(Arc::clone(&laden), &verdicts), 0);
    assert_eq!(backlog.push(laden, &verdicts), 28, "39 and 11");
    assert_eq!(backlog.items(), 50);
    let mut seen = 0;
    while let Some(audit) = backlog.take(16) {
        assert!(audit.numbers.len() <= 16 && !audit.numbers.contains(&3));
        seen += audit.numbers.len();
    }
    assert_eq!((seen, backlog.items()), (50, 0));
}
