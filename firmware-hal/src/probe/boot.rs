//! How the machine was started, its kernel, and what its TPM has measured.

use super::{chosen, cpus, each_told};
use crate::fact::Fact;
use crate::inventory::{Boot, Kernel, Tpm};
use crate::root::Root;

const EFI: &str = "/sys/firmware/efi";
/// EFI_GLOBAL_VARIABLE (UEFI §3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Variables of systemd's boot loader interface.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// An EFI variable in efivarfs begins with its attributes.
const ATTRIBUTES: usize = 4;
const VARIABLE_BYTES_MAX: usize = 64 << 10;

pub(crate) fn boot(root: &Root) -> Boot {
    let flag = |name: &str| {
        variable(root, name, GLOBAL).parsed(|bytes| match bytes[..] {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        })
    };
    Boot {
        efi: root.is_made(EFI),
        secure_boot: flag("SecureBoot"),
        setup_mode: flag("SetupMode"),
        lockdown: root.text("/sys/kernel/security/lockdown").parsed(|text| chosen(&text)),
        stub: variable(root, "StubInfo", LOADER).parsed(utf16),
    }
}

fn variable(root: &Root, name: &str, vendor: &str) -> Fact<Vec<u8>> {
    root.bytes(&format!("{EFI}/efivars/{name}-{vendor}"), VARIABLE_BYTES_MAX)
        .parsed(|bytes| bytes.get(ATTRIBUTES..).map(<[u8]>::to_vec))
}

/// Text of two bytes a unit, with a zero at its end.
fn utf16(bytes: Vec<u8>) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16(&units).ok()?;
    rest.is_empty().then(|| text.trim_end_matches('\0').to_owned())
}

pub(crate) fn kernel(root: &Root) -> Kernel {
    Kernel {
        release: root.text("/proc/sys/kernel/osrelease"),
        version: root.text("/proc/sys/kernel/version"),
        command_line: root.text("/proc/cmdline"),
        isolated_cpus: cpus(root, "/sys/devices/system/cpu/isolated"),
        tainted: root.number("/proc/sys/kernel/tainted"),
    }
}

pub(crate) fn tpm(root: &Root) -> Tpm {
    const DIR: &str = "/sys/class/tpm/tpm0";
    const PCRS: u32 = 24;
    let number = |name: &str| name.parse::<u32>().is_ok_and(|number| number < PCRS);
    Tpm {
        version: root.number(&format!("{DIR}/tpm_version_major")),
        pcrs: each_told(root, &format!("{DIR}/pcr-sha256"), number, |path| {
            root.text(path).parsed(|text| {
                let whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                whole.then(|| text.to_ascii_lowercase())
            })
        }),
        event_log: root.is_made("/sys/kernel/security/tpm0/binary_bios_measurements"),
    }
}
