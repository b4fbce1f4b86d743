//! Mounts, and the change from the initial file system to the root under verity.

use crate::{Fault, kernel_modules};
use std::ffi::CString;
use std::io;
use std::path::Path;
use stele_image::modules::FAT;

const PLAIN: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Mounts a file system.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, options: &str) -> Result<(), Fault> {
    let text = |text: &str| CString::new(text).map_err(|_| Fault::Machine(format!("a zero byte in {text:?}")));
    let (source, at, kind, options) = (text(source)?, text(target)?, text(kind)?, text(options)?);
    // SAFETY: all pointers are to strings that live through the call.
    let done = unsafe { libc::mount(source.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(Fault::system(format!("mounting {target}"))(io::Error::last_os_error())) }
}

/// Takes a mount away again; a failure is of no consequence.
pub fn unmount(target: &str) {
    if let Ok(target) = CString::new(target) {
        // SAFETY: the pointer is to a string that lives through the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Makes a folder with its parents.
pub fn folder(path: &str) -> Result<(), Fault> {
    std::fs::create_dir_all(path).map_err(Fault::system(format!("making {path}")))
}

/// What is needed before anything can be looked at.
pub fn first() -> Result<(), Fault> {
    mount("proc", "/proc", "proc", PLAIN, "hidepid=invisible")?;
    mount("sysfs", "/sys", "sysfs", PLAIN, "")?;
    mount("devtmpfs", "/dev", "devtmpfs", libc::MS_NOSUID | libc::MS_NOEXEC, "mode=0755")?;
    mount("tmpfs", "/run", "tmpfs", PLAIN, "mode=0755,size=16m")
}

/// Mounts the root, which only verity can be under, and makes it the root of this process.
pub fn switch_root(device: &Path) -> Result<(), Fault> {
    let read_only = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
    mount(&device.display().to_string(), "/newroot", "erofs", read_only, "")?;
    for part in ["proc", "sys", "dev", "run"] {
        mount(&format!("/{part}"), &format!("/newroot/{part}"), "", libc::MS_MOVE, "")?;
    }
    std::env::set_current_dir("/newroot").map_err(Fault::system("entering the root"))?;
    mount(".", "/", "", libc::MS_MOVE, "")?;
    std::os::unix::fs::chroot(".").map_err(Fault::system("taking the root"))?;
    std::env::set_current_dir("/").map_err(Fault::system("entering the root"))?;
    mount("tmpfs", "/tmp", "tmpfs", PLAIN, "mode=1777,size=64m")?;
    mount("tmpfs", "/var", "tmpfs", PLAIN, "mode=0755,size=16m")?;
    folder("/dev/shm")?;
    mount("tmpfs", "/dev/shm", "tmpfs", PLAIN, "mode=1777,size=64m")?;
    folder(crate::state::FOLDER)
}

/// What firmware and boot loader tell. Both may be absent: without EFI, and without the security file system.
pub fn told_by_firmware() {
    let _ = mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", PLAIN, "");
    let _ = mount("securityfs", "/sys/kernel/security", "securityfs", PLAIN, "");
}

/// Mounts a volume that firmware or an office's machine has written.
pub fn mount_fat(device: &str, target: &str, flags: libc::c_ulong, options: &str) -> Result<(), Fault> {
    kernel_modules::ask(FAT)?;
    mount(device, target, "vfat", flags, options)
}
