//! The sealed state: a partition under dm-crypt whose key only this machine's TPM gives back, and only to an image that the
//! policy key has signed for. Where Secure Boot is enforced as the state is made, it has to be enforced by the same keys
//! ever after (PCR 7): without that, whoever starts a system of his own on the machine can pretend to be the image.
//!
//! The key is drawn here, is in this process and the kernel alone, and is wiped from the one as soon as the other has it.
//! There is no second way to it: what a validator keeps it gets again from its peers.

use crate::{Fault, device_mapper, kernel_modules, say};
use image_formats::policies::{self, MEASURED};
use image_formats::sealed_state::{COPY_BYTES, DATA_OFFSET, Header, KEY_BYTES, Stage};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use stele_image::modules::SEALED;
use tpm::Tpm;
use tpm::authorised::{PolicyKey, Refusal, SignedPolicy, seal_authorised, unseal_authorised};
use tpm::seal::{Blob, Failure};
use zeroize::Zeroizing;

/// The TPM, by the kernel's resource manager; there is none of version 1.2.
const TPM: &str = "/dev/tpmrm0";
/// PCR 7: whether Secure Boot is enforced, and with which keys.
const SECURE_BOOT_PCR: u8 = 7;
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Bytes of what the stub hands on at most.
const FILE_MAX: u64 = 64 << 10;

/// What the image brings to open a sealed state with.
#[derive(Debug)]
pub struct Policies {
    key: PolicyKey,
    signed: Vec<SignedPolicy>,
}

impl Policies {
    /// As the loader stub hands them on, while the initial file system is there. They are only a claim: the TPM judges.
    pub fn of_image() -> Option<Self> {
        let read = |path: &str| -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let (key, signed) = (read(policies::KEY_FILE)?, read(policies::SIGNATURE_FILE)?);
        let policies = Self::parse(&key, &signed);
        if policies.is_none() {
            say("the image's signed policies cannot be read");
        }
        policies
    }

    fn parse(key: &[u8], signed: &[u8]) -> Option<Self> {
        let key = PolicyKey::from_point(&policies::point(key).ok()?)?;
        let signed = policies::decode(signed).ok()?.into_iter();
        let signed = signed.map(|policy| SignedPolicy { policy: policy.digest, signature: policy.signature });
        Some(Self { key, signed: signed.collect() })
    }
}

/// Opens the TPM, if there is one.
pub fn tpm() -> Result<Option<Tpm>, Fault> {
    match std::fs::metadata(TPM) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::system("looking for the TPM")(error)),
        Ok(_) => Tpm::open(Path::new(TPM)).map(Some).map_err(|error| Fault::State(format!("the TPM: {error}"))),
    }
}

/// A partition that is to be sealed, or is.
#[derive(Debug)]
pub struct Partition<'a> {
    /// Its device.
    pub path: &'a Path,
    /// Its length.
    pub bytes: u64,
}

/// Draws a key, seals it, has `format` make a file system on the encrypted device, and returns that. `None` where the
/// machine is in none of the states that the image has signed policies for: nothing would open it again.
pub fn make(
    partition: &Partition<'_>,
    tpm: &mut Tpm,
    policies: &Policies,
    format: impl Fn(&Path) -> Result<(), Fault>,
) -> Result<Option<PathBuf>, Fault> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(|error| Fault::State(format!("drawing its key: {error}")))?;
    let secure_boot = std::fs::read(SECURE_BOOT).is_ok_and(|value| value.get(4) == Some(&1));
    let bound: &[u8] = if secure_boot { &[SECURE_BOOT_PCR] } else { &[] };
    let blob = seal_authorised(tpm, &policies.key, bound, &*key);
    let blob = blob.map_err(|failure| refused(&Refusal::Sealed(failure)))?;
    // What does not open now never will.
    match unseal_authorised(tpm, &policies.key, &policies.signed, &MEASURED, bound, &blob) {
        Ok(back) if **back == *key => {}
        Err(Refusal::NotSigned) => return Ok(None),
        Ok(_) => return Err(refused(&Refusal::Sealed(Failure::Altered))),
        Err(refusal) => return Err(refused(&refusal)),
    }
    let mut header = Header {
        stage: Stage::Made,
        bound: bound.iter().fold(0, |bits, pcr| bits | 1 << pcr),
        policy_key: policies.key.name().to_vec(),
        parent: blob.parent,
        public: blob.public,
        private: blob.private,
    };
    write(partition.path, &header)?;
    let device = decrypted(partition, &key)?;
    format(&device)?;
    let synced = File::open(&device).and_then(|file| file.sync_all());
    synced.map_err(Fault::system("syncing the new state"))?;
    header.stage = Stage::Ready;
    write(partition.path, &header)?;
    tell(secure_boot);
    Ok(Some(device))
}

