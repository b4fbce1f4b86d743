//! The kernel of Ed25519: its WGSL lies beside, its constants are made here.

mod base;

use super::kernel::KernelSource;
use crate::ed25519::round_constants::ROUND_CONSTANTS;

/// B times 0 to this: digits of eight bits with a sign.
const BASE_MULTIPLE_MAX: usize = 128;

pub(super) fn kernel() -> KernelSource {
    let mut constants: Vec<u32> = Vec::new();
    for round in ROUND_CONSTANTS {
        constants.extend([round as u32, (round >> 32) as u32]);
    }
    constants.extend(base::multiples(BASE_MULTIPLE_MAX));
    KernelSource {
        label: "ed25519",
        source: [include_str!("ed25519/field.wgsl"), include_str!("ed25519/verify.wgsl")].concat(),
        constants,
        // As KEY_SLOT_WORDS and the map of the scratch in verify.wgsl.
        key_words: 1 + 9 * 40,
        scratch_words: 47,
    }
}
