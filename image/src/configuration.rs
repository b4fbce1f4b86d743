//! A machine's configuration: the key that signs it, a folder that becomes a bundle, and the bundle's place on a disk.

use crate::disk;
use crate::failure::Failure;
use ed25519_dalek::SigningKey;
use image_formats::bundle::Bundle;
use image_formats::gpt::{PRIMARY_SECTORS, SECTOR, Table};
use image_formats::machine::{Machine, TIME_AUTHORITY};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The key of the flavour `dev`: known to everybody, so that tests and demonstrations need none. No other flavour takes it.
pub const DEV_SEED: [u8; 32] = *b"stele dev configuration: no key!";

/// The public half of the key of `dev`.
pub fn dev_public() -> [u8; 32] {
    SigningKey::from_bytes(&DEV_SEED).verifying_key().to_bytes()
}

/// What the file of a secret begins with, and that of its public half: one is never taken for the other.
const SECRET: &str = "ed25519-secret:";
const PUBLIC: &str = "ed25519:";

/// The public half of a key, as its file has it.
pub fn public_of(seed: &[u8; 32]) -> String {
    format!("{PUBLIC}{}", hex::encode(SigningKey::from_bytes(seed).verifying_key().to_bytes()))
}

/// Makes a key: the secret in a new file of mode 0600, the public half beside it with `.pub`.
pub fn make_key(path: &Path) -> Result<String, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::unfit(error.to_string(), "the system gives no randomness"))?;
    let public = public_of(&seed);
    let mut options = OpenOptions::new();
    let about = |path: &Path| Failure::io(format!("writing {}", path.display()));
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(about(path))?;
    file.write_all(format!("{SECRET}{}\n", hex::encode(seed)).as_bytes()).map_err(about(path))?;
    let beside = path.with_added_extension("pub");
    std::fs::write(&beside, format!("{public}\n")).map_err(about(&beside))?;
    Ok(public)
}

/// Reads the secret file of a key.
///
/// # Errors
/// [`Failure`] for a public half, or anything else.
pub fn read_secret(path: &Path) -> Result<[u8; 32], Failure> {
    read_key(path, SECRET, "the secret file of `image key`; its public half (.pub) signs nothing")
}

/// Reads the public half of a key.
///
/// # Errors
/// [`Failure`] for a secret, which must not get into an image, or anything else.
pub fn read_public(path: &Path) -> Result<[u8; 32], Failure> {
    read_key(path, PUBLIC, "the public half (.pub) of `image key`; the secret stays where it is")
}

fn read_key(path: &Path, prefix: &str, wanted: &'static str) -> Result<[u8; 32], Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::io(format!("reading {}", path.display())))?;
    let digits = text.trim().strip_prefix(prefix);
    let bytes = digits.and_then(|digits| hex::decode(digits).ok()?.try_into().ok());
    bytes.ok_or_else(|| Failure::unfit(format!("{} is not what is wanted here", path.display()), wanted))
}

/// All files of a folder, by their paths in it.
pub fn collect(folder: &Path, serial: u64) -> Result<Bundle, Failure> {
    let mut bundle = Bundle { serial, files: Vec::new() };
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let about = || Failure::io(format!("reading {}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(about())? {
            let entry = entry.map_err(about())?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(about())?.is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else {
                bundle.files.push((name, std::fs::read(entry.path()).map_err(about())?));
            }
        }
    }
    bundle.files.sort();
    Ok(bundle)
}

/// What every machine's configuration has.
const NEEDED: [&str; 4] = ["machine.conf", "node/node.toml", "node/genesis.toml", "signer/signer.toml"];

/// Sees to it that a machine could start from a bundle, as far as that can be seen from outside: the files that each has are
/// there, and are text of their kind; `machine.conf` is as init wants it.
///
/// # Errors
/// [`Failure`] names the file.
pub fn check(bundle: &Bundle) -> Result<(), Failure> {
    for name in NEEDED {
        let Some(bytes) = bundle.file(name) else {
            return Err(Failure::unfit(
                format!("the folder has no {name}"),
                "`image configure --help` names its files",
            ));
        };
        let text = std::str::from_utf8(bytes).map_err(|error| Failure::content(name, error))?;
        if name.ends_with(".toml") {
            text.parse::<toml::Table>().map_err(|error| Failure::content(name, error))?;
        } else {
            let machine = Machine::parse(text).map_err(|error| Failure::content(name, error))?;
            let authenticated = machine.time.iter().any(|server| server.authenticated);
            if authenticated && bundle.file(TIME_AUTHORITY).is_none() {
                return Err(Failure::unfit(
                    format!("{name} names a time server with `nts`, and the folder has no {TIME_AUTHORITY}"),
                    "put the certificate (PEM) there to which that of the server leads",
                ));
            }
        }
    }
    Ok(())
}

