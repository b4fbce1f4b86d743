//! The record of what was changed, and the two ways through it. The record is durable before the first write and holds for each
//! file what it said before Stele first wrote to it; it belongs to one start of the machine, since no setting outlives that.

use super::{Setting, Wanted, hugepages};
use crate::ethtool;
use crate::fact::{Reading, Why};
use crate::probe;
use crate::root::Root;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Version of the record's format.
const VERSION: u32 = 1;
/// Bytes that are read of a record.
const RECORD_BYTES_MAX: u64 = 4 << 20;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was changed since the machine was started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    boot_id: String,
    changes: Vec<Change>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    path: String,
    before: String,
    after: String,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The record cannot be read or written.
    #[error("{path}: {source}")]
    Record {
        /// The record.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The record is none.
    #[error("{path} is no record of `stele hw tune apply`: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The processor or the kernel has no pages of this size.
    #[error("there are no huge pages of {kib} KiB here; sizes in KiB that there are: {known}")]
    NoSuchPages {
        /// The size.
        kib: u64,
        /// Those that there are.
        known: String,
    },
    /// Without it nobody knows whether a record is of this start of the machine.
    #[error("{BOOT_ID}: {0}")]
    BootId(Why),
    /// There is nothing to take back.
    #[error("{path}: not there, so nothing was applied since the machine was started")]
    NothingApplied {
        /// Where the record would be.
        path: PathBuf,
    },
}

/// What became of one file.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The file.
    pub path: String,
    /// What it said before.
    pub before: String,
    /// What was to be written.
    pub value: String,
    /// `None` if it says so now, else why not.
    pub problem: Option<String>,
}

/// Writes all settings that are due, and the record of what was there to `record`. A file that refuses is told, the others
/// are written all the same.
///
/// # Errors
/// Where the record cannot be made; then nothing was written.
pub fn apply(root: &Root, settings: &[Setting], record: &Path) -> Result<Vec<Outcome>, TuneError> {
    let boot_id = boot_id(root)?;
    let mut changes = match read(record)? {
        Some(known) if known.boot_id == boot_id => known.changes,
        _ => Vec::new(),
    };
    let due: Vec<Change> = settings
        .iter()
        .filter(|setting| setting.is_due())
        .filter_map(|setting| match &setting.now {
            Reading::Value(now) => Some(Change {
                path: setting.path.clone(),
                before: probe::chosen(now)
                    .filter(|_| matches!(setting.wanted, Wanted::Word(_)))
                    .unwrap_or_else(|| now.clone()),
                after: setting.wanted.text(),
            }),
            Reading::Unknown(_) => None,
        })
        .collect();
    for change in &due {
        match changes.iter_mut().find(|known| known.path == change.path) {
            Some(known) => known.after.clone_from(&change.after),
            None => changes.push(change.clone()),
        }
    }
    if due.is_empty() {
        return Ok(Vec::new());
    }
    keep(record, &Record { version: VERSION, boot_id, changes })?;
    let outcome = |change: Change| {
        let setting = settings.iter().find(|setting| setting.path == change.path);
        let met = |now: &str| setting.is_some_and(|setting| setting.wanted.is_met_by(now));
        let problem = put(root, &change.path, &change.after, met);
        Outcome { path: change.path, before: change.before, value: change.after, problem }
    };
    Ok(due.into_iter().map(outcome).collect())
}

