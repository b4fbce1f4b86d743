//! The machine's configuration: a signed bundle is looked for on our own disk and on sticks, and taken once. The highest serial
//! number wins, and none below the one that was taken is ever taken again; without a new one, what was taken stays.

use crate::disks::{self, CONFIGURATION, Disk};
use crate::state::FOLDER;
use crate::{Fault, say};
use image_formats::bundle::{BYTES_MAX, Bundle, BundleError};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The node's user and group.
pub const NODE_USER: u32 = 900;
/// The signer's.
pub const SIGNER_USER: u32 = 901;
/// The time service's.
pub const TIME_USER: u32 = 902;

/// Takes a newer one where there is one; returns the text of `machine.conf`.
pub fn take(disk: &Disk, trusted: &[u8; 32]) -> Result<String, Fault> {
    let known = serial(Path::new(FOLDER));
    let best = disks::everywhere(disk, CONFIGURATION)
        .into_iter()
        .filter_map(|device| match read(&device, trusted) {
            Ok(bundle) => Some((bundle, device)),
            Err(BundleError::Absent) => None,
            Err(error) => {
                say(format_args!("{}: {error}", device.display()));
                None
            }
        })
        .max_by_key(|(bundle, _)| bundle.serial);
    match (best, known) {
        (Some((bundle, device)), known) if known.is_none_or(|known| known < bundle.serial) => {
            say(format_args!("configuration {} from {}", bundle.serial, device.display()));
            import(Path::new(FOLDER), &bundle)?;
        }
        (Some((bundle, _)), Some(known)) if bundle.serial < known => {
            say(format_args!("configuration {} is older than {known}, which was taken: left alone", bundle.serial));
        }
        (_, Some(_)) => {}
        (_, None) => return Err(Fault::Configuration("there is none that the trusted key has signed".into())),
    }
    let path = Path::new(FOLDER).join("machine.conf");
    std::fs::read_to_string(&path).map_err(Fault::system(format!("reading {}", path.display())))
}

fn read(device: &Path, trusted: &[u8; 32]) -> Result<Bundle, BundleError> {
    let mut bytes = Vec::new();
    let file = File::open(device).map_err(|_| BundleError::Length)?;
    file.take(BYTES_MAX as u64).read_to_end(&mut bytes).map_err(|_| BundleError::Length)?;
    Bundle::decode(&bytes, trusted)
}

/// The serial number of what was taken.
fn serial(folder: &Path) -> Option<u64> {
    std::fs::read_to_string(folder.join("serial")).ok()?.trim().parse().ok()
}

/// Writes the files, each for its owner alone, and the serial number last, when all else is on the disk.
fn import(folder: &Path, bundle: &Bundle) -> Result<(), Fault> {
    for (place, user) in [("node", NODE_USER), ("signer", SIGNER_USER)] {
        make_folder(&folder.join(place), user)?;
    }
    for (name, content) in &bundle.files {
        let user = match name.split('/').next() {
            Some("node") => NODE_USER,
            Some("signer") => SIGNER_USER,
            Some("time") => TIME_USER,
            _ if name == "machine.conf" => 0,
            _ => {
                return Err(Fault::Configuration(format!(
                    "{name} belongs to nobody: only machine.conf, node/, signer/ and time/ do"
                )));
            }
        };
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            make_folder(parent, user)?;
        }
        write(&path, content, user)?;
    }
    // SAFETY: the call takes and touches nothing.
    unsafe { libc::sync() };
    write(&folder.join("serial"), bundle.serial.to_string().as_bytes(), 0)
}

/// Makes a folder for a user alone, and those above it that are not there.
pub fn make_folder(path: &Path, user: u32) -> Result<(), Fault> {
    let about = || Fault::system(format!("making {}", path.display()));
    if path == Path::new(FOLDER) || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent, user)?;
    }
    DirBuilder::new().mode(0o700).create(path).map_err(about())?;
    own(path, user).map_err(about())
}

fn write(path: &Path, content: &[u8], user: u32) -> Result<(), Fault> {
    let about = || Fault::system(format!("writing {}", path.display()));
    let new: PathBuf = path.with_added_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(about())?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(about())?;
    own(&new, user).map_err(about())?;
    std::fs::rename(&new, path).map_err(about())
}

/// Gives a path to a user; tests run as whoever they are.
fn own(path: &Path, user: u32) -> std::io::Result<()> {
    if cfg!(test) { Ok(()) } else { std::os::unix::fs::chown(path, Some(user), Some(user)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn bundle(name: &str) -> Bundle {
        Bundle { serial: 4, files: vec![(name.to_owned(), b"x".to_vec()), ("machine.conf".to_owned(), b"y".to_vec())] }
    }

    #[test]
    fn files_are_their_owners_alone_and_the_serial_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(serial(folder.path()), None);
        import(folder.path(), &bundle("signer/token/object")).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("signer/token"), mode("signer/token/object"), serial(folder.path())), (0o700, 0o600, Some(4)));
    }

    #[test]
    fn files_of_nobody_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(import(folder.path(), &bundle("cron/job")).is_err());
        assert_eq!(serial(folder.path()), None);
    }
}
