//! What signature verification tells: both engines, how the device is and what was checked of it, and what batches cost.

use super::scrape::{Labels, Scrape, and, label};
use accel::{DeviceState, DeviceStats, FAULT_KINDS, VerifyStats};
use std::fmt;

/// Writes it all.
pub(super) fn write(stats: &VerifyStats, out: &mut Scrape<'_>) -> fmt::Result {
    let verdicts = [("valid", stats.items.saturating_sub(stats.invalid)), ("invalid", stats.invalid)];
    let verdicts = verdicts.map(|(verdict, count)| (label("verdict", verdict), count));
    out.counters("stele_verify_signatures", "What were the verdicts on signatures?", verdicts)?;
    let batches =
        stats.batch_sizes.iter().enumerate().map(|(class, count)| (label("items_from", 1u64 << class), *count));
    out.counters("stele_verify_batches", "How large were the batches?", batches)?;
    let engine = [(label("engine", &stats.engine), 1)];
    out.gauges("stele_verify_engine_flag", "Which engine verified the last batch?", engine)?;
    out.gauge("stele_verify_queued_signatures", "How many signatures wait?", stats.queued as u64)?;
    out.counter("stele_verify_busy_jobs", "How many jobs found no room?", stats.busy)?;
    let suspects = stats.suspect_items;
    out.counter("stele_verify_suspect_signatures", "How many were checked one by one, for their origin?", suspects)?;
    out.counter("stele_verify_device_faults", "How often did a device fail?", stats.device_faults)?;
    let keys = [("hit", stats.key_cache_hits), ("miss", stats.key_cache_misses)];
    let keys = keys.map(|(cache, count)| (label("cache", cache), count));
    out.counters("stele_verify_key_lookups", "How often was a decoded key at hand?", keys)?;
    let run = [(Labels::new(), stats.run_ns as f64 / 1e9)];
    out.seconds("stele_verify_run_seconds", "How long did engines run?", run)?;
    engines(stats, out)?;
    device(&stats.device, out)?;
    costs(stats, out)
}

fn engines(stats: &VerifyStats, out: &mut Scrape<'_>) -> fmt::Result {
    let engines = [&stats.cpu, &stats.device.engine].into_iter().filter(|engine| !engine.name.is_empty());
    let engines: Vec<_> = engines.map(|engine| (label("engine", &engine.name), engine)).collect();
    let items = engines.iter().flat_map(|(labels, engine)| {
        let verdicts = [("valid", engine.items.saturating_sub(engine.invalid)), ("invalid", engine.invalid)];
        verdicts.map(|(verdict, count)| (and(labels.clone(), "verdict", verdict), count))
    });
    out.counters("stele_verify_engine_signatures", "Which engine gave which verdicts?", items)?;
    let batches = engines.iter().map(|(labels, engine)| (labels.clone(), engine.batches));
    out.counters("stele_verify_engine_batches", "How many batches did each engine take?", batches)?;
    let run = engines.iter().map(|(labels, engine)| (labels.clone(), engine.run_ns as f64 / 1e9));
    out.seconds("stele_verify_engine_seconds", "How long did batches take on each, summed?", run)
}

fn device(device: &DeviceStats, out: &mut Scrape<'_>) -> fmt::Result {
    let states = DeviceState::ALL.map(|state| (label("state", state.label()), u64::from(device.state == state)));
    out.gauges("stele_verify_device_flag", "How is the device for signatures?", states)?;
    let faults = FAULT_KINDS.iter().zip(device.faults).map(|(kind, count)| (label("kind", kind), count));
    out.counters("stele_verify_device_fault_events", "In which way did the device fail, how often?", faults)?;
    let moved = [("given_back", device.given_back_items), ("stolen", device.stolen_items)];
    let moved = moved.map(|(why, count)| (label("why", why), count));
    out.counters("stele_verify_moved_signatures", "How many did the CPU take over from the device?", moved)?;
    let trust = &device.trust;
    let checks = [
        ("canary", trust.canaries, trust.canaries_wrong),
        ("sample", trust.samples, trust.samples_wrong),
        ("confirmation", trust.confirmations, trust.confirmations_wrong),
        ("client_reject", trust.client_checks, trust.client_checks_wrong),
        ("audit", device.audited, device.audit_wrong),
    ];
    let checked = checks.map(|(check, count, _)| (label("check", check), count));
    out.counters("stele_verify_device_checks", "How many of the device's verdicts were checked?", checked)?;
    let wrong = checks.map(|(check, _, wrong)| (label("check", check), wrong));
    out.counters("stele_verify_device_wrong_checks", "How many of those were wrong?", wrong)?;
    out.counter("stele_verify_device_self_tests", "How often was the device tested?", trust.self_tests)?;
    let deferred = trust.deferred_jobs;
    out.counter("stele_verify_deferred_jobs", "How many jobs had more rejects than could be confirmed?", deferred)?;
    let skipped = device.audit_skipped;
    out.counter("stele_verify_unaudited_signatures", "How many accepts found no room in the audit?", skipped)?;
    let waiting = device.audit_waiting as u64;
    out.gauge("stele_verify_audit_waiting_signatures", "How many accepts wait for their audit?", waiting)
}

fn costs(stats: &VerifyStats, out: &mut Scrape<'_>) -> fmt::Result {
    let each = |value: fn(&accel::CostFigures) -> [u64; 2], unit: f64| {
        stats.costs.iter().flat_map(move |cost| {
            let [cpu, device] = value(cost);
            let sides = [("cpu", cpu), ("device", device)];
            sides.map(|(side, value)| (and(label("alg", cost.alg), "side", side), value as f64 / unit))
        })
    };
    let batch = each(|cost| [cost.cpu_fixed_ns, cost.device_fixed_ns], 1e9);
    out.measures("stele_verify_batch_cost_seconds", "What is a batch thought to cost, besides its items?", batch)?;
    let item = each(|cost| [cost.cpu_item_ps, cost.device_item_ps], 1e12);
    out.measures("stele_verify_item_cost_seconds", "What is a signature thought to cost in a batch?", item)?;
    let even = stats.costs.iter().filter_map(|cost| Some((label("alg", cost.alg), cost.break_even_items?)));
    out.gauges("stele_verify_break_even_signatures", "From how many on is the device faster?", even)
}
