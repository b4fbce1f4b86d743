//! The files that the signer process may touch (landlock(7)): its own, those of the PKCS#11 modules, and what
//! `process.allow_paths` names.
//!
//! Own directories are written to; of all others known files are read; nothing at all is executed. The rules are bound to
//! directories and files as they are at the start: a file that takes the name of an allowed one later is not allowed, one
//! in an allowed directory is. Where the kernel has no Landlock the process runs without, and says so. Sockets that others
//! listen on, and what was open before, are not covered; neither is what seccomp forbids.

use crate::config::{LandlockMode, Pkcs11Config, SignerConfig, StoreConfig};
use crate::error::{ConfigError, Fault, StartError};
use crate::secret::{self, SecretSource};
use crate::{config::FenceConfig, softhsm};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The newest interface whose rights were looked through one by one; an older kernel enforces those that it knows.
const KNOWN: ABI = ABI::V6;

/// Libraries, and what they read: of the loader, the resolver, TLS, time zones, and the number of processors.
const LIBRARIES: [&str; 23] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/services",
    "/etc/passwd",
    "/etc/group",
    "/etc/ssl",
    "/etc/pki",
    "/etc/crypto-policies",
    "/etc/machine-id",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/sys/crypto",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What may be done with a path and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    /// The guard's directory: files are made, written, and take the place of others.
    Keep,
    /// The socket's directory.
    Listen,
    /// A device: read, written, and configured.
    Device,
    /// All but executing and making device files.
    Own,
}

impl Use {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        match self {
            Self::Read => read,
            Self::Keep => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile,
            Self::Listen => AccessFs::MakeSock | AccessFs::RemoveFile,
            Self::Device => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
            Self::Own => {
                let never = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock;
                AccessFs::from_all(KNOWN) & !never
            }
        }
    }
}

/// Confines this thread and those that it starts from here on, for good. Needs no_new_privs.
pub(super) fn confine(config: &SignerConfig) -> Result<(), StartError> {
    if config.process.landlock == LandlockMode::Off {
        return Ok(());
    }
    for path in &config.process.allow_paths {
        std::fs::metadata(path).map_err(|error| {
            ConfigError::PathUnusable.about(format_args!("process.allow_paths: {} ({error})", path.display()))
        })?;
    }
    let failed =
        |error: RulesetError| Fault::Io.about(format_args!("landlock ({error}; `process.landlock` can be off)"));
    let status = restrict(&places(config)).map_err(failed)?;
    if status != RulesetStatus::FullyEnforced {
        tracing::warn!(?status, "this kernel confines the signer's files in part or not at all");
    }
    Ok(())
}

fn restrict(places: &[(PathBuf, Use)]) -> Result<RulesetStatus, RulesetError> {
    // A rule holds for an inode, and the kernel makes a new one for a directory of /proc that it had forgotten.
    static HELD: OnceLock<Option<PathFd>> = OnceLock::new();
    HELD.get_or_init(|| PathFd::new("/proc/self").ok());
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(Scope::Signal)?.create()?;
    let ruleset = places.iter().try_fold(ruleset, allow)?;
    Ok(ruleset.restrict_self()?.ruleset)
}

/// What is not there is nothing to be allowed.
fn allow(ruleset: RulesetCreated, (path, used): &(PathBuf, Use)) -> Result<RulesetCreated, RulesetError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(ruleset) };
    let Ok(place) = PathFd::new(path) else { return Ok(ruleset) };
    let rights = if metadata.is_dir() { used.rights() } else { used.rights() & AccessFs::from_file(KNOWN) };
    if rights.is_empty() { Ok(ruleset) } else { ruleset.add_rule(PathBeneath::new(place, rights)) }
}

/// All that a signer of this configuration needs.
fn places(config: &SignerConfig) -> Vec<(PathBuf, Use)> {
    let mut places = vec![(directory_of(&config.guard), Use::Keep), (directory_of(&config.socket), Use::Listen)];
    places.extend(LIBRARIES.iter().map(|path| (PathBuf::from(path), Use::Read)));
    places.extend(DEVICES.iter().map(|path| (PathBuf::from(path), Use::Device)));
    let directories = std::env::var_os("LD_LIBRARY_PATH");
    places.extend(directories.iter().flat_map(std::env::split_paths).map(|path| (path, Use::Read)));
    if let FenceConfig::Tpm(fence) = &config.fence {
        places.push((fence.device.clone(), Use::Device));
    }
    places.extend(config.attestation.iter().map(|attestation| (attestation.device.clone(), Use::Device)));
    match &config.store {
        StoreConfig::Keystore(store) => {
            places.push((store.path.clone(), Use::Read));
            places.extend(of_secret(&store.passphrase_file));
        }
        StoreConfig::Pkcs11(store) => {
            places.extend(of_module(store));
            places.extend(store.of_standby().iter().flat_map(of_module));
            let (read, written) = softhsm::places();
            places.extend(read.into_iter().map(|path| (path, Use::Read)));
            places.extend(written.into_iter().map(|path| (path, Use::Own)));
        }
    }
    places.extend(config.process.allow_paths.iter().map(|path| (path.clone(), Use::Own)));
    places
}

