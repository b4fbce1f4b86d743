//! A device that does wrong: it is found out, every job is answered once and with the truth, it is counted, and the device
//! comes back when it behaves.

use crate::scripted_device::{Act, OWN, Script, Scripted, Shared, config};
use crate::service::{Answer, job};
use accel::{
    DeviceConfig, DeviceError, DeviceFault, DeviceState, FAULT_KINDS, Item, Origin, TrustConfig, Verifier,
    VerifierConfig,
};
use proptest::prelude::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use types::{AlgId, SecretKey};

const PATIENCE: Duration = Duration::from_secs(60);

/// The test's own items: bytes that begin with [`OWN`]; those at `bad` are signed over something else.
pub fn own(alg: AlgId, count: u32, bad: &[u32]) -> Vec<Item> {
    let secret = SecretKey::from_seed(alg, [6; 32]).unwrap();
    let text = |number: u32| [OWN, &number.to_le_bytes()].concat();
    (0..count)
        .map(|i| {
            let signed = text(if bad.contains(&i) { i + 1000 } else { i });
            let message = accel::Message::Bytes(text(i).into());
            Item { key: secret.public_key(), message, signature: secret.sign_bytes(&signed) }
        })
        .collect()
}

pub fn ed25519(count: u32, bad: &[u32]) -> Vec<Item> {
    own(AlgId::Ed25519, count, bad)
}

pub struct Bench {
    pub verifier: Verifier,
    script: Shared,
    answers: Sender<Answer>,
    answered: Receiver<Answer>,
}

impl Bench {
    pub fn new(config: VerifierConfig, script: Script) -> Self {
        Self::with(config, script, |device| device)
    }

    fn with(config: VerifierConfig, script: Script, make: impl FnOnce(Scripted) -> Scripted + Send + 'static) -> Self {
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        let open = move || Ok(Box::new(make(Scripted::new(&shared))) as _);
        let verifier = Verifier::start_with_device(config, open).unwrap();
        let (answers, answered) = channel();
        Self { verifier, script, answers, answered }
    }

    pub fn serving(config: VerifierConfig, acts: &[Act]) -> Self {
        let bench = Self::new(config, Script { acts: acts.iter().copied().collect(), ..Script::default() });
        bench.until_serving();
        bench
    }

    /// Until it serves, again.
    pub fn until_serving(&self) {
        self.until(|verifier| verifier.await_device(PATIENCE) == DeviceState::Serving);
    }

    pub fn until(&self, holds: impl Fn(&Verifier) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.verifier) {
            assert!(Instant::now() < end, "{:?}", self.verifier.stats());
            std::thread::yield_now();
        }
    }

    pub fn submit(&self, id: u32, origin: Origin, items: Vec<Item>) {
        self.verifier.submit(job(id, origin, items, &self.answers)).unwrap();
    }

    /// The invalid ones of the next answer.
    pub fn next(&self) -> (u32, Vec<usize>) {
        let (id, verdicts) = self.answered.recv_timeout(PATIENCE).expect("an answer");
        (id, verdicts.expect("verdicts").invalid().collect())
    }

    pub fn faults(&self, kind: &str) -> u64 {
        self.verifier.stats().device.faults[FAULT_KINDS.iter().position(|known| *known == kind).unwrap()]
    }

    /// Stops, and sees that nothing is answered a second time.
    pub fn end(self) {
        drop(self.verifier);
        drop(self.answers);
        assert_eq!(self.answered.iter().count(), 0, "an answer came twice");
    }
}

pub const A: Origin = Origin::Author(1);
pub const C: Origin = Origin::Client(1);

