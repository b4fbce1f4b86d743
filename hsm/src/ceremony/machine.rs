//! What this machine and this program are, as far as the system says. What cannot be read is *unknown*, never *no*.

use super::entry::Machine;
use std::path::Path;
use types::Digest;

/// Longest fact that is recorded, in bytes.
const FACT_MAX: usize = 256;

/// The variable that tells whether secure boot is on (UEFI 2.10 §3.3): four bytes of attributes, then 0 or 1.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// This machine.
pub fn facts() -> Machine {
    facts_under(Path::new("/"))
}

fn facts_under(root: &Path) -> Machine {
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()?;
        fact(&text)
    };
    let release = read("/proc/sys/kernel/osrelease");
    let version = read("/proc/sys/kernel/version");
    Machine {
        hostname: read("/proc/sys/kernel/hostname"),
        kernel: release.and_then(|release| Some(format!("{release} {}", version?))),
        cpu: std::fs::read_to_string(root.join("proc/cpuinfo")).ok().and_then(|text| cpu(&text)),
        machine_id_digest: read("/etc/machine-id").map(|id| Digest::sha256(id.as_bytes())),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        lockdown: read("/sys/kernel/security/lockdown").and_then(|text| lockdown(&text)),
        secure_boot: std::fs::read(root.join(SECURE_BOOT.trim_start_matches('/'))).ok().and_then(|bytes| {
            match bytes[..] {
                [_, _, _, _, value @ (0 | 1)] => Some(value == 1),
                _ => None,
            }
        }),
    }
}

/// SHA-256 of the file that this process runs.
///
/// # Errors
/// Those of reading it.
pub fn binary() -> std::io::Result<Digest> {
    Ok(Digest::sha256(&std::fs::read("/proc/self/exe")?))
}

/// A line without control characters, of limited length; `None` where nothing is left.
fn fact(text: &str) -> Option<String> {
    let mut line: String = text.trim().chars().filter(|character| !character.is_control()).collect();
    while line.len() > FACT_MAX {
        line.pop();
    }
    (!line.is_empty()).then_some(line)
}

fn cpu(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    fact(line.split_once(':')?.1)
}

/// The choice in brackets, of `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    fact(rest.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_no() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(facts_under(dir.path()), Machine::default());
        let put = |path: &str, content: &[u8]| {
            let path = dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().expect("in a directory")).expect("own directory");
            std::fs::write(path, content).expect("own file");
        };
        put("/proc/sys/kernel/hostname", b"vault\x1b[2J\n");
        put("/sys/kernel/security/lockdown", b"none [integrity] confidentiality\n");
        put("/proc/cpuinfo", b"processor : 0\nmodel name\t: Some CPU\n");
        put(SECURE_BOOT, &[6, 0, 0, 0, 0]);
        let facts = facts_under(dir.path());
        assert_eq!(facts.hostname.as_deref(), Some("vault[2J"));
        assert_eq!(facts.lockdown.as_deref(), Some("integrity"));
        assert_eq!(facts.cpu.as_deref(), Some("Some CPU"));
        assert_eq!(facts.secure_boot, Some(false), "no, and not unknown");
        assert_eq!(facts.boot_id, None);
        put(SECURE_BOOT, &[6, 0, 0, 0, 7]);
        assert_eq!(facts_under(dir.path()).secure_boot, None);
    }
}
