//! A look at NVIDIA's cards. Each measurement is there or not by itself: few cards know all of them.

use super::{Temperature, Trouble};
use crate::fact::{Reading, Why};
use crate::nvml::Card;
use crate::probe::nvidia_cards;
use crate::root::Root;
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a card slows itself down, by the bits of nvmlClocksThrottleReasons, where that is to protect itself. The others
/// (idle, a limit that somebody has set, the power cap under load) are how a card in good order works.
const PROTECTIONS: [(u64, &str); 4] = [
    (0x20, "the driver, for its heat"),
    (0x40, "the hardware, for its heat"),
    (0x80, "the power supply asks for it"),
    (0x08, HARDWARE),
];
/// Drivers also say this while a card changes its clocks, so it counts only where it lasts from one look to the next.
const HARDWARE: &str = "the hardware, for heat or power";

/// What a card says. `None` is what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Why it slows itself down now to protect itself; empty where it does not.
    pub slowed: Vec<&'static str>,
    /// Memory errors that were put right, since its driver was loaded.
    pub corrected: Option<u64>,
    /// Memory errors that were not.
    pub uncorrected: Option<u64>,
    /// What it draws, milliwatts.
    pub power_mw: Option<u32>,
    /// What it may draw, milliwatts.
    pub power_limit_mw: Option<u32>,
    /// Its memory in use, bytes.
    pub memory_used_bytes: Option<u64>,
    /// Its memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Why it is gone, where it is.
    pub lost: Option<Why>,
}

impl Gpu {
    fn of(card: &Card) -> Option<Self> {
        // What cannot be asked has no health; a card that is lost or silent could be, and is not as it was.
        let lost = match card.temperature {
            Reading::Unknown(why @ (Why::Lost | Why::Silent)) => Some(why),
            _ => None,
        };
        let bits = card.slowed.value().copied().unwrap_or_default();
        let gpu = Self {
            slowed: PROTECTIONS.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, says)| says).collect(),
            corrected: card.ecc_corrected.value().copied(),
            uncorrected: card.ecc_uncorrected.value().copied(),
            power_mw: card.power_mw.value().copied(),
            power_limit_mw: card.power_limit_mw.value().copied(),
            memory_used_bytes: card.memory_used_bytes.value().copied(),
            memory_bytes: card.memory_bytes.value().copied(),
            lost,
        };
        (gpu != Self::default() || card.temperature.value().is_some()).then_some(gpu)
    }

    pub(super) fn troubles(&self, address: &str, before: Option<&Self>) -> Vec<Trouble> {
        let card = || address.to_owned();
        let mut troubles = Vec::new();
        troubles.extend(self.lost.map(|why| Trouble::GpuLost { card: card(), why }));
        let lasts = |says: &str| says != HARDWARE || before.is_some_and(|before| before.slowed.contains(&says));
        let slowed: Vec<&str> = self.slowed.iter().copied().filter(|says| lasts(says)).collect();
        if !slowed.is_empty() {
            troubles.push(Trouble::GpuThrottled { card: card(), says: slowed.join(", ") });
        }
        let errors = self.uncorrected.filter(|errors| *errors > 0);
        troubles.extend(errors.map(|errors| Trouble::GpuUncorrected { card: card(), errors }));
        troubles
    }
}

/// The cards by their address, and their heat by the names of sensors.
pub(super) fn look(root: &Root) -> (BTreeMap<String, Gpu>, BTreeMap<String, Temperature>) {
    let (mut gpus, mut heat) = (BTreeMap::new(), BTreeMap::new());
    for address in nvidia_cards(root) {
        let card = root.card(&address);
        let thousandths = |degrees: u32| i64::from(degrees) * 1000;
        if let Some(now) = card.temperature.value().copied() {
            let critical = card.temperature_slowdown.value().copied().filter(|degrees| *degrees > 0).map(thousandths);
            heat.insert(format!("gpu {address}"), Temperature { now: thousandths(now), critical });
        }
        if let Some(gpu) = Gpu::of(&card) {
            gpus.insert(address, gpu);
        }
    }
    (gpus, heat)
}
