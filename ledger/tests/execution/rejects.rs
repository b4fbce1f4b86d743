//! One scenario for each way in which a transaction is refused.

use crate::workload::{block, commit, genesis, key, malformed, ordered};
use bytes::Bytes;
use ledger::{Ledger, LedgerOptions, MemoryState, OrderedTransaction, Undecodable};
use std::num::NonZeroU16;
use std::sync::Arc;
use types::*;

const TIME: u64 = 1_000_100;

struct Scene {
    chain: ChainId,
    ledger: Ledger,
    height: u64,
}

impl Scene {
    fn new(balances: &[u128], parameters: Parameters) -> Self {
        let allocation = |(seed, balance): (usize, &u128)| Allocation {
            address: key(seed as u32).public_key().address(),
            balance: Amount(*balance),
        };
        let genesis = genesis(balances.iter().enumerate().map(allocation).collect(), parameters);
        let state = Arc::new(MemoryState::default());
        let (ledger, start) =
            Ledger::genesis(&genesis, NonZeroU16::new(2).unwrap(), state.clone(), LedgerOptions::default()).unwrap();
        state.apply(&start.changes);
        Self { chain: genesis.chain_id(), ledger, height: 0 }
    }

    fn transfer(&self, from: u32, to: u32, amount: u128, valid_until: u64, nonce: u64) -> Transaction {
        let to = key(to).public_key().address();
        let body = TransactionBody::Transfer { to, amount: Amount(amount), memo: Bytes::new() };
        Transaction::sign(&self.chain, &key(from), valid_until, nonce, body).unwrap()
    }

    fn run(&mut self, time: u64, transactions: Vec<OrderedTransaction>) -> Vec<Outcome> {
        self.height += 1;
        let executed = self.ledger.execute(commit(self.height, time, transactions)).unwrap();
        executed.receipts.iter().map(|receipt| receipt.outcome).collect()
    }
}

fn rejected(reject: Reject) -> Vec<Outcome> {
    vec![Outcome::Rejected(reject)]
}

#[test]
fn bytes_that_are_no_transaction_stand_in_the_receipts_under_their_sha256() {
    let mut scene = Scene::new(&[100], Parameters::default());
    let executed = scene.ledger.execute(commit(1, TIME, vec![malformed(5), malformed(5)])).unwrap();
    let expected = Receipt {
        transaction: TransactionId(Digest::sha256(&5u64.to_le_bytes())),
        outcome: Outcome::Rejected(Reject::Malformed),
    };
    assert_eq!(executed.receipts, [expected; 2]);
    assert_eq!(executed.live.added, None);
    assert_eq!((executed.faulty.len(), executed.faulty[0].reject), (1, Reject::Malformed));
}

#[test]
fn a_transaction_of_another_ledger_is_its_authors_fault() {
    let mut scene = Scene::new(&[100], Parameters::default());
    let other = ChainId(Digest::sha256(b"another ledger"));
    let body = TransactionBody::Certify { document: Digest::sha256(b"d"), memo: Bytes::new() };
    let foreign = Transaction::sign(&other, &key(0), TIME, 0, body).unwrap();
    let error = Transaction::parse(&scene.chain, foreign.raw().clone()).unwrap_err();
    let transaction = Err(Undecodable::new(foreign.raw(), error));
    let entry = OrderedTransaction { transaction, signature_valid: false, block: block(3), index: 8 };
    let executed = scene.ledger.execute(commit(1, TIME, vec![entry])).unwrap();
    assert_eq!(executed.receipts[0].outcome, Outcome::Rejected(Reject::WrongChain));
    assert_eq!((executed.faulty[0].author(), executed.faulty[0].index), (AuthorityIndex(3), 8));
}

#[test]
fn a_transaction_over_the_size_limit_is_refused() {
    let mut scene = Scene::new(&[100], Parameters { transaction_bytes_max: 256, ..Parameters::default() });
    let sized = |scene: &Scene, size: usize| {
        let memo = vec![0; size - Transaction::transfer_overhead(AlgId::Ed25519)].into();
        let body = TransactionBody::Transfer { to: key(1).public_key().address(), amount: Amount(1), memo };
        Transaction::sign(&scene.chain, &key(0), TIME, 0, body).unwrap()
    };
    let (fits, over) = (sized(&scene, 256), sized(&scene, 257));
    assert_eq!((fits.raw().len(), over.raw().len()), (256, 257));
    let outcomes = scene.run(TIME, vec![ordered(over), ordered(fits)]);
    assert_eq!(outcomes, [Outcome::Rejected(Reject::TooLarge), Outcome::Applied]);
}

