//! The file system that facts are read from: the machine's, or a tree that was recorded on another one. What a machine tells
//! by calls (channels, wear, cards) is files in such a tree. Reads are bounded, never wait, but for a card that hangs, and
//! change nothing (only `tune` writes); everything that was read can be written down as such a tree.

use crate::ethtool;
use crate::fact::{Fact, Reading, Why};
use crate::nvml::{self, Asker, Card};
use crate::smart;
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes that are read of a text.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Names that are read of a directory.
const NAMES_MAX: usize = 4096;

/// Where facts are read from.
#[derive(Debug)]
pub struct Root {
    base: PathBuf,
    /// The devices below it can be given commands.
    is_live: bool,
    /// Where else than in its tree cards are asked.
    cards: Option<Cards>,
    seen: Option<Mutex<Seen>>,
}

/// Cards that are asked through their library, which is loaded with the first question.
#[derive(Debug, Default)]
struct Cards {
    library: Option<PathBuf>,
    asker: OnceLock<Asker>,
}

/// What was read, by path below the base.
#[derive(Debug, Default)]
struct Seen {
    files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, PathBuf>,
    directories: BTreeMap<String, ()>,
    /// Directories that are there and could not be listed.
    unlisted: BTreeSet<String>,
}

impl Root {
    /// This machine.
    pub fn system() -> Self {
        Self { is_live: true, cards: Some(Cards::default()), ..Self::at("/") }
    }