/// Has the TPM give the key back, and returns the decrypted device.
pub fn open(partition: &Partition<'_>, header: &Header, policies: Option<&Policies>) -> Result<PathBuf, Fault> {
    let mut tpm = tpm()?.ok_or_else(|| Fault::State("it is sealed to a TPM, and this machine has none".to_owned()))?;
    let policies = policies.ok_or_else(|| {
        let sealed_for = hex(header.policy_key.get(2..).unwrap_or_default());
        Fault::State(format!("it is sealed for images that policy key {sealed_for} signs; this image is not signed"))
    })?;
    let bound: Vec<u8> = (0..24).filter(|pcr| header.bound >> pcr & 1 == 1).collect();
    let blob = Blob { parent: header.parent.clone(), public: header.public.clone(), private: header.private.clone() };
    let key = unseal_authorised(&mut tpm, &policies.key, &policies.signed, &MEASURED, &bound, &blob);
    let key = key.map_err(|refusal| match refusal {
        Refusal::Sealed(Failure::OtherState) if header.policy_key != policies.key.name() => {
            let [sealed_for, own] =
                [&header.policy_key[..], &policies.key.name()].map(|name| hex(&name[2.min(name.len())..]));
            Fault::State(format!("it is sealed for images that policy key {sealed_for} signs, this one has {own}"))
        }
        refusal => refused(&refusal),
    })?;
    let key: &[u8; KEY_BYTES] =
        key[..].try_into().map_err(|_| Fault::State("what the TPM gives back is not its key".to_owned()))?;
    let device = decrypted(partition, key)?;
    tell(bound.contains(&SECURE_BOOT_PCR));
    Ok(device)
}

fn tell(secure_boot: bool) {
    if secure_boot {
        say("the state is encrypted, and sealed to this TPM, Secure Boot and the images of the policy key");
    } else {
        say("the state is encrypted, and sealed to this TPM and the images of the policy key");
        say(
            "Secure Boot is off: who starts another system on this machine can open the state; a disk without it is safe",
        );
    }
}

/// In words for the console.
fn refused(refusal: &Refusal) -> Fault {
    Fault::State(match refusal {
        Refusal::NotSigned => {
            "the policy key has not signed for this image, or not for the command line that it was started with (PCR 11, \
             12)"
                .to_owned()
        }
        Refusal::Signature => "the image's policy is not signed by the policy key that it brings".to_owned(),
        Refusal::Sealed(Failure::OtherTpm) => "it is sealed to another TPM, or this one was cleared".to_owned(),
        Refusal::Sealed(Failure::OtherState) => {
            "Secure Boot or its keys (PCR 7) are not as they were when it was sealed".to_owned()
        }
        Refusal::Sealed(Failure::Altered) => "its sealed key was altered".to_owned(),
        Refusal::Sealed(Failure::Tpm(error)) => format!("the TPM: {error}"),
    })
}

/// One copy after the other, each on the disk before what follows.
fn write(path: &Path, header: &Header) -> Result<(), Fault> {
    let copy = header.encode().map_err(|error| Fault::State(error.to_string()))?;
    let about = || Fault::system(format!("writing the header of {}", path.display()));
    let file = OpenOptions::new().write(true).open(path).map_err(about())?;
    for at in [0, COPY_BYTES as u64] {
        file.write_all_at(&copy, at).and_then(|()| file.sync_all()).map_err(about())?;
    }
    Ok(())
}

/// The device that is written to in the clear.
fn decrypted(partition: &Partition<'_>, key: &[u8; KEY_BYTES]) -> Result<PathBuf, Fault> {
    let bytes = partition.bytes.checked_sub(DATA_OFFSET).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| Fault::State(format!("{} is too small for it", partition.path.display())))?;
    kernel_modules::ask(SEALED)?;
    device_mapper::crypt(partition.path, DATA_OFFSET, bytes, key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_written_twice() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let (public, private) = (vec![3; 80], vec![4; 160]);
        let header = Header { stage: Stage::Ready, bound: 0, policy_key: vec![1], parent: vec![2], public, private };
        write(disk.path(), &header).unwrap();
        let mut bytes = std::fs::read(disk.path()).unwrap();
        bytes[30] ^= 1;
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn a_partition_that_holds_no_more_than_the_header_is_refused() {
        let partition = Partition { path: Path::new("/dev/null"), bytes: DATA_OFFSET };
        assert!(matches!(decrypted(&partition, &[0; KEY_BYTES]), Err(Fault::State(_))));
    }

    #[test]
    fn policies_that_make_no_sense_are_none() {
        assert!(Policies::parse(b"-----BEGIN PUBLIC KEY-----", b"STELEPOL").is_none());
    }
}