#[test]
fn the_algorithms_that_genesis_names_are_executed_and_no_others() {
    let keys: Vec<_> = AlgId::signing().map(|alg| SecretKey::from_seed(alg, [9; 32]).unwrap()).collect();
    let accounts =
        keys.iter().map(|key| Allocation { address: key.public_key().address(), balance: Amount(10) }).collect();
    let base = genesis(accounts, Parameters::default());
    let names = |algs: &[AlgId]| algs.iter().map(|alg| alg.name().to_owned()).collect();
    let all: Vec<_> = AlgId::signing().collect();
    let alone = all.iter().map(|alg| vec![*alg]);
    for allowed in alone.chain([all.clone(), vec![AlgId::Sm2Sm3, AlgId::EcdsaP256]]) {
        let genesis = Genesis { signature_algorithms: names(&allowed), ..base.clone() };
        let state = Arc::new(MemoryState::default());
        let (mut ledger, start) =
            Ledger::genesis(&genesis, NonZeroU16::MIN, state.clone(), LedgerOptions::default()).unwrap();
        state.apply(&start.changes);
        let signed = keys.iter().map(|key| {
            let body =
                TransactionBody::Transfer { to: Address::from_bytes([1; 32]), amount: Amount(1), memo: Bytes::new() };
            Transaction::sign(&genesis.chain_id(), key, TIME, 0, body).unwrap()
        });
        let signed: Vec<_> = signed.collect();
        let screened = |ledger: &Ledger| -> Vec<bool> {
            let answers = signed.iter().map(|signed| ledger.screen().check(signed, TimestampMs(TIME)));
            answers
                .map(|answer| answer.inspect_err(|why| assert_eq!(*why, Reject::AlgorithmNotAllowed)).is_ok())
                .collect()
        };
        let expected: Vec<_> = all.iter().map(|alg| allowed.contains(alg)).collect();
        assert_eq!(screened(&ledger), expected, "{allowed:?}");
        let executed = ledger.execute(commit(1, TIME, signed.iter().cloned().map(ordered).collect())).unwrap();
        let outcome = |allowed| if allowed { Outcome::Applied } else { Outcome::Rejected(Reject::AlgorithmNotAllowed) };
        let expected: Vec<_> = expected.into_iter().map(outcome).collect();
        let outcomes: Vec<_> = executed.receipts.iter().map(|receipt| receipt.outcome).collect();
        assert_eq!(outcomes, expected, "{allowed:?}");
    }
}

#[test]
fn a_genesis_without_algorithms_starts_no_ledger() {
    let none = Genesis { signature_algorithms: Vec::new(), ..genesis(vec![], Parameters::default()) };
    let state = Arc::new(MemoryState::default());
    let started = Ledger::genesis(&none, NonZeroU16::MIN, state, LedgerOptions::default());
    assert!(matches!(started, Err(GenesisError::NoAlgorithm)));
}

#[test]
fn the_window_is_closed_at_both_ends() {
    let mut scene = Scene::new(&[100], Parameters { validity_window_ms: 1_000, ..Parameters::default() });
    let at = |scene: &Scene, valid_until| ordered(scene.transfer(0, 1, 1, valid_until, 0));
    let entries = [TIME - 1, TIME, TIME + 1_000, TIME + 1_001].map(|valid_until| at(&scene, valid_until));
    let expected = [
        Outcome::Rejected(Reject::Expired),
        Outcome::Applied,
        Outcome::Applied,
        Outcome::Rejected(Reject::ValidUntilTooFar),
    ];
    assert_eq!(scene.run(TIME, entries.to_vec()), expected);
}

#[test]
fn an_id_is_taken_once_by_the_first_validly_signed_entry() {
    let mut scene = Scene::new(&[100], Parameters::default());
    let transfer = ordered(scene.transfer(0, 1, 1, TIME + 10, 0));
    let unsigned = OrderedTransaction { signature_valid: false, ..transfer.clone() };
    let outcomes = scene.run(TIME, vec![unsigned, transfer.clone(), transfer.clone()]);
    let expected = [Outcome::Rejected(Reject::BadSignature), Outcome::Applied, Outcome::Rejected(Reject::Duplicate)];
    assert_eq!(outcomes, expected);
    assert_eq!(scene.run(TIME + 10, vec![transfer.clone()]), rejected(Reject::Duplicate));
    assert_eq!(scene.ledger.screen().live_ids(), 1);
    assert_eq!(scene.run(TIME + 11, vec![transfer]), rejected(Reject::Expired));
    assert_eq!(scene.ledger.screen().live_ids(), 0);
}

#[test]
fn a_transaction_that_was_refused_for_its_effect_has_used_up_its_id() {
    let mut scene = Scene::new(&[100], Parameters::default());
    let too_much = ordered(scene.transfer(1, 0, 50, TIME + 10, 0));
    assert_eq!(scene.run(TIME, vec![too_much.clone()]), rejected(Reject::UnknownSender));
    let fund = ordered(scene.transfer(0, 1, 50, TIME + 10, 0));
    let expected = [Outcome::Applied, Outcome::Rejected(Reject::Duplicate)];
    assert_eq!(scene.run(TIME, vec![fund, too_much]), expected);
}