fn of_module(config: &Pkcs11Config) -> Vec<(PathBuf, Use)> {
    // A vendor puts the libraries that a module loads beside it.
    let mut places = vec![(directory_of(&config.module), Use::Read)];
    if let Ok(target) = std::fs::canonicalize(&config.module) {
        places.push((directory_of(&target), Use::Read));
    }
    places.extend(config.profile_file.iter().map(|path| (path.clone(), Use::Read)));
    places.extend(of_secret(&config.pin_file));
    places
}

fn of_secret(source: &Path) -> Vec<(PathBuf, Use)> {
    match SecretSource::parse(source) {
        Some(SecretSource::File(path)) => vec![(path, Use::Read)],
        Some(SecretSource::Credential(_)) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|path| (path.into(), Use::Read)).into_iter().collect()
        }
        Some(SecretSource::Sealed(path)) => {
            let device = secret::device_of_sealed(&path).map(|device| (device, Use::Device));
            device.into_iter().chain([(path, Use::Read)]).collect()
        }
        Some(SecretSource::Descriptor(_) | SecretSource::Prompt) | None => Vec::new(),
    }
}

fn directory_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::alone::alone;
    use std::fs::{self, File};
    use std::io::ErrorKind;

    fn config(dir: &Path, more: &str) -> SignerConfig {
        let chain = types::ChainId(types::Digest::sha256(b"chain"));
        let dir = dir.display();
        let text = format!(
            "chain = \"{chain}\"\nauthor = 0\nepoch = 0\nguard = \"{dir}/guard/guard\"\nsocket = \"{dir}/run/s.sock\"\n{more}\n\
             [store.keystore]\npath = \"{dir}/keys\"\npassphrase_file = \"{dir}/passphrase\"\n"
        );
        toml::from_str(&text).expect("a configuration")
    }

    fn denied<T>(outcome: std::io::Result<T>) -> bool {
        outcome.err().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_confined_process_reaches_its_own_files_and_no_others() {
        alone("process::files::tests::a_confined_process_reaches_its_own_files_and_no_others", || {
            let dir = tempfile::tempdir().expect("temporary directory");
            let (at, path) = (|name: &str| dir.path().join(name), dir.path());
            for directory in ["guard", "run", "vendor", "other"] {
                fs::create_dir(at(directory)).expect("own directory");
            }
            for file in ["keys", "passphrase", "other/file", "vendor/file", "guard/old"] {
                fs::write(at(file), "text").expect("own directory");
            }
            let config = config(path, &format!("[process]\nallow_paths = [\"{}\"]", at("vendor").display()));
            rustix::thread::set_no_new_privs(true).expect("any process may");
            confine(&config).expect("the kernel confines");
            if rustix::fs::open(c"/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).is_ok() {
                eprintln!("SKIPPED: this kernel has no Landlock");
                return;
            }

            fs::write(at("guard/new"), "text").expect("the guard writes beside itself");
            fs::rename(at("guard/new"), at("guard/old")).expect("and exchanges files");
            std::os::unix::net::UnixListener::bind(&config.socket).expect("the socket is made");
            fs::remove_file(&config.socket).expect("and removed");
            fs::read(at("keys")).expect("the keystore is read");
            fs::create_dir(at("vendor/new")).expect("the module's own");
            fs::read("/proc/self/status").expect("for the report");
            File::open("/dev/urandom").expect("a device");

            assert!(denied(fs::read(at("other/file"))), "a file of the same user");
            assert!(denied(fs::read("/proc/1/status")), "another process");
            assert!(denied(fs::write("/proc/self/oom_score_adj", "0")), "what is read is not written");
            assert!(denied(fs::write(at("keys"), "text")), "the keystore is only read");
            assert!(denied(fs::write(at("run/file"), "text")), "beside the socket");
            assert!(denied(fs::create_dir(at("guard/directory"))), "the guard needs none");
            assert!(fs::hard_link(at("keys"), at("vendor/keys")).is_err(), "into another directory");
            assert!(denied(fs::write("/tmp/stele-confined", "text")), "nothing else in /tmp");
            let copied = at("vendor/true");
            fs::copy("/bin/true", &copied).expect("read and written");
            assert!(denied(std::process::Command::new(copied).status()), "nothing is executed");
            assert!(std::thread::spawn(move || denied(fs::read_dir("/"))).join().expect("no panic"));
        });
    }

    #[test]
    fn a_path_to_be_allowed_that_is_not_there_is_told_before_anything_is_confined() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let error = confine(&config(dir.path(), "[process]\nallow_paths = [\"/nonexistent/vendor\"]"));
        let error = error.expect_err("a typing error would show much later");
        assert_eq!(error.cause, ConfigError::PathUnusable.into());
        assert!(error.subject.contains("/nonexistent/vendor"), "{error}");
        assert!(File::open("/").is_ok());
    }
}
