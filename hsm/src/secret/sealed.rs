//! A secret sealed to the TPM, as a file. It is no secret itself: nobody but that TPM, in that state, makes anything of it.
//!
//! ```json
//! {
//!   "format": "stele-sealed-secret",
//!   "version": 1,
//!   "device": "/dev/tpmrm0",
//!   "pcrs": [7, 11],
//!   "parent": "000b…",
//!   "public": "0008…",
//!   "private": "0020…",
//!   "checksum": "sha256:…"
//! }
//! ```
//!
//! `pcrs` are registers of the bank of SHA-256, in rising order. `parent` is the name of the storage primary (TPM 2.0
//! Library part 1, chapter 16), `public` a TPMT_PUBLIC, and `private` the content of a TPM2B_PRIVATE, in hexadecimal.
//! `checksum` is SHA-256 over the document without it, on one line without spaces; it tells a damaged file from another
//! TPM, and protects from nothing. A document that is written in any other way than this is refused.

use super::Secret;
use crate::atomic_file;
use crate::error::{ConfigError, StartError};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tpm::pcr::PCR_MAX;
use tpm::seal::{self, Blob, Failure, SEALED_MAX};
use tpm::{Tpm, TpmError};
use types::Digest;

const FORMAT: &str = "stele-sealed-secret";
const VERSION: u32 = 1;
/// Longest file in bytes.
const FILE_MAX: u64 = 16 * 1024;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    device: PathBuf,
    pcrs: Vec<u8>,
    parent: String,
    public: String,
    private: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<Digest>,
}

impl Document {
    fn checksum(&self) -> Digest {
        let text = serde_json::to_vec(&Self { checksum: None, ..self.clone() }).expect("strings and numbers");
        Digest::sha256(&text)
    }

    fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers") + "\n"
    }

    fn read(path: &Path) -> Result<Self, StartError> {
        let unreadable =
            |error: std::io::Error| ConfigError::SecretUnreadable.about(format_args!("{} ({error})", path.display()));
        let mut text = String::new();
        let damaged = || ConfigError::SealDamaged.about(path.display());
        match File::open(path).map_err(unreadable)?.take(FILE_MAX).read_to_string(&mut text) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(damaged()),
            outcome => outcome.map_err(unreadable)?,
        };
        let document: Self = serde_json::from_str(&text).map_err(|_| damaged())?;
        let known = document.format == FORMAT && document.version == VERSION && are_registers(&document.pcrs);
        let whole = document.checksum == Some(document.checksum()) && document.to_text() == text;
        if known && whole { Ok(document) } else { Err(damaged()) }
    }

    fn blob(&self) -> Option<Blob> {
        let [parent, public, private] = [&self.parent, &self.public, &self.private].map(hex::decode);
        Some(Blob { parent: parent.ok()?, public: public.ok()?, private: private.ok()? })
    }
}

/// At least one, in rising order.
fn are_registers(pcrs: &[u8]) -> bool {
    !pcrs.is_empty() && pcrs.is_sorted_by(|one, next| one < next) && pcrs.iter().all(|pcr| *pcr <= PCR_MAX)
}

/// Seals a secret to this machine's TPM and its registers as they are now, and tries whether it comes back. The new file
/// is of mode 0600; one that is there is left alone.
///
/// # Errors
/// [`ConfigError::SealUnusable`] without a TPM 2.0, and where a register or the secret's length (1 to 128 bytes) is out
/// of bounds; [`ConfigError::KeyExists`]; faults of the disk.
pub fn seal(secret: &Secret, device: &Path, pcrs: &[u8], path: &Path) -> Result<(), StartError> {
    let out_of_bounds = |what: &str| ConfigError::SealUnusable.about(what);
    let mut pcrs = pcrs.to_vec();
    pcrs.sort_unstable();
    if !are_registers(&pcrs) {
        return Err(out_of_bounds("PCRs are numbers from 0 to 23, each of them once"));
    }
    if !(1..=SEALED_MAX).contains(&secret.expose().len()) {
        return Err(out_of_bounds("a TPM seals from 1 to 128 bytes"));
    }
    if path.exists() {
        return Err(ConfigError::KeyExists.about(path.display()));
    }
    let told = |failure| reason(failure, device.display().to_string());
    let mut tpm = Tpm::open(device).map_err(|error| told(error.into()))?;
    let blob = seal::seal(&mut tpm, &pcrs, secret.expose()).map_err(told)?;
    let back = seal::unseal(&mut tpm, &pcrs, &blob).map_err(told)?;
    if *back != secret.expose() {
        return Err(told(Failure::Altered));
    }
    let mut document = Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        device: device.to_owned(),
        pcrs,
        parent: hex::encode(blob.parent),
        public: hex::encode(blob.public),
        private: hex::encode(blob.private),
        checksum: None,
    };
    document.checksum = Some(document.checksum());
    let text = document.to_text();
    atomic_file::create(path, text.as_bytes()).map_err(|error| atomic_file::start_error(&error, path))
}

