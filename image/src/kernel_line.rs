//! The words that the kernel is started with. They are part of what is measured.

use crate::assemble::Kernel;
use image_formats::boot_line::BootLine;

const WORDS: &str = "console=tty0 console=ttyS0,115200 panic=-1 quiet loglevel=4 lockdown=integrity mitigations=auto";
/// What the kernel need not prepare, for nothing inside could use it: tracing's names of enumerations, probes as tracing's
/// events, and congestion control written in BPF, for which it reads its own debugging information. A name that another
/// kernel does not have means nothing to it.
const UNUSED: &[&str] = &["trace_eval_init", "init_kprobe_trace", "bpf_tcp_ca_kfunc_init", "bpf_dummy_struct_ops_init"];
/// On a virtual machine, whose processor and clock are its host's: the kernel's tests of its own ciphers, and its source of
/// randomness from the jitter of the clock, beside which there are RDRAND, virtio-rng and the boot loader's seed. Where
/// instructions are translated they take a third of a second; a physical machine has both.
const UNUSED_IF_VIRTUAL: &[&str] = &["jent_mod_init"];
const WORDS_IF_VIRTUAL: &str = "cryptomgr.notests";

/// The whole line, of which `own` is what our init reads.
pub fn of(kernel: Kernel, own: &BootLine) -> String {
    let (more, words): (&[&str], _) = match kernel {
        Kernel::Cloud => (UNUSED_IF_VIRTUAL, [WORDS, WORDS_IF_VIRTUAL].join(" ")),
        Kernel::Metal => (&[], WORDS.to_owned()),
    };
    let unused = [UNUSED, more].concat().join(",");
    format!("{words} initcall_blacklist={unused} {own}")
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