#[test]
fn each_fault_is_healed_by_the_cpu_counted_and_forgiven() {
    for (act, kind) in [
        (Act::AcceptAll, "wrong_answer"),
        (Act::RejectAll, "wrong_answer"),
        (Act::RejectOwn, "wrong_answer"),
        (Act::TooFew, "wrong_answer"),
        (Act::TooMany, "wrong_answer"),
        (Act::UnknownTicket, "wrong_answer"),
        (Act::LostOnSubmit, "lost"),
        (Act::LostInWait, "lost"),
        (Act::NeverAnswers, "timed_out"),
        (Act::OutOfMemory, "out_of_memory"),
        (Act::PanicsOnSubmit, "panicked"),
        (Act::PanicsInWait, "panicked"),
    ] {
        let bench = Bench::serving(config(), &[Act::Honest, act]);
        bench.submit(0, A, ed25519(9, &[]));
        assert_eq!(bench.next(), (0, vec![]), "{act:?}");
        assert_eq!(bench.verifier.stats().device.engine.items, 9, "the device did it");
        bench.submit(1, A, ed25519(9, &[4]));
        assert_eq!(bench.next(), (1, vec![4]), "{act:?}");
        let stats = bench.verifier.stats();
        assert_eq!((stats.device.engine.items, stats.cpu.items), (9, 9), "{act:?}: the CPU did it");
        assert_eq!((stats.device_faults, stats.device.given_back_items), (1, 9), "{act:?}");
        assert_eq!(bench.faults(kind), 1, "{act:?}");
        bench.until_serving();
        // Another author: the first is a suspect now.
        bench.submit(2, Origin::Author(2), ed25519(5, &[]));
        assert_eq!(bench.next(), (2, vec![]), "{act:?}");
        let stats = bench.verifier.stats();
        assert_eq!((stats.device.engine.items, stats.device_faults), (14, 1), "{act:?}: it is trusted again");
        assert_eq!(bench.script.lock().unwrap().lives, 2, "{act:?}");
        bench.end();
    }
}

#[test]
fn all_that_was_in_flight_is_verified_again() {
    let bench = Bench::serving(config(), &[Act::NeverAnswers, Act::NeverAnswers, Act::LostInWait]);
    for id in 0..3 {
        bench.submit(id, Origin::Author(id as u16), ed25519(40, &[id]));
        bench.until(|_| bench.script.lock().unwrap().batches.len() > id as usize);
    }
    let mut answers: Vec<_> = (0..3).map(|_| bench.next()).collect();
    answers.sort();
    assert_eq!(answers, [(0, vec![0]), (1, vec![1]), (2, vec![2])]);
    let stats = bench.verifier.stats();
    assert_eq!((stats.device.given_back_items, stats.device_faults, stats.cpu.items), (120, 1, 120));
    bench.end();
}

#[test]
fn answers_out_of_order_reach_their_own_jobs() {
    let bench = Bench::serving(config(), &[Act::Late, Act::Honest, Act::Late]);
    for id in 0..3 {
        bench.submit(id, Origin::Author(id as u16), ed25519(10 + id, &[id]));
        bench.until(|_| bench.script.lock().unwrap().batches.len() > id as usize);
    }
    let mut answers: Vec<_> = (0..3).map(|_| bench.next()).collect();
    answers.sort();
    assert_eq!(answers, [(0, vec![0]), (1, vec![1]), (2, vec![2])]);
    assert_eq!(bench.verifier.stats().device.engine.items, 33);
    bench.end();
}

#[test]
fn a_device_that_hangs_is_left_behind() {
    let (release, released) = channel();
    let script = Script { acts: [Act::Hangs].into(), ..Script::default() };
    let bench = Bench::with(config(), script, move |device| device.released_by(released));
    bench.until_serving();
    bench.submit(0, A, ed25519(9, &[4]));
    assert_eq!(bench.next(), (0, vec![4]), "the CPU's worker takes it away");
    assert_eq!(bench.verifier.stats().device.state, DeviceState::Quarantined);
    bench.submit(1, A, ed25519(3, &[]));
    assert_eq!(bench.next(), (1, vec![]));
    // When it comes back at last, its answer is nobody's, and it has to be tested again.
    drop(release);
    bench.until(|verifier| verifier.stats().device.state == DeviceState::Serving);
    assert_eq!(bench.faults("timed_out"), 1);
    assert_eq!(bench.script.lock().unwrap().lives, 2);
    bench.end();
}

#[test]
fn stopping_while_the_device_hangs_answers_every_job_once() {
    let (release, released) = channel();
    let script = Script { acts: [Act::Hangs].into(), ..Script::default() };
    // Nobody rescues within this test: the end of the service itself has to.
    let device = DeviceConfig { timeout_ms: 600_000, ..config().device };
    let bench = Bench::with(VerifierConfig { device, ..config() }, script, move |device| device.released_by(released));
    bench.until_serving();
    bench.submit(0, A, ed25519(9, &[4]));
    bench.until(|_| !bench.script.lock().unwrap().batches.is_empty());
    let Bench { verifier, answers, answered, .. } = bench;
    drop(verifier);
    assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), (0, Err(DeviceFault::Stopped)));
    drop(release);
    drop(answers);
    assert_eq!(answered.iter().count(), 0);
}

