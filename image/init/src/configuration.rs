//! The machine's configuration: a signed bundle is looked for on our own disk and on sticks, and taken once. The highest serial
//! number wins, and none below the one that was taken is ever taken again; without a new one, what was taken stays.

use crate::disks::{self, CONFIGURATION, Disk};
use crate::state::FOLDER;
use crate::{Fault, say};
use image_formats::bundle::{BYTES_MAX, Bundle, BundleError};
use image_formats::machine::Machine;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a stick may take to appear, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(1);
/// What the machine is to be.
const MACHINE: &str = "machine.conf";
/// The node's user and group.
pub const NODE_USER: u32 = 900;
/// The signer's.
pub const SIGNER_USER: u32 = 901;
/// The time service's.
pub const TIME_USER: u32 = 902;

/// Takes a newer one where there is one; returns what its `machine.conf` says. Where there is none at all, `search` has further
/// disks and sticks appear.
pub fn take(disk: &Disk, trusted: &[u8; 32], search: impl FnOnce()) -> Result<Machine, Fault> {
    let known = serial(Path::new(FOLDER));
    // What was taken can be damaged, and what comes is then its cure.
    let before = known.and_then(|_| taken().ok());
    let mut best = look(disk, trusted, before.as_ref());
    if best.is_none() && known.is_none() {
        search();
        let deadline = Instant::now() + PATIENCE;
        while best.is_none() && Instant::now() < deadline {
            std::thread::sleep(EVERY);
            best = look(disk, trusted, None);
        }
    }
    match (best, known) {
        (Some((bundle, device)), known) if known.is_none_or(|known| known < bundle.serial) => {
            say(format_args!("configuration {} from {}", bundle.serial, device.display()));
            import(&bundle)?;
        }
        (Some((bundle, _)), Some(known)) if bundle.serial < known => {
            say(format_args!("configuration {} is older than {known}, which was taken: left alone", bundle.serial));
        }
        (_, Some(_)) => {}
        (_, None) => return Err(Fault::Configuration("there is none that the trusted key has signed".into())),
    }
    taken()
}

/// A newer one than was taken, and where it lies, for a machine that runs.
pub fn newer(disk: &Disk, trusted: &[u8; 32], machine: &Machine) -> Option<(Bundle, PathBuf)> {
    let known = serial(Path::new(FOLDER));
    look(disk, trusted, Some(machine)).filter(|(bundle, _)| known.is_none_or(|known| known < bundle.serial))
}

/// What was taken.
fn taken() -> Result<Machine, Fault> {
    let path = Path::new(FOLDER).join(MACHINE);
    parse(&std::fs::read_to_string(&path).map_err(Fault::system(format!("reading {}", path.display())))?)
}

fn parse(text: &str) -> Result<Machine, Fault> {
    Machine::parse(text).map_err(|error| Fault::Configuration(format!("{MACHINE}: {error}")))
}

/// The newest on all disks that are there. A machine that has one takes none of another disk with which it could not start, or
/// that is another machine's: the key that signs them is the same.
fn look(disk: &Disk, trusted: &[u8; 32], machine: Option<&Machine>) -> Option<(Bundle, PathBuf)> {
    let own = disk.partition(CONFIGURATION);
    let refusal = |device: &PathBuf, bundle: &Bundle| {
        machine.filter(|_| own.as_ref() != Some(device)).and_then(|machine| obstacle(bundle, machine))
    };
    let bundles = disks::everywhere(disk, CONFIGURATION).into_iter().filter_map(|device| {
        let told = match read(&device, trusted) {
            Ok(bundle) => match refusal(&device, &bundle) {
                None => return Some((bundle, device)),
                Some(reason) => format!("configuration {}: {reason}: left alone", bundle.serial),
            },
            Err(BundleError::Absent) => return None,
            Err(error) => error.to_string(),
        };
        say(format_args!("{}: {told}", device.display()));
        None
    });
    bundles.max_by_key(|(bundle, _)| bundle.serial)
}

