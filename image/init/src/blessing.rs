//! A release on trial has the number of its remaining attempts in the name of its kernel image: `stele-7+2-1.efi`. The boot
//! loader counts them down and falls back when there are none left. A release that works is renamed to `stele-7.efi`.

use crate::disks::{Disk, SYSTEM};
use crate::{Fault, mounts};
use std::path::{Path, PathBuf};

const PLACE: &str = "/run/system";

/// The name without a counter of a release's kernel image with one.
fn blessed(name: &str, release: u64) -> Option<String> {
    let counter = name.strip_prefix(&format!("stele-{release}+"))?.strip_suffix(".efi")?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    counter.split('-').all(digits).then(|| format!("stele-{release}.efi"))
}

/// Whether the release is on trial.
pub fn on_trial(disk: &Disk, release: u64) -> Result<bool, Fault> {
    with_system(disk, libc::MS_RDONLY, |folder| Ok(entry(folder, release).is_some()))
}

/// Ends its trial; true where there was one.
pub fn bless(disk: &Disk, release: u64) -> Result<bool, Fault> {
    with_system(disk, 0, |folder| {
        let Some((path, name)) = entry(folder, release) else { return Ok(false) };
        std::fs::rename(path, folder.join(name)).map_err(Fault::system("blessing the release"))?;
        // SAFETY: the call takes and touches nothing.
        unsafe { libc::sync() };
        Ok(true)
    })
}

fn entry(folder: &Path, release: u64) -> Option<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut found =
        entries.filter_map(|entry| Some((entry.path(), blessed(&entry.file_name().to_string_lossy(), release)?)));
    found.next()
}

fn with_system<T>(disk: &Disk, flags: libc::c_ulong, work: impl Fn(&Path) -> Result<T, Fault>) -> Result<T, Fault> {
    let device = disk.partition(SYSTEM).ok_or_else(|| Fault::Machine("the disk has no system partition".into()))?;
    mounts::folder(PLACE)?;
    let hard = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_SYNCHRONOUS;
    mounts::mount_fat(&device.display().to_string(), PLACE, flags | hard, "umask=0077")?;
    let outcome = work(&Path::new(PLACE).join("EFI/Linux"));
    mounts::unmount(PLACE);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_release_and_only_with_a_counter() {
        assert_eq!(blessed("stele-7+2-1.efi", 7).as_deref(), Some("stele-7.efi"));
        assert_eq!(blessed("stele-7+3.efi", 7).as_deref(), Some("stele-7.efi"));
        for other in ["stele-7.efi", "stele-71+3.efi", "stele-7+.efi", "stele-7+3", "stele-7+x.efi"] {
            assert_eq!(blessed(other, 7), None, "{other}");
        }
    }
}