#[test]
fn ids_over_the_limit_are_refused_until_others_run_out() {
    let mut scene = Scene::new(&[100], Parameters { live_ids_max: 2, ..Parameters::default() });
    let entry = |scene: &Scene, nonce, valid_until| ordered(scene.transfer(0, 1, 1, valid_until, nonce));
    let first: Vec<_> = (0..3).map(|nonce| entry(&scene, nonce, TIME + 10)).collect();
    let third = first[2].clone();
    let expected = [Outcome::Applied, Outcome::Applied, Outcome::Rejected(Reject::TooManyLiveIds)];
    assert_eq!(scene.run(TIME, first), expected);
    let fresh = scene.transfer(0, 1, 1, TIME + 20, 9);
    assert_eq!(scene.ledger.screen().check(&fresh, TimestampMs(TIME)), Err(Reject::TooManyLiveIds));
    assert_eq!(scene.run(TIME + 10, vec![third]), rejected(Reject::TooManyLiveIds));
    assert_eq!(scene.run(TIME + 11, vec![ordered(fresh)]), [Outcome::Applied]);
}

#[test]
fn transfers_that_cannot_be_paid_received_or_meant_change_nothing() {
    // Genesis checks that the supply fits; this one is not checked, so that the overflow can be reached at all.
    let mut scene = Scene::new(&[100, u128::MAX], Parameters::default());
    let before = scene.ledger.tip().1.state_digest;
    let cases = [
        (scene.transfer(0, 2, 101, TIME, 0), Reject::Overdraft),
        (scene.transfer(0, 1, 1, TIME, 1), Reject::BalanceOverflow),
        (scene.transfer(0, 0, 1, TIME, 2), Reject::SelfTransfer),
        (scene.transfer(0, 2, 0, TIME, 3), Reject::ZeroAmount),
        (scene.transfer(3, 0, 1, TIME, 4), Reject::UnknownSender),
    ];
    for (transaction, reject) in cases {
        assert_eq!(scene.run(TIME, vec![ordered(transaction)]), rejected(reject));
    }
    // All ids have run out one moment later, and then nothing is left of it all in the state.
    scene.run(TIME + 1, vec![]);
    assert_eq!(scene.ledger.tip().1.state_digest, before);
}

#[test]
fn an_unknown_destination_is_created_and_can_pay_in_the_same_commit() {
    let mut scene = Scene::new(&[100], Parameters::default());
    let entries = vec![ordered(scene.transfer(0, 1, 100, TIME, 0)), ordered(scene.transfer(1, 2, 40, TIME, 0))];
    let executed = scene.ledger.execute(commit(1, TIME, entries)).unwrap();
    let mut balances: Vec<_> = executed
        .changes
        .iter()
        .filter_map(|(_, value)| value.as_ref()?.account())
        .map(|account| account.balance.0)
        .collect();
    balances.sort_unstable();
    assert_eq!(balances, [0, 40, 60]);
}

#[test]
fn a_certificate_needs_an_account_and_names_its_document() {
    let mut scene = Scene::new(&[0], Parameters::default());
    let document = Digest::sha256(b"a deed");
    let certify = |scene: &Scene, seed| {
        let body = TransactionBody::Certify { document, memo: Bytes::new() };
        Transaction::sign(&scene.chain, &key(seed), TIME, 0, body).unwrap()
    };
    let (known, unknown) = (certify(&scene, 0), certify(&scene, 1));
    let executed = scene.ledger.execute(commit(1, TIME, vec![ordered(unknown), ordered(known.clone())])).unwrap();
    let outcomes: Vec<_> = executed.receipts.iter().map(|receipt| receipt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Rejected(Reject::UnknownSender), Outcome::Applied]);
    assert_eq!(executed.certified, [(document, known.id())]);
    assert_eq!(executed.changes, []);
}

#[test]
fn the_screen_says_what_execution_would_say() {
    let mut scene = Scene::new(&[100], Parameters { validity_window_ms: 1_000, ..Parameters::default() });
    let screen = scene.ledger.screen();
    let now = TimestampMs(TIME);
    let good = scene.transfer(0, 1, 1, TIME + 10, 0);
    assert_eq!(screen.check(&good, now), Ok(()));
    assert_eq!(screen.check(&scene.transfer(0, 1, 1, TIME - 1, 0), now), Err(Reject::Expired));
    assert_eq!(screen.check(&scene.transfer(0, 1, 1, TIME + 1_001, 0), now), Err(Reject::ValidUntilTooFar));
    assert_eq!(screen.check(&scene.transfer(0, 1, 0, TIME, 0), now), Err(Reject::ZeroAmount));
    assert_eq!(screen.check(&scene.transfer(0, 0, 1, TIME, 0), now), Err(Reject::SelfTransfer));
    assert!(!screen.is_live(&good.id()));
    scene.run(TIME, vec![ordered(good.clone())]);
    assert_eq!(screen.check(&good, now), Err(Reject::Duplicate));
}
