//! Where a PIN or passphrase comes from, as a configuration names it. Never the secret itself, a flag, or a variable of the
//! environment.

use super::{SECRET_MAX, Secret, sealed, terminal};
use crate::error::{ConfigError, StartError};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Where a secret comes from. In configuration files: a path, `fd:3`, `prompt`, `credential:NAME`, or
/// `sealed:PATH`. A file that is called like one of these is written with a directory, `./prompt`.
///
/// ```
/// use hsm::secret::SecretSource;
/// use std::path::Path;
///
/// assert_eq!(SecretSource::parse(Path::new("fd:3")), Some(SecretSource::Descriptor(3)));
/// assert_eq!(SecretSource::parse(Path::new("fd:0")), None);
/// assert!(SecretSource::parse(Path::new("/etc/stele/pin")).unwrap().is_file());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// A regular file that belongs to this user or root and that nobody else can read.
    File(PathBuf),
    /// A descriptor that whoever started the process left open, 3 or higher: a pipe or a file, read to its end, once.
    Descriptor(i32),
    /// Typed at the terminal of the process, without an echo.
    Prompt,
    /// A credential of the service manager: a file in the directory that `$CREDENTIALS_DIRECTORY` names (systemd.exec(5),
    /// LoadCredential= and LoadCredentialEncrypted=).
    Credential(String),
    /// Sealed to this machine's TPM, see [`super::seal`]: the file that it is in.
    Sealed(PathBuf),
}

/// What came from a place that gives it once; the pool asks again when a token comes back.
static GIVEN: Mutex<BTreeMap<SecretSource, Zeroizing<Vec<u8>>>> = Mutex::new(BTreeMap::new());

impl SecretSource {
    /// From a configuration's string; `None` where a descriptor or a credential's name is not one.
    pub fn parse(text: &Path) -> Option<Self> {
        let Some(words) = text.to_str() else { return Some(Self::File(text.to_owned())) };
        if words == "prompt" {
            return Some(Self::Prompt);
        }
        if let Some(number) = words.strip_prefix("fd:") {
            // 0 to 2 are the process's own.
            return number.parse().ok().filter(|number| *number >= 3).map(Self::Descriptor);
        }
        if let Some(name) = words.strip_prefix("credential:") {
            let plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
            return plain.then(|| Self::Credential(name.to_owned()));
        }
        if let Some(path) = words.strip_prefix("sealed:") {
            return (!path.is_empty()).then(|| Self::Sealed(path.into()));
        }
        Some(Self::File(text.to_owned()))
    }

    /// Whether it is a file of the configuration's own.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// The secret. What a descriptor or a prompt gave is kept in this process, and given again.
    ///
    /// # Errors
    /// [`ConfigError::SecretUnreadable`] where there is none, also where there is no terminal;
    /// [`ConfigError::SecretExposed`]; [`ConfigError::SealState`] and its like for one that the TPM does not give back.
    pub fn read(&self) -> Result<Secret, StartError> {
        let bytes = match self {
            Self::File(path) => return Secret::read_file(path),
            Self::Sealed(path) => return sealed::unseal(path),
            Self::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    ConfigError::SecretUnreadable.about(format_args!("{self} ($CREDENTIALS_DIRECTORY is not set)"))
                })?;
                return Secret::read_credential(&Path::new(&directory).join(name));
            }
            Self::Descriptor(_) | Self::Prompt => {
                let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bytes) = given.get(self) {
                    bytes.to_vec()
                } else {
                    let bytes = self.take()?;
                    given.insert(self.clone(), Zeroizing::new(bytes.to_vec()));
                    bytes.to_vec()
                }
            }
        };
        Ok(Secret::from_bytes(bytes))
    }

    /// The same, where several secrets can be asked for at one terminal: a prompt says for what, each time.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub fn read_asking(&self, what: &str) -> Result<Secret, StartError> {
        match self {
            Self::Prompt => Secret::ask(what),
            other => other.read(),
        }
    }

    fn take(&self) -> Result<Zeroizing<Vec<u8>>, StartError> {
        let unreadable =
            |reason: &dyn fmt::Display| ConfigError::SecretUnreadable.about(format_args!("{self} ({reason})"));
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX as usize + 1));
        match self {
            Self::Descriptor(number) => {
                let file = open_descriptor(*number).map_err(|error| unreadable(&error))?;
                file.take(SECRET_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
            }
            _ => bytes = terminal::ask("PIN or passphrase: ").map_err(|error| unreadable(&error))?,
        }
        let shown = bytes.iter().filter(|byte| !b"\r\n".contains(byte)).count();
        if shown == 0 || bytes.len() as u64 > SECRET_MAX {
            return Err(unreadable(&"empty, or too long"));
        }
        Ok(bytes)
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
            Self::Prompt => f.write_str("prompt"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Sealed(path) => write!(f, "sealed:{}", path.display()),
        }
    }
}

/// Takes over a descriptor, which is closed after it is read.
#[allow(unsafe_code)]
fn open_descriptor(number: i32) -> std::io::Result<File> {
    // SAFETY: F_GETFD only looks whether the descriptor is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it is open, and the configuration says that it was left open for this and nothing else: it is taken once.
    Ok(unsafe { File::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_back_and_what_is_none_is_refused() {
        for good in
            ["pin", "/etc/pin", "fd:3", "fd:17", "prompt", "./prompt", "credential:stele-pin", "sealed:pin.sealed"]
        {
            let source = SecretSource::parse(Path::new(good)).expect("a source");
            assert_eq!(source.to_string(), good);
        }
        for bad in [
            "fd:",
            "fd:0",
            "fd:2",
            "fd:-1",
            "fd:x",
            "fd:99999999999",
            "credential:",
            "credential:..",
            "credential:a/b",
            "sealed:",
        ] {
            assert_eq!(SecretSource::parse(Path::new(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_told() {
        let error = SecretSource::Descriptor(987).read().expect_err("nobody left it open");
        assert_eq!(error.cause, ConfigError::SecretUnreadable.into());
        assert!(error.subject.starts_with("fd:987 ("), "{error}");
    }
}
