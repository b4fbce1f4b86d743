//! Who takes what, with a clock cranked by hand. The CPU takes 10 µs an item, the device 1 ms and 0.1 µs an item.

use super::*;
use crate::closing::{Origin, Priority};

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);
const A: Origin = Origin::Author(1);
const C: Origin = Origin::Client(1);

struct Crank {
    state: State,
    now: Instant,
}

impl Crank {
    fn new() -> Self {
        let config = VerifierConfig { linger_us: 500, queue_items_max: 1_000_000, ..VerifierConfig::default() };
        let mut state = State::new(&config);
        let cpu = |items: u32| 10 * US * items + US;
        let device = |items: u32| MS + items * US / 10;
        state.cost.calibrate(Side::Cpu, AlgId::Ed25519, (64, cpu(64)), (1024, cpu(1024)));
        state.cost.calibrate(Side::Device, AlgId::Ed25519, (64, device(64)), (16_384, device(16_384)));
        state.device.state = DeviceState::Serving;
        state.device.supported = vec![AlgId::Ed25519];
        Self { state, now: Instant::now() + Duration::from_secs(100) }
    }

    fn push(&mut self, origin: Origin, alg: AlgId, items: usize, due: Duration, suspect: bool) {
        let load = Load::single(alg, items);
        let (priority, deadline) = (Priority::Block, self.now + due);
        let job = Job { origin, priority, deadline, items: Vec::new(), done: Box::new(|_| {}) };
        let device = self.state.device_takes(&load);
        let waiting = Waiting { origin, priority, deadline, items, load, device, suspect, job };
        assert!(self.state.queue.push(self.now, waiting).is_ok());
    }

    fn cpu(&mut self) -> Option<usize> {
        self.state.close_for_cpu(self.now).map(|(closed, _)| load_of(&closed).items())
    }

    fn device(&mut self, idle: bool) -> Option<usize> {
        self.state.close_for_device(self.now, idle, 16_384).map(|closed| load_of(&closed).items())
    }
}

#[test]
fn few_items_are_the_cpus_and_many_the_devices() {
    let mut crank = Crank::new();
    crank.push(A, AlgId::Ed25519, 50, 50 * MS, false);
    crank.now += MS;
    assert_eq!(crank.device(true), None);
    assert_eq!(crank.cpu(), Some(50));
    crank.now += MS;
    crank.push(A, AlgId::Ed25519, 5000, 50 * MS, false);
    assert_eq!(crank.cpu(), None);
    assert_eq!(crank.device(true), Some(5000), "larger than any batch of the CPU");
    assert_eq!(crank.state.queue.items(), 0);
}

#[test]
fn small_lanes_that_together_are_worth_it_form_one_batch_of_the_device() {
    let mut crank = Crank::new();
    for author in 0..20 {
        crank.push(Origin::Author(author), AlgId::Ed25519, 100, 50 * MS, false);
    }
    assert_eq!(crank.device(true), Some(2000), "2,000 items are enough without lingering");
}

#[test]
fn what_the_device_does_not_take_is_the_cpus_however_much_it_is() {
    let mut crank = Crank::new();
    crank.push(A, AlgId::Sm2Sm3, 900, 50 * MS, false);
    crank.push(A, AlgId::Ed25519, 900, 50 * MS, false);
    crank.now += MS;
    assert_eq!(crank.device(true), Some(900));
    assert_eq!(crank.device(true), None);
    assert_eq!(crank.cpu(), Some(900));
}

#[test]
fn an_idle_cpu_steals_what_the_device_would_be_late_with() {
    let mut crank = Crank::new();
    crank.state.device.busy_until = Some(crank.now + 30 * MS);
    crank.push(A, AlgId::Ed25519, 2000, 40 * MS, false);
    assert_eq!(crank.cpu(), None, "the device is done after 31.2 ms");
    crank.push(Origin::Author(2), AlgId::Ed25519, 1000, 20 * MS, false);
    crank.now += MS;
    assert_eq!(crank.cpu(), Some(1000), "10 ms on the CPU, 31 on the device");
    assert_eq!(crank.state.stats.device.stolen_items, 1000);
    // Late on both, but sooner on the device.
    crank.state.device.busy_until = Some(crank.now + 5 * MS);
    crank.push(Origin::Author(2), AlgId::Ed25519, 1000, MS, false);
    crank.now += MS;
    assert_eq!(crank.cpu(), None);
}

#[test]
fn the_device_takes_small_jobs_while_the_cpu_is_busy_for_longer() {
    let mut crank = Crank::new();
    crank.push(A, AlgId::Sm2Sm3, 1000, 50 * MS, false);
    crank.now += MS;
    assert_eq!(crank.cpu(), Some(1000), "100 ms by what is thought of SM2");
    crank.push(A, AlgId::Ed25519, 10, 50 * MS, false);
    crank.now += MS;
    assert_eq!(crank.device(true), Some(10));
}

#[test]
fn a_suspect_clients_flood_is_the_devices_and_a_suspect_authors_the_cpus() {
    let mut crank = Crank::new();
    for _ in 0..30 {
        crank.push(C, AlgId::Ed25519, 1, Duration::ZERO, true);
    }
    assert_eq!(crank.cpu(), None);
    assert_eq!(crank.device(true), Some(30), "all at once, and although it is not worth it");
    crank.state.device.condemned = Some(DeviceFault::Lost);
    crank.push(C, AlgId::Ed25519, 1, Duration::ZERO, true);
    assert_eq!(crank.device(true), None);
    assert_eq!(crank.cpu(), Some(1), "unless there is no device");
}

#[test]
fn a_working_device_waits_for_a_full_batch_only_as_long_as_jobs_linger() {
    let mut crank = Crank::new();
    crank.push(A, AlgId::Ed25519, 3000, 50 * MS, false);
    assert_eq!(crank.device(false), None);
    crank.now += 500 * US;
    assert_eq!(crank.device(false), Some(3000));
    crank.push(A, AlgId::Ed25519, 10_000, 50 * MS, false);
    crank.push(Origin::Author(3), AlgId::Ed25519, 7000, 50 * MS, false);
    assert_eq!(crank.device(false), Some(17_000), "both lanes together are full");
}

#[test]
fn what_was_given_back_goes_to_the_cpu_even_if_the_device_serves_again() {
    let mut crank = Crank::new();
    crank.push(A, AlgId::Ed25519, 5000, 50 * MS, false);
    let closed = crank.state.close_for_device(crank.now, true, 16_384).expect("worth it");
    crank.state.give_back(crank.now, closed.jobs);
    assert_eq!(crank.device(true), None);
    assert_eq!(crank.cpu(), Some(5000));
    assert_eq!(crank.state.stats.device.given_back_items, 5000);
}

#[test]
fn with_placement_device_the_cpu_gets_only_what_the_device_cannot_take() {
    let mut crank = Crank::new();
    crank.state.placement = Placement::Device;
    crank.push(A, AlgId::Ed25519, 1, Duration::ZERO, false);
    crank.push(A, AlgId::EcdsaP256, 1, Duration::ZERO, false);
    assert_eq!((crank.cpu(), crank.cpu(), crank.device(true)), (Some(1), None, Some(1)));
}