#[test]
fn stopping_while_batches_are_in_flight_answers_every_job_once() {
    let bench = Bench::serving(config(), &[Act::NeverAnswers; 3]);
    for id in 0..6 {
        bench.submit(id, Origin::Author(id as u16), ed25519(4, &[]));
    }
    bench.until(|_| !bench.script.lock().unwrap().batches.is_empty());
    let Bench { verifier, answers, answered, .. } = bench;
    drop(verifier);
    drop(answers);
    let mut ids: Vec<u32> = answered.iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn without_a_device_the_cpu_serves() {
    type Opening = fn() -> Result<Box<dyn accel::Device>, DeviceError>;
    let openings: [Opening; 2] = [|| Err(DeviceError::new("no adapter")), || panic!("injected")];
    for open in openings {
        let verifier = Verifier::start_with_device(config(), open).unwrap();
        assert_eq!(verifier.await_device(PATIENCE), DeviceState::Absent);
        let (answers, answered) = channel();
        verifier.submit(job(0, A, ed25519(9, &[4]), &answers)).unwrap();
        assert_eq!(answered.recv().unwrap().1.unwrap().invalid().collect::<Vec<_>>(), [4]);
        assert_eq!(verifier.stats().cpu.items, 9);
    }
}

#[test]
fn the_cpu_serves_while_the_device_is_opened() {
    let (open, opened) = channel::<()>();
    let script = Shared::default();
    let shared = Arc::clone(&script);
    let opener = move || {
        opened.recv().unwrap();
        Ok(Box::new(Scripted::new(&shared)) as _)
    };
    let verifier = Verifier::start_with_device(config(), opener).unwrap();
    assert_eq!(verifier.await_device(Duration::ZERO), DeviceState::Opening);
    let (answers, answered) = channel();
    verifier.submit(job(0, A, ed25519(9, &[4]), &answers)).unwrap();
    assert_eq!(answered.recv().unwrap().1.unwrap().valid_count(), 8);
    open.send(()).unwrap();
    assert_eq!(verifier.await_device(PATIENCE), DeviceState::Serving);
    verifier.submit(job(1, C, ed25519(7, &[]), &answers)).unwrap();
    assert!(answered.recv().unwrap().1.unwrap().all_valid());
    let stats = verifier.stats();
    assert_eq!((stats.cpu.items, stats.device.engine.items), (9, 7));
    assert_eq!(stats.device.engine.name, "scripted");
}

#[test]
fn a_device_serves_nobody_before_it_knows_the_known_answers() {
    let self_tests =
        [Act::RejectAll, Act::AcceptAll, Act::TooFew, Act::LostOnSubmit, Act::PanicsInWait, Act::UnknownTicket];
    let count = self_tests.len() as u64;
    let script = Script { self_tests: self_tests.into(), resets_fail: 2, ..Script::default() };
    let bench = Bench::new(config(), script);
    bench.submit(0, A, ed25519(9, &[4]));
    assert_eq!(bench.next(), (0, vec![4]));
    bench.until_serving();
    let stats = bench.verifier.stats();
    assert_eq!((stats.device_faults, stats.device.trust.self_tests), (count + 2, count + 1));
    assert_eq!(bench.faults("wrong_answer"), 4);
    assert!(bench.script.lock().unwrap().batches.is_empty());
    bench.submit(1, C, ed25519(5, &[1]));
    assert_eq!(bench.next(), (1, vec![1]));
    assert_eq!(bench.verifier.stats().device.engine.items, 5);
    bench.end();
}

#[test]
fn what_the_device_does_not_take_never_reaches_it() {
    let bench = Bench::serving(config(), &[]);
    bench.submit(0, A, own(AlgId::Sm2Sm3, 4, &[1]));
    assert_eq!(bench.next(), (0, vec![1]));
    let mixed = [ed25519(3, &[]), own(AlgId::EcdsaP256, 2, &[0]), ed25519(3, &[2])].concat();
    bench.submit(1, Origin::Author(2), mixed);
    assert_eq!(bench.next(), (1, vec![3, 7]));
    bench.submit(2, Origin::Author(3), ed25519(3, &[]));
    assert_eq!(bench.next(), (2, vec![]));
    let stats = bench.verifier.stats();
    assert_eq!((stats.cpu.items, stats.device.engine.items, stats.device_faults), (12, 3, 0));
    bench.end();
}

#[test]
fn a_device_without_memory_gets_smaller_batches() {
    let bench = Bench::serving(config(), &[Act::OutOfMemory]);
    let items = ed25519(1000, &[4]);
    bench.submit(0, A, items.clone());
    assert_eq!(bench.next(), (0, vec![4]));
    bench.until_serving();
    // Held up, so that many jobs wait together.
    bench.script.lock().unwrap().acts = [Act::Late; 3].into();
    for id in 1..=20 {
        bench.submit(id, Origin::Client(id.into()), items[..100].to_vec());
    }
    (0..20).for_each(|_| assert_eq!(bench.next().1, [4]));
    let largest = bench.script.lock().unwrap().batches[1..].iter().copied().max().unwrap();
    assert!(largest <= 502 + 4, "{largest}: half of 1,004, and the canaries");
    bench.end();
}

#[test]
fn a_measured_device_has_figures_and_every_job_its_truth() {
    let device = DeviceConfig { placement: accel::Placement::Measured, timeout_ms: 10_000, ..config().device };
    let bench = Bench::serving(VerifierConfig { device, ..config() }, &[]);
    let costs = bench.verifier.stats().costs;
    assert_eq!(costs.len(), 1);
    assert!(costs[0].cpu_item_ps > 0 && costs[0].device_item_ps > 0 && costs[0].alg == AlgId::Ed25519);
    let items = ed25519(400, &[7]);
    for id in 0..40 {
        bench.submit(id, Origin::Client(id.into()), items[..10 * (1 + id as usize % 40)].to_vec());
    }
    (0..40).for_each(|_| assert_eq!(bench.next().1, [7]));
    let stats = bench.verifier.stats();
    assert_eq!(stats.items, stats.cpu.items + stats.device.engine.items);
    bench.end();
}

fn any_act() -> impl Strategy<Value = Act> {
    prop::sample::select(vec![
        Act::Honest,
        Act::Honest,
        Act::AcceptAll,
        Act::RejectAll,
        Act::AcceptOwn,
        Act::RejectOwn,
        Act::LostOnSubmit,
        Act::LostInWait,
        Act::TooFew,
        Act::TooMany,
        Act::OutOfMemory,
        Act::PanicsOnSubmit,
        Act::PanicsInWait,
        Act::Late,
        Act::UnknownTicket,
        Act::NeverAnswers,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the device does, every job gets the truth, once. Every accept is sampled, and the jobs are authors', whose
    /// rejects are confirmed: so no lie may leave.
    #[test]
    fn any_script_of_faults_leaves_every_job_with_the_truth(
        acts in prop::collection::vec(any_act(), 0..12),
        self_tests in prop::collection::vec(any_act(), 0..3),
        resets_fail in 0..3_u32,
        jobs in prop::collection::vec((0..4_u16, 1..30_u32, 0..40_u32, any::<bool>()), 1..25),
    ) {
        // A self-test that is never answered takes its whole patience: short here.
        let trust = TrustConfig { sample_one_in: 1, ..config().device.trust };
        let device = DeviceConfig { trust, timeout_ms: 5, self_test_timeout_ms: 100, ..config().device };
        let script = Script { acts: acts.into(), self_tests: self_tests.into(), resets_fail, ..Script::default() };
        let bench = Bench::new(VerifierConfig { device, ..config() }, script);
        let mut expected = Vec::new();
        for (id, (author, count, bad, wait)) in jobs.into_iter().enumerate() {
            if wait {
                bench.verifier.await_device(PATIENCE);
            }
            bench.submit(id as u32, Origin::Author(author), ed25519(count, &[bad]));
            expected.push((id as u32, (0..count as usize).filter(|i| *i == bad as usize).collect::<Vec<_>>()));
        }
        let mut answers: Vec<_> = expected.iter().map(|_| bench.next()).collect();
        answers.sort();
        prop_assert_eq!(answers, expected);
        bench.end();
    }
}
