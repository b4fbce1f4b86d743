//! The cost model on a made-up machine: a CPU of 10 µs an item, a device of 1 ms and 0.1 µs an item.

use super::*;

const ALG: AlgId = AlgId::Ed25519;
const US: Duration = Duration::from_micros(1);

fn load(items: usize) -> Load {
    Load::single(ALG, items)
}

fn cpu(items: usize) -> Duration {
    20 * US + items as u32 * 10 * US
}

fn device(items: usize) -> Duration {
    1000 * US + items as u32 * US / 10
}

fn calibrated() -> CostModel {
    let mut model = CostModel::new();
    model.calibrate(Side::Cpu, ALG, (64, cpu(64)), (1024, cpu(1024)));
    model.calibrate(Side::Device, ALG, (64, device(64)), (16_384, device(16_384)));
    model
}

#[test]
fn calibration_finds_both_figures_and_the_break_even() {
    let model = calibrated();
    for items in [1, 64, 1000, 100_000] {
        let close = |found: Duration, true_: Duration| found.abs_diff(true_) <= true_ / 100 + US;
        assert!(close(model.predict(Side::Cpu, &load(items)).expect("always"), cpu(items)));
        assert!(close(model.predict(Side::Device, &load(items)).expect("calibrated"), device(items)));
    }
    let figures = model.figures();
    assert_eq!(figures.len(), 1);
    assert_eq!(figures[0].break_even_items, Some(99), "980 µs are won back at 9.9 µs an item");
}

#[test]
fn the_choice_changes_a_quarter_beyond_the_break_even_and_back_a_quarter_below() {
    let mut model = calibrated();
    let mut choice = |items| model.prefers_device(&load(items), Duration::ZERO);
    assert!(!choice(99) && !choice(115), "not yet by a quarter");
    assert!(choice(130));
    assert!(choice(99) && choice(80), "and it stays");
    assert!(!choice(75));
    assert!(!choice(99));
}

#[test]
fn a_busy_cpu_makes_the_device_worth_it_sooner() {
    let mut model = calibrated();
    assert!(!model.prefers_device(&load(10), Duration::ZERO));
    assert!(model.prefers_device(&load(10), 5000 * US));
}

#[test]
fn an_algorithm_that_the_device_was_not_measured_with_is_never_given_to_it() {
    let mut model = calibrated();
    let mut mixed = load(1_000_000);
    mixed.add(&Load::single(AlgId::Sm2Sm3, 1));
    assert!(!model.prefers_device(&mixed, 1_000_000 * US));
    assert_eq!(model.predict(Side::Device, &mixed), None);
    assert!(CostModel::new().figures().is_empty());
}

#[test]
fn both_figures_follow_what_batches_of_different_sizes_take() {
    let mut model = calibrated();
    // The device becomes three times slower to start and five times slower an item.
    let slower = |items: usize| 3000 * US + items as u32 * US / 2;
    for _ in 0..100 {
        for items in [100, 1000, 50_000] {
            model.observe(Side::Device, &load(items), slower(items));
        }
    }
    for items in [100, 1000, 50_000] {
        let predicted = model.predict(Side::Device, &load(items)).expect("calibrated");
        assert!(predicted.abs_diff(slower(items)) < slower(items) / 20, "{items}: {predicted:?}");
    }
}

#[test]
fn one_outlier_moves_little_and_load_on_the_cpu_moves_the_break_even() {
    let mut model = calibrated();
    model.observe(Side::Cpu, &load(1024), 1_000_000 * US);
    let after = model.predict(Side::Cpu, &load(1024)).expect("always");
    assert!(after < 2 * cpu(1024), "{after:?}");

    let mut model = calibrated();
    assert!(!model.prefers_device(&load(60), Duration::ZERO));
    // Execution takes three quarters of the cores.
    (0..50).for_each(|_| model.observe(Side::Cpu, &load(60), 4 * cpu(60)));
    assert!(model.prefers_device(&load(60), Duration::ZERO));
}

#[test]
fn an_engine_that_was_not_seen_for_long_is_looked_at_again_unless_it_is_hopeless() {
    let mut model = calibrated();
    assert!(model.prefers_device(&load(200), Duration::ZERO));
    (0..STALE_OBSERVATIONS).for_each(|_| model.observe(Side::Device, &load(200), device(200)));
    assert!(!model.prefers_device(&load(200), Duration::ZERO), "one for the CPU");
    assert!(model.prefers_device(&load(10_000), Duration::ZERO), "which would take ten times as long for this");
    model.observe(Side::Cpu, &load(200), cpu(200));
    assert!(model.prefers_device(&load(200), Duration::ZERO));
}
