//! The words that the kernel is started with. They are part of what is measured.

use crate::assemble::Kernel;
use image_formats::boot_line::BootLine;

const WORDS: &str = "console=tty0 console=ttyS0,115200 panic=-1 quiet loglevel=4 lockdown=integrity mitigations=auto";
/// On a virtual machine, whose processor and clock are its host's, the kernel does without tests of its own ciphers, and without
/// its source of randomness from the jitter of the clock, beside which there are RDRAND, virtio-rng and the boot loader's seed.
/// Where instructions are translated they take a sixth of a second; a physical machine has both.
const WORDS_IF_VIRTUAL: &str = "cryptomgr.notests initcall_blacklist=jent_mod_init";

/// The whole line, of which `own` is what our init reads.
pub fn of(kernel: Kernel, own: &BootLine) -> String {
    match kernel {
        Kernel::Cloud => format!("{WORDS} {WORDS_IF_VIRTUAL} {own}"),
        Kernel::Metal => format!("{WORDS} {own}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_formats::boot_line::{Flavour, Seal};

    #[test]
    fn a_physical_machines_kernel_tests_its_ciphers_and_both_are_locked_down() {
        let (flavour, seal, hsm) = (Flavour::Validator, Seal::Required, None);
        let own = BootLine { flavour, root: [7; 32], data_blocks: 9, release: 3, seal, hsm };
        for kernel in [Kernel::Cloud, Kernel::Metal] {
            let line = of(kernel, &own);
            assert_eq!(BootLine::parse(&line), Ok(own.clone()));
            let has = |wanted: &str| line.split(' ').any(|word| word == wanted);
            assert!(has("lockdown=integrity") && has("mitigations=auto") && has("panic=-1"), "{line}");
            assert_eq!(has("cryptomgr.notests") || line.contains("jent"), kernel == Kernel::Cloud, "{line}");
        }
    }
}
