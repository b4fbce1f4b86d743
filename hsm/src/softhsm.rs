//! Where SoftHSM2 is on this machine and the file it wants, for a devnet and for tests. An HSM of a vendor needs none
//! of this.

use rustix::fs::Mode;
use std::io;
use std::path::{Path, PathBuf};

/// The environment variable that names SoftHSM2's configuration. Set it for the signer process, and only there.
pub const CONF_VARIABLE: &str = "SOFTHSM2_CONF";

const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The module, where a distribution puts it. Debian and Ubuntu: package `softhsm2`.
pub fn find_module() -> Option<PathBuf> {
    MODULES.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Makes `directory/tokens` (mode 0700) and `directory/softhsm2.conf`, and returns the latter's path.
///
/// # Errors
/// Those of the file system.
pub fn write_conf(directory: &Path) -> io::Result<PathBuf> {
    let directory = std::path::absolute(directory)?;
    let tokens = directory.join("tokens");
    std::fs::create_dir_all(&directory)?;
    match rustix::fs::mkdir(&tokens, Mode::RWXU) {
        Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
        _ => {}
    }
    let conf = directory.join("softhsm2.conf");
    // After a fork the child must not sign with the parent's login.
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\nlibrary.reset_on_fork = true\n",
        tokens.display()
    );
    std::fs::write(&conf, text)?;
    Ok(conf)
}

/// The files that SoftHSM2 reads, and the directories that it writes to, in this process's environment.
pub(crate) fn places() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/softhsm2/softhsm2.conf"));
    let system = ["/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf"].map(PathBuf::from);
    let read = match std::env::var_os(CONF_VARIABLE) {
        Some(path) => vec![PathBuf::from(path)],
        None => home.into_iter().chain(system).collect(),
    };
    let directories = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value = |line: &str| Some(line.strip_prefix("directories.tokendir")?.split_once('=')?.1.trim().into());
        text.lines().filter_map(value).collect::<Vec<PathBuf>>()
    };
    let written = read.iter().flat_map(directories).collect();
    (read, written)
}
