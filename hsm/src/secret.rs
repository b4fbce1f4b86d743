//! PINs and passphrases: read from where a [`SecretSource`] says, wiped when dropped, never printed.
//! Standard input is the caller's: it hands the bytes to [`Secret::from_bytes`].

mod sealed;
mod source;
mod terminal;

pub(crate) use sealed::device as device_of_sealed;
pub use sealed::seal;
pub use source::SecretSource;

use crate::atomic_file;
use crate::error::{ConfigError, Fault, StartError};
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest secret in bytes.
const SECRET_MAX: u64 = 1024;

/// A PIN or passphrase.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// From bytes that a terminal or standard input gave; one line end at the end is not part of it.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Self(bytes)
    }

    /// From a regular file that belongs to this user or root and that nobody else can read.
    ///
    /// # Errors
    /// [`ConfigError::SecretUnreadable`], [`ConfigError::SecretExposed`].
    pub fn read_file(path: &Path) -> Result<Self, StartError> {
        Self::read_unseen(path, 0o077)
    }

    /// Typed at the terminal of the process (`/dev/tty`), without being shown, by somebody who is asked for `what`.
    ///
    /// # Errors
    /// [`ConfigError::SecretUnreadable`] without a terminal, and where nothing was typed or somebody gave up.
    pub fn ask(what: &str) -> Result<Self, StartError> {
        let unreadable =
            |reason: &dyn fmt::Display| ConfigError::SecretUnreadable.about(format_args!("{what} ({reason})"));
        let mut answer = terminal::ask(&format!("{what}: ")).map_err(|error| unreadable(&error))?;
        if answer.is_empty() {
            return Err(unreadable(&"empty"));
        }
        Ok(Self::from_bytes(std::mem::take(&mut *answer)))
    }

    /// From where a configuration's string says, which is most often a file's path.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub fn read(source: &Path) -> Result<Self, StartError> {
        let source = SecretSource::parse(source);
        source.ok_or_else(|| ConfigError::SecretUnreadable.about("fd:… or credential:… (not one)"))?.read()
    }

    /// From a file of the service manager, which lets its service in by an access list: that shows as the group's right.
    fn read_credential(path: &Path) -> Result<Self, StartError> {
        Self::read_unseen(path, 0o037)
    }

    fn read_unseen(path: &Path, rights_of_others: u32) -> Result<Self, StartError> {
        let unreadable = || ConfigError::SecretUnreadable.about(path.display());
        // Non-blocking, so that a FIFO at the path cannot hold us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|_| unreadable())?);
        let metadata = file.metadata().map_err(|_| unreadable())?;
        if !metadata.is_file() || metadata.len() > SECRET_MAX {
            return Err(unreadable());
        }
        let owners = [0, rustix::process::geteuid().as_raw()];
        if metadata.mode() & rights_of_others != 0 || !owners.contains(&metadata.uid()) {
            return Err(ConfigError::SecretExposed.about(path.display()));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX as usize + 1));
        file.take(SECRET_MAX).read_to_end(&mut bytes).map_err(|_| unreadable())?;
        let secret = Self::from_bytes(std::mem::take(&mut *bytes));
        if secret.0.is_empty() { Err(unreadable()) } else { Ok(secret) }
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Makes a new file (mode 0600, never overwritten) with 128 random bits in hexadecimal: a PIN or passphrase for tests,
/// a devnet, or a machine that unlocks itself.
///
/// # Errors
/// [`ConfigError::KeyExists`] where there is a file, [`Fault`] otherwise.
pub fn create_random(path: &Path) -> Result<(), StartError> {
    let mut random = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *random).map_err(|_| Fault::Randomness.about(path.display()))?;
    let text = Zeroizing::new(hex::encode(*random));
    atomic_file::create(path, text.as_bytes()).map_err(|error| atomic_file::start_error(&error, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("pin");
        create_random(&path).expect("new file");
        assert_eq!(Secret::read_file(&path).expect("mode 0600").expose().len(), 32);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("own file");
        let error = Secret::read_file(&path).expect_err("group can read");
        assert_eq!(error.cause, ConfigError::SecretExposed.into());
    }

    #[test]
    fn what_is_no_secret_file_is_refused_and_a_line_end_is_dropped() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for bad in [dir.path().join("absent"), dir.path().to_owned()] {
            let error = Secret::read_file(&bad).expect_err("no file");
            assert_eq!(error.cause, ConfigError::SecretUnreadable.into());
        }
        for (name, content, expected) in
            [("empty", &b"\n"[..], None), ("long", &[b'a'; 2000], None), ("ok", b"12\r\n", Some(b"12"))]
        {
            let path = dir.path().join(name);
            atomic_file::create(&path, content).expect("new file");
            assert_eq!(
                Secret::read_file(&path).ok().map(|secret| secret.expose().to_vec()),
                expected.map(|text| text.to_vec())
            );
        }
    }
}