/// The TPM's device of a sealed secret.
pub(crate) fn device(path: &Path) -> Option<PathBuf> {
    Document::read(path).ok().map(|document| document.device)
}

/// The secret.
pub(super) fn unseal(path: &Path) -> Result<Secret, StartError> {
    let document = Document::read(path)?;
    let damaged = || ConfigError::SealDamaged.about(path.display());
    let blob = document.blob().ok_or_else(damaged)?;
    let told = |failure| reason(failure, format!("{} by {}", path.display(), document.device.display()));
    let mut tpm = Tpm::open(&document.device).map_err(|error| told(error.into()))?;
    let mut bytes = seal::unseal(&mut tpm, &document.pcrs, &blob).map_err(told)?;
    Ok(Secret::from_bytes(std::mem::take(&mut *bytes)))
}

fn reason(failure: Failure, subject: String) -> StartError {
    match failure {
        Failure::OtherTpm => ConfigError::SealForeign.about(subject),
        Failure::OtherState => ConfigError::SealState.about(subject),
        Failure::Altered => ConfigError::SealDamaged.about(subject),
        Failure::Tpm(error @ (TpmError::Io(_) | TpmError::Malformed | TpmError::Code { .. })) => {
            ConfigError::SealUnusable.about(format_args!("{subject} ({error})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreError;
    use crate::secret::SecretSource;
    use tempfile::TempDir;
    use tpm::simulator::Simulator;

    const PIN: &[u8] = b"never-print-this-pin";

    struct Bench {
        tpm: Simulator,
        dir: TempDir,
    }

    impl Bench {
        fn sealed() -> Self {
            let bench = Self { tpm: Simulator::start(), dir: tempfile::tempdir().expect("temporary directory") };
            seal(&Secret::from_bytes(PIN.to_vec()), &bench.tpm.socket(), &[11, 7], &bench.path()).expect("a new TPM");
            bench
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("pin.sealed")
        }

        fn read(&self) -> Result<Vec<u8>, StoreError> {
            let source = SecretSource::parse(Path::new(&format!("sealed:{}", self.path().display())));
            let secret = source.expect("a source").read();
            secret.map(|secret| secret.expose().to_vec()).map_err(|error| error.cause)
        }
    }

    #[test]
    fn a_sealed_secret_comes_back_as_often_as_it_is_asked_for_and_after_the_next_start() {
        let mut bench = Bench::sealed();
        let text = std::fs::read_to_string(bench.path()).expect("own file");
        assert!(!text.contains("never-print") && !text.contains(&hex::encode(PIN)), "{text}");
        // More often than the TPM has places for what stays loaded.
        (0..8).for_each(|_| assert_eq!(bench.read().as_deref(), Ok(PIN)));
        bench.tpm.extend(5);
        assert_eq!(bench.read().as_deref(), Ok(PIN), "a register that it is not sealed to");
        bench.tpm.restart();
        assert_eq!(bench.read().as_deref(), Ok(PIN));
    }

    #[test]
    fn a_register_that_was_extended_refuses_until_the_machine_starts_as_it_did() {
        let mut bench = Bench::sealed();
        for pcr in [7, 11] {
            bench.tpm.extend(pcr);
            assert_eq!(bench.read(), Err(ConfigError::SealState.into()), "{pcr}");
            bench.tpm.restart();
            assert_eq!(bench.read().as_deref(), Ok(PIN));
        }
    }

    #[test]
    fn another_tpm_a_cleared_one_and_none_are_told_apart_from_a_damaged_file() {
        let mut bench = Bench::sealed();
        bench.tpm.stop();
        assert_eq!(bench.read(), Err(ConfigError::SealUnusable.into()));
        bench.tpm.restart();
        bench.tpm.clear();
        assert_eq!(bench.read(), Err(ConfigError::SealForeign.into()), "cleared");
        bench.tpm.replace();
        assert_eq!(bench.read(), Err(ConfigError::SealForeign.into()), "another one");
    }

    #[test]
    fn any_flipped_byte_refuses() {
        let bench = Bench::sealed();
        let whole = std::fs::read(bench.path()).expect("own file");
        for at in 0..whole.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut flipped = whole.clone();
                flipped[at] ^= bit;
                std::fs::write(bench.path(), flipped).expect("own file");
                let refused = Document::read(&bench.path()).expect_err("altered");
                assert_eq!(refused.cause, ConfigError::SealDamaged.into(), "byte {at}, bit {bit:#x}");
            }
        }
        std::fs::write(bench.path(), &whole[..whole.len() - 1]).expect("own file");
        assert_eq!(bench.read(), Err(ConfigError::SealDamaged.into()));
        std::fs::remove_file(bench.path()).expect("own file");
        assert_eq!(bench.read(), Err(ConfigError::SecretUnreadable.into()));
    }

    #[test]
    fn the_tpm_itself_refuses_what_was_altered_under_a_checksum_that_is_right() {
        let bench = Bench::sealed();
        let right = Document::read(&bench.path()).expect("just made");
        let flip = |text: &str| {
            let mut bytes = hex::decode(text).expect("hexadecimal");
            *bytes.last_mut().expect("not empty") ^= 1;
            hex::encode(bytes)
        };
        let with = |document: Document| {
            let document = Document { checksum: Some(document.checksum()), ..document };
            std::fs::write(bench.path(), document.to_text()).expect("own file");
            bench.read().expect_err("altered")
        };
        let damaged: StoreError = ConfigError::SealDamaged.into();
        assert_eq!(with(Document { private: flip(&right.private), ..right.clone() }), damaged);
        let public = with(Document { public: flip(&right.public), ..right.clone() });
        assert!(matches!(public, StoreError::Config(ConfigError::SealDamaged | ConfigError::SealUnusable)), "{public}");
        assert_eq!(with(Document { parent: flip(&right.parent), ..right.clone() }), ConfigError::SealForeign.into());
        assert_eq!(with(Document { pcrs: vec![5], ..right.clone() }), ConfigError::SealState.into());
        assert_eq!(with(Document { pcrs: vec![7], ..right }), ConfigError::SealState.into());
    }

    #[test]
    fn what_cannot_be_sealed_is_told_and_no_file_is_left() {
        let bench = Bench { tpm: Simulator::start(), dir: tempfile::tempdir().expect("temporary directory") };
        let socket = bench.tpm.socket();
        let try_with = |length: usize, device: &Path, pcrs: &[u8]| {
            let secret = Secret::from_bytes(vec![b'1'; length]);
            seal(&secret, device, pcrs, &bench.path()).expect_err("out of bounds").cause
        };
        for (length, device, pcrs) in [
            (0, &*socket, &[7][..]),
            (SEALED_MAX + 1, &socket, &[7]),
            (8, &socket, &[]),
            (8, &socket, &[7, 7]),
            (8, &socket, &[24]),
            (8, Path::new("/dev/null"), &[7]),
            (8, Path::new("/nonexistent"), &[7]),
        ] {
            assert_eq!(try_with(length, device, pcrs), ConfigError::SealUnusable.into(), "{length} {pcrs:?}");
            assert!(!bench.path().exists());
        }
        let longest = Secret::from_bytes(vec![b'1'; SEALED_MAX]);
        seal(&longest, &socket, &[0, 23], &bench.path()).expect("within bounds");
        assert_eq!(bench.read().map(|bytes| bytes.len()), Ok(SEALED_MAX));
        let again = seal(&longest, &socket, &[7], &bench.path()).expect_err("never overwritten");
        assert_eq!(again.cause, ConfigError::KeyExists.into());
    }
}