/// Puts back what the record says, the last change first, and removes it. What somebody has changed since is left alone and
/// told. What cannot be put back stays in the record.
///
/// # Errors
/// Where there is no record, or it cannot be read; then nothing was written.
pub fn revert(root: &Root, record: &Path) -> Result<Vec<Outcome>, TuneError> {
    let nothing = || TuneError::NothingApplied { path: record.to_owned() };
    let mut known = read(record)?.ok_or_else(nothing)?;
    if known.boot_id != boot_id(root)? {
        remove(record)?;
        return Err(nothing());
    }
    let (mut outcomes, mut left) = (Vec::new(), Vec::new());
    for change in std::mem::take(&mut known.changes).into_iter().rev() {
        let now = root.text(&change.path);
        let same = |left: &str, right: &str| {
            left == right
                || probe::chosen(left).as_deref() == Some(right)
                || (probe::list(left).is_some() && probe::list(left) == probe::list(right))
        };
        let problem = match now.reading {
            // What was recorded and never written, or put back before a crash.
            Reading::Value(now) if same(&now, &change.before) => None,
            Reading::Value(now) if !same(&now, &change.after) && !is_part(&change, &now) => {
                Some(format!("it is {now:?} now, which Stele did not write: left alone"))
            }
            _ => {
                let problem = put(root, &change.path, &change.before, |now| same(now, &change.before));
                left.extend(problem.is_some().then(|| change.clone()));
                problem
            }
        };
        outcomes.push(Outcome { path: change.path, before: change.after, value: change.before, problem });
    }
    if left.is_empty() {
        remove(record)?;
    } else {
        left.reverse();
        keep(record, &Record { changes: left, ..known })?;
    }
    Ok(outcomes)
}

/// Whether a count of huge pages is on the way from what it was to what was asked for: a kernel whose memory is in pieces goes as
/// far as it can.
fn is_part(change: &Change, now: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let Some(((before, after), now)) = number(&change.before).zip(number(&change.after)).zip(number(now)) else {
        return false;
    };
    hugepages::is_count(&change.path) && (before.min(after)..=before.max(after)).contains(&now)
}

/// Writes a value and looks whether the kernel has taken it.
fn put(root: &Root, path: &str, value: &str, met: impl Fn(&str) -> bool) -> Option<String> {
    if let Err(error) = root.write(path, value) {
        return Some(match error.kind() {
            ErrorKind::PermissionDenied => format!("{error}: this takes root"),
            ErrorKind::Unsupported => "its driver has no such setting".to_owned(),
            ErrorKind::InvalidInput => format!("{error}: the kernel does not take this value"),
            _ => error.to_string(),
        });
    }
    match root.text(path).reading {
        Reading::Value(now) if met(&now) => None,
        Reading::Value(now) => Some(format!("the kernel took the value and says {now:?} all the same")),
        Reading::Unknown(why) => Some(format!("it was written and cannot be read: {why}")),
    }
}

fn boot_id(root: &Root) -> Result<String, TuneError> {
    match root.text(BOOT_ID).reading {
        Reading::Value(id) => Ok(id),
        Reading::Unknown(why) => Err(TuneError::BootId(why)),
    }
}

fn read(path: &Path) -> Result<Option<Record>, TuneError> {
    let refused = |source| TuneError::Record { path: path.to_owned(), source };
    let malformed = |what: String| TuneError::Malformed { path: path.to_owned(), what };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
        Ok(found) if found.len() > RECORD_BYTES_MAX => return Err(malformed("it is too long".into())),
        Ok(_) => {}
    }
    let record: Record =
        serde_json::from_slice(&fs::read(path).map_err(refused)?).map_err(|error| malformed(error.to_string()))?;
    if record.version != VERSION {
        return Err(malformed(format!("its version is {}, this program knows {VERSION}", record.version)));
    }
    // It is written to as root: only what this program ever tunes may stand in it.
    let ours = |change: &Change| {
        let below =
            ["/proc/sys/", "/proc/irq/", "/sys/", ethtool::DIR].iter().any(|prefix| change.path.starts_with(prefix));
        below && !change.path.split('/').any(|part| part == "..")
    };
    match record.changes.iter().find(|change| !ours(change)) {
        Some(change) => Err(malformed(format!("it names {}", change.path))),
        None => Ok(Some(record)),
    }
}

/// Durable, whole, and for root's eyes.
fn keep(path: &Path, record: &Record) -> Result<(), TuneError> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| TuneError::Record { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), TuneError> {
    fs::remove_file(path).map_err(|source| TuneError::Record { path: path.to_owned(), source })
}
