//! What NVIDIA's cards say of themselves, by PCI address. A card that does not say something has no such sample.

use super::scrape::{Scrape, and, label};
use firmware_hal::health::Gpu;
use std::collections::BTreeMap;
use std::fmt;

pub(super) fn gpus(out: &mut Scrape<'_>, gpus: &BTreeMap<String, Gpu>) -> fmt::Result {
    let of = |card: &str| label("card", card.to_owned());
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1e3;
    let power = gpus.iter().filter_map(|(card, gpu)| Some((of(card), watts(gpu.power_mw?))));
    out.measures("stele_machine_gpu_power_watts", "How much does a GPU draw?", power)?;
    let limit = gpus.iter().filter_map(|(card, gpu)| Some((of(card), watts(gpu.power_limit_mw?))));
    out.measures("stele_machine_gpu_power_limit_watts", "How much may a GPU draw?", limit)?;
    let used = gpus.iter().filter_map(|(card, gpu)| Some((of(card), gpu.memory_used_bytes?)));
    out.gauges("stele_machine_gpu_memory_used_bytes", "How much of a GPU's memory is in use?", used)?;
    let memory = gpus.iter().filter_map(|(card, gpu)| Some((of(card), gpu.memory_bytes?)));
    out.gauges("stele_machine_gpu_memory_bytes", "How much memory has a GPU?", memory)?;
    let errors = gpus.iter().flat_map(|(card, gpu)| {
        let kinds = [("corrected", gpu.corrected), ("uncorrected", gpu.uncorrected)];
        kinds.into_iter().filter_map(|(kind, errors)| Some((and(of(card), "kind", kind), errors?)))
    });
    out.gauges(
        "stele_machine_gpu_memory_errors",
        "How many errors of a GPU's memory were there since its driver was loaded?",
        errors,
    )?;
    let slowed = gpus.iter().map(|(card, gpu)| (of(card), u64::from(!gpu.slowed.is_empty())));
    out.gauges("stele_machine_gpu_throttled_flag", "Does a GPU slow itself down to protect itself?", slowed)?;
    let lost = gpus.iter().map(|(card, gpu)| (of(card), u64::from(gpu.lost.is_some())));
    out.gauges("stele_machine_gpu_lost_flag", "Is a GPU gone, or keeps its driver from answering?", lost)
}
