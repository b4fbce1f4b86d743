//! The machine's identity: its own, and for as long as its state is.

use crate::Fault;

/// Gives the machine one, which stays with its state: the guard file is bound to it.
pub fn identify() -> Result<(), Fault> {
    let path = format!("{}/machine-id", crate::state::FOLDER);
    if !std::fs::exists(&path).unwrap_or(false) {
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
        let random = random.map_err(Fault::system("drawing the machine's identity"))?.replace('-', "");
        std::fs::write(&path, random).map_err(Fault::system(format!("writing {path}")))?;
    }
    crate::mounts::mount(&path, "/etc/machine-id", "", libc::MS_BIND, "")
}