/// The serial number of the configuration that a disk has, whoever signed it; none where there is none.
///
/// # Errors
/// [`Failure`]: the disk cannot be read, or has no place for one.
pub fn serial_on(disk: &Path) -> Result<Option<u64>, Failure> {
    let mut file = File::open(disk).map_err(Failure::io(format!("reading {}", disk.display())))?;
    place(disk, &mut file)?;
    let mut bytes = vec![0; disk::CONFIGURATION_BYTES];
    file.read_exact(&mut bytes).map_err(Failure::io(format!("reading {}", disk.display())))?;
    Ok(Bundle::serial_of(&bytes))
}

/// Goes to where a disk has its configuration.
fn place(disk: &Path, file: &mut File) -> Result<(), Failure> {
    let about = || Failure::io(format!("reading {}", disk.display()));
    let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
    file.read_exact(&mut start).map_err(about())?;
    let ours = |reason: &dyn std::fmt::Display| {
        let help = "see that it is the right disk; `image flash` makes the place for a configuration";
        Failure::unfit(format!("{}: {reason}", disk.display()), help)
    };
    let table = Table::decode(&start).map_err(|error| ours(&error))?;
    let partition = table.first_of(disk::CONFIGURATION);
    let partition = partition.ok_or_else(|| ours(&"it has no partition for a configuration"))?;
    file.seek(SeekFrom::Start(partition.offset())).map(drop).map_err(about())
}

/// Writes a signed bundle to its partition on a disk or image.
pub fn write(disk: &Path, bundle: &Bundle, seed: &[u8; 32]) -> Result<(), Failure> {
    let mut bytes =
        bundle.encode(&SigningKey::from_bytes(seed)).map_err(|error| Failure::content("the configuration", error))?;
    bytes.resize(disk::CONFIGURATION_BYTES, 0);
    let about = || Failure::io(format!("writing {}", disk.display()));
    let mut file = OpenOptions::new().read(true).write(true).open(disk).map_err(about())?;
    place(disk, &mut file)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(about())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_goes_through_a_disk_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("node")).unwrap();
        std::fs::write(folder.path().join("node/node.toml"), "x = 1").unwrap();
        let bundle = collect(folder.path(), 3).unwrap();
        let disk = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(disk.path(), disk::image(&[0; 4096], &[], &[0; 4096], &[1; 32])).unwrap();
        write(disk.path(), &bundle, &DEV_SEED).unwrap();
        let bytes = std::fs::read(disk.path()).unwrap();
        let place = Table::decode(&bytes).unwrap().first_of(disk::CONFIGURATION).unwrap().offset() as usize;
        let read = Bundle::decode(&bytes[place..], &dev_public()).unwrap();
        assert_eq!((read.serial, read.file("node/node.toml")), (3, Some(&b"x = 1"[..])));
        assert_eq!(serial_on(disk.path()).unwrap(), Some(3));
        assert!(serial_on(folder.path()).is_err());
    }

    #[test]
    fn a_folder_that_no_machine_could_start_from_is_refused_by_the_name_of_a_file() {
        let text = |name: &str| (name.to_owned(), b"x = 1\n".to_vec());
        let mut whole = Bundle { serial: 1, files: NEEDED.map(text).to_vec() };
        let machine = "address = dhcp\nrpc = 192.0.2.7:7300\n";
        for (machine, words) in [("x = 1", "x = 1"), (&format!("{machine}nts = 192.0.2.1"), TIME_AUTHORITY)] {
            whole.files[0].1 = machine.into();
            assert!(check(&whole).is_err_and(|failure| failure.to_string().contains(words)), "{words}");
        }
        whole.files[0].1 = machine.into();
        check(&whole).unwrap();
        for missing in NEEDED {
            let mut less = whole.clone();
            less.files.retain(|(name, _)| name != missing);
            assert!(check(&less).is_err_and(|failure| failure.to_string().contains(missing)), "{missing}");
        }
        for broken in [&b"x=="[..], &[0xFF, 0xFE]] {
            let mut damaged = whole.clone();
            damaged.files[1].1 = broken.to_vec();
            assert!(check(&damaged).is_err_and(|failure| failure.to_string().contains(NEEDED[1])));
        }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let public = make_key(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let beside = path.with_added_extension("pub");
        assert_eq!(format!("{PUBLIC}{}", hex::encode(read_public(&beside).unwrap())), public);
        let secret = read_secret(&path).unwrap();
        assert_eq!(SigningKey::from_bytes(&secret).verifying_key().to_bytes(), read_public(&beside).unwrap());
        assert!(read_public(&path).is_err() && read_secret(&beside).is_err(), "neither is taken for the other");
        assert!(make_key(&path).is_err());
    }
}