    /// A tree below a directory.
    pub fn at(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), is_live: false, cards: None, seen: None }
    }

    /// Asks NVIDIA's cards through the library at a path, in the place of the system's or of what the tree has recorded.
    #[must_use]
    pub fn with_nvml(mut self, library: impl Into<PathBuf>) -> Self {
        self.cards = Some(Cards { library: Some(library.into()), asker: OnceLock::new() });
        self
    }

    /// Remembers from now on what is read, for [`Root::record`].
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.seen = Some(Mutex::default());
        self
    }

    fn place(&self, path: &str) -> PathBuf {
        self.base.join(path.trim_start_matches('/'))
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        if let Some(seen) = &self.seen {
            note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The bytes of a file of at most so many.
    pub fn bytes(&self, path: &str, bytes_max: usize) -> Fact<Vec<u8>> {
        let read = || {
            if let Some(number) = self.of_ethtool(path) {
                return ethtool::read(number).map(|number| number.to_string().into_bytes());
            }
            // A pipe or a device that somebody put there does not hold us up.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(self.place(path))?;
            let mut bytes = Vec::new();
            file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let reading = match read() {
            Ok(bytes) if bytes.len() > bytes_max => Reading::Unknown(Why::TooLarge),
            Ok(bytes) => {
                self.note(|seen| drop(seen.files.insert(path.to_owned(), bytes.clone())));
                Reading::Value(bytes)
            }
            Err(error) => Reading::Unknown(why(&error)),
        };
        Fact { source: path.to_owned(), reading }
    }

    /// What is asked of the kernel by a call, and is a file in recorded trees alone.
    fn of_ethtool<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(ethtool::DIR).filter(|_| self.is_live)
    }

    /// What an NVMe controller says of its wear, as [`crate::smart`] reads it. This one takes a command to the device.
    pub(crate) fn smart_page(&self, controller: &str) -> Fact<Vec<u8>> {
        let path = format!("/dev/{controller}.smart");
        if !self.is_live {
            return self.bytes(&path, smart::PAGE);
        }
        let source = format!("/dev/{controller}");
        let reading = match File::open(self.place(&source)).and_then(|device| smart::ask(&device)) {
            Ok(page) => {
                self.note(|seen| drop(seen.files.insert(path, page.clone())));
                Reading::Value(page)
            }
            Err(error) => Reading::Unknown(why(&error)),
        };
        Fact { source, reading }
    }

    /// What NVML says of the card with this PCI address.
    pub(crate) fn card(&self, address: &str) -> Card {
        let path = format!("/nvml/{address}");
        let Some(cards) = &self.cards else {
            let recorded = self.bytes(&path, nvml::ANSWERS_BYTES_MAX);
            return match recorded.parsed(|bytes| serde_json::from_slice(&bytes).ok()).reading {
                Reading::Value(card) => card,
                Reading::Unknown(why) => Card::unknown(why),
            };
        };
        let card = cards.asker.get_or_init(|| Asker::start(cards.library.clone())).ask(address);
        self.note(|seen| {
            seen.files.insert(path, serde_json::to_vec(&card).expect("answers are strings, numbers and flags"));
        });
        card
    }

    /// A text without the white space around it. What is empty is malformed: the kernel writes at least a line.
    pub fn text(&self, path: &str) -> Fact<String> {
        self.bytes(path, TEXT_BYTES_MAX).parsed(|bytes| {
            let text = String::from_utf8(bytes).ok()?;
            let text = text.trim();
            (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
        })
    }

    /// A number in decimal digits.
    pub fn number(&self, path: &str) -> Fact<u64> {
        self.text(path).parsed(|text| text.parse().ok())
    }

    /// A flag: 0 or 1.
    pub fn flag(&self, path: &str) -> Fact<bool> {
        self.text(path).parsed(|text| match text.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })
    }

    /// The names in a directory, in rising order.
    pub fn names(&self, path: &str) -> Fact<Vec<String>> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.place(path))? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
                if names.len() > NAMES_MAX {
                    return Ok(None);
                }
            }
            names.sort_unstable();
            Ok::<_, io::Error>(Some(names))
        };
        let reading = match list() {
            Ok(Some(names)) => {
                self.note(|seen| {
                    seen.directories.insert(path.to_owned(), ());
                    for name in &names {
                        // Entries are remembered as directories until something is read of them.
                        seen.directories.insert(format!("{path}/{name}"), ());
                    }
                });
                Reading::Value(names)
            }
            Ok(None) => Reading::Unknown(Why::TooLarge),
            Err(error) => Reading::Unknown(why(&error)),
        };
        if !matches!(reading, Reading::Value(_) | Reading::Unknown(Why::Absent)) {
            self.note(|seen| {
                seen.unlisted.insert(path.to_owned());
            });
        }
        Fact { source: path.to_owned(), reading }
    }

    /// The names in a directory of sysfs that a kernel makes only where it knows of such things: where it is not there, there
    /// are none. That is believed only below a directory that has anything in it: where sysfs is not mounted, or a container
    /// hides it, an empty one is in its place.
    pub fn listing(&self, path: &str) -> Fact<Vec<String>> {
        let names = self.names(path);
        if names.reading != Reading::Unknown(Why::Absent) {
            return names;
        }
        let reading = match self.is_there(path).reading {
            Reading::Value(false) => self.nothing_below(path),
            Reading::Value(true) => Reading::Unknown(Why::Unsupported),
            Reading::Unknown(why) => Reading::Unknown(why),
        };
        Fact { source: names.source, reading }
    }

    /// Whether a kernel has made something in sysfs or securityfs. That it has not is believed as in [`Root::listing`].
    pub fn is_made(&self, path: &str) -> Fact<bool> {
        self.is_there(path).read_as(|is_there| {
            let why = if is_there { None } else { self.nothing_below(path).unknown() };
            why.map_or(Reading::Value(is_there), Reading::Unknown)
        })
    }

    /// No names, if the nearest directory above that is there is one of a kernel's.
    fn nothing_below(&self, path: &str) -> Reading<Vec<String>> {
        let above = path.char_indices().rev().filter(|(_, letter)| *letter == '/').map(|(end, _)| &path[..end]);
        for above in above.filter(|above| !above.is_empty()) {
            match self.names(above).reading {
                Reading::Value(names) if names.is_empty() => return Reading::Unknown(Why::Absent),
                Reading::Value(_) => return Reading::Value(Vec::new()),
                Reading::Unknown(Why::Absent) => {}
                Reading::Unknown(why) => return Reading::Unknown(why),
            }
        }
        Reading::Unknown(Why::Absent)
    }

    /// The last name of where a link leads to, as sysfs tells drivers and subsystems.
    pub fn link_name(&self, path: &str) -> Fact<String> {
        let reading = match fs::read_link(self.place(path)) {
            Ok(target) => {
                let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
                self.note(|seen| drop(seen.links.insert(path.to_owned(), target)));
                name.map_or(Reading::Unknown(Why::Malformed), Reading::Value)
            }
            Err(error) => Reading::Unknown(why(&error)),
        };
        Fact { source: path.to_owned(), reading }
    }

    /// Whether there is anything under a path. Where a directory on the way may not be searched, that is unknown.
    pub fn is_there(&self, path: &str) -> Fact<bool> {
        let place = self.place(path);
        let reading = match fs::symlink_metadata(&place) {
            Ok(found) => {
                // In sysfs a device is often a link to its directory.
                let is_dir = found.is_dir() || fs::metadata(&place).is_ok_and(|target| target.is_dir());
                self.note(|seen| {
                    if is_dir {
                        seen.directories.insert(path.to_owned(), ());
                    } else {
                        seen.files.entry(path.to_owned()).or_default();
                    }
                });
                Reading::Value(true)
            }
            Err(error) => match why(&error) {
                Why::Absent => Reading::Value(false),
                why => Reading::Unknown(why),
            },
        };
        Fact { source: path.to_owned(), reading }
    }

    /// Writes a value to a file that is there, as a setting of the kernel is written: in one call.
    ///
    /// # Errors
    /// Those of the file system; a kernel that does not like the value says so as `InvalidInput`.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        if let Some(number) = self.of_ethtool(path) {
            return ethtool::write(number, value);
        }
        OpenOptions::new().write(true).truncate(true).open(self.place(path))?.write_all(format!("{value}\n").as_bytes())
    }

    /// Writes down everything that was read as a tree that [`Root::at`] reads the same facts from. The directory must not
    /// exist yet. Returns how many files it has.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn record(&self, dir: &Path) -> io::Result<usize> {
        fs::create_dir(dir)?;
        let Some(seen) = &self.seen else { return Ok(0) };
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let below = |path: &str| dir.join(path.trim_start_matches('/'));
        let has_content =
            |path: &str| seen.files.contains_key(path) || seen.links.contains_key(path) || seen.unlisted.contains(path);
        for path in seen.directories.keys().filter(|path| !has_content(path)) {
            fs::create_dir_all(below(path))?;
        }
        for (path, bytes) in &seen.files {
            let place = below(path);
            fs::create_dir_all(place.parent().unwrap_or(dir))?;
            File::create(place)?.write_all(bytes)?;
        }
        for (path, target) in &seen.links {
            let place = below(path);
            fs::create_dir_all(place.parent().unwrap_or(dir))?;
            // Only the name at its end is of interest, and nothing outside the tree is to be pointed at.
            std::os::unix::fs::symlink(Path::new(target.file_name().unwrap_or_default()), place)?;
        }
        // What cannot be listed is a file there, which cannot be either; an empty directory would say that there is nothing.
        for place in seen.unlisted.iter().map(|path| below(path)).filter(|place| !place.exists()) {
            fs::create_dir_all(place.parent().unwrap_or(dir))?;
            File::create(place)?;
        }
        Ok(seen.files.len() + seen.links.len())
    }
}

fn why(error: &io::Error) -> Why {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Why::Absent,
        io::ErrorKind::PermissionDenied => Why::Denied,
        // Attributes of devices that are down, switched off, or never knew: EINVAL, ENODEV, EIO, ENODATA, EOPNOTSUPP.
        _ => Why::Unsupported,
    }
}