/// Why a machine does not take one from another disk.
fn obstacle(bundle: &Bundle, machine: &Machine) -> Option<String> {
    let text = bundle.file(MACHINE).map(String::from_utf8_lossy);
    match text.as_deref().map(parse) {
        None => Some(format!("it has no {MACHINE}")),
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(other)) if other.name != machine.name => {
            Some(format!("it is for {}, and this is {}", other.name, machine.name))
        }
        Some(Ok(_)) => None,
    }
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

/// Takes one.
pub fn import(bundle: &Bundle) -> Result<(), Fault> {
    import_to(Path::new(FOLDER), bundle)
}

/// Writes the files, each for its owner alone, and the serial number last, when all else is on the disk. None of them changes
/// before all of the new ones are there.
fn import_to(folder: &Path, bundle: &Bundle) -> Result<(), Fault> {
    for (place, user) in [("node", NODE_USER), ("signer", SIGNER_USER)] {
        make_folder(&folder.join(place), user)?;
    }
    let mut written = Vec::new();
    for (name, content) in &bundle.files {
        let user = match name.split('/').next() {
            Some("node") => NODE_USER,
            Some("signer") => SIGNER_USER,
            Some("time") => TIME_USER,
            _ if name == MACHINE => 0,
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
        written.push(write(path, content, user)?);
    }
    settle(folder, written)?;
    let serial = write(folder.join("serial"), bundle.serial.to_string().as_bytes(), 0)?;
    settle(folder, vec![serial])?;
    sync(folder)
}

/// Puts new files in the place of the old ones, when all that they hold is on the disk, and all that was done before.
fn settle(folder: &Path, written: Vec<(PathBuf, PathBuf)>) -> Result<(), Fault> {
    sync(folder)?;
    written.into_iter().try_for_each(|(new, path)| {
        std::fs::rename(&new, &path).map_err(Fault::system(format!("writing {}", path.display())))
    })
}

/// Has the file system of a folder write whatever it holds back: once for all files.
fn sync(folder: &Path) -> Result<(), Fault> {
    let about = || Fault::system(format!("writing {}", folder.display()));
    let open = File::open(folder).map_err(about())?;
    // SAFETY: the descriptor is open.
    if unsafe { libc::syncfs(open.as_raw_fd()) } == 0 { Ok(()) } else { Err(about()(io::Error::last_os_error())) }
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

/// Writes a file beside the one whose place it will take; returns both paths.
fn write(path: PathBuf, content: &[u8], user: u32) -> Result<(PathBuf, PathBuf), Fault> {
    let about = || Fault::system(format!("writing {}", path.display()));
    let new: PathBuf = path.with_added_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(about())?;
    file.write_all(content).map_err(about())?;
    own(&new, user).map_err(about())?;
    Ok((new, path))
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
        import_to(folder.path(), &bundle("signer/token/object")).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("signer/token"), mode("signer/token/object"), serial(folder.path())), (0o700, 0o600, Some(4)));
    }

    #[test]
    fn another_machines_and_what_cannot_be_read_is_left_alone() {
        let with = |text: &str| Bundle { serial: 9, files: vec![(MACHINE.to_owned(), text.as_bytes().to_vec())] };
        let north = "name = north\naddress = 192.0.2.7/24\nrpc = 192.0.2.7:8545\n";
        let machine = parse(north).unwrap();
        assert_eq!(obstacle(&with(&north.replace("2.7", "2.8")), &machine), None);
        let other = obstacle(&with(&north.replace("north", "south")), &machine);
        assert_eq!(other.as_deref(), Some("it is for south, and this is north"));
        assert!(obstacle(&with("nonsense"), &machine).is_some());
        assert!(obstacle(&Bundle { serial: 9, files: Vec::new() }, &machine).is_some_and(|why| why.contains(MACHINE)));
    }

    #[test]
    fn files_of_nobody_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(import_to(folder.path(), &bundle("cron/job")).is_err());
        assert_eq!(serial(folder.path()), None);
    }
}
