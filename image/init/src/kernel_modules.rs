//! Loading modules by the index that the builder wrote: those named to be loaded always, those for devices that are there, and
//! those that init asks for by name. The kernel decompresses them itself, and under lockdown takes only what the distribution
//! signed, or a key that the firmware's db has while Secure Boot is enforced.
//!
//! It checks each one's signature, which is most of what a module costs: what a start can do without is left for later.

use crate::{Fault, say};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Where those lie that the root may need.
pub const EARLY: &str = "/modules";
/// Where the others lie.
pub const LATE: &str = "/usr/lib/stele/modules";
/// How many are loaded at a time: most of the time a driver's start is waiting.
const AT_A_TIME: usize = 4;
/// `MODULE_INIT_COMPRESSED_FILE`.
const COMPRESSED: libc::c_int = 4;

/// A module.
#[derive(Clone, Debug, PartialEq)]
struct Module<'a> {
    name: &'a str,
    /// Its file, within the folder of the index.
    file: &'a str,
    /// The names of those that must be loaded before.
    needs: Vec<&'a str>,
}

/// What an index says.
#[derive(Debug, Default, PartialEq)]
struct Index<'a> {
    /// In an order in which they can be loaded.
    modules: Vec<Module<'a>>,
    /// Patterns of devices, with names.
    aliases: Vec<(&'a str, &'a str)>,
    /// Names to be loaded in any case.
    always: BTreeSet<&'a str>,
    /// Names that a start can do without.
    deferred: BTreeSet<&'a str>,
    /// What modules are told, by name.
    parameters: BTreeMap<&'a str, &'a str>,
}

impl<'a> Index<'a> {
    fn parse(text: &'a str) -> Self {
        let mut index = Self::default();
        for line in text.lines() {
            if let Some((name, parameters)) = line.strip_prefix("p ").and_then(|rest| rest.split_once(' ')) {
                index.parameters.insert(name, parameters);
                continue;
            }
            match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
                ["m", name, file, needs] => {
                    let needs = needs.split(',').filter(|need| !need.is_empty()).collect();
                    index.modules.push(Module { name, file, needs });
                }
                ["a", name, pattern] => index.aliases.push((pattern, name)),
                ["l", name] => drop(index.always.insert(name)),
                ["d", name] => drop(index.deferred.insert(name)),
                _ => {}
            }
        }
        index
    }

    /// What a module is told when it is loaded.
    fn told(&self, name: &str) -> &'a str {
        self.parameters.get(name).copied().unwrap_or_default()
    }

    /// What to load for some devices, each after what it needs.
    fn wanted(&self, devices: &BTreeSet<String>, part: Part) -> Vec<Module<'a>> {
        let is_due = |name: &&str| part == Part::All || !self.deferred.contains(name);
        let mut names: BTreeSet<&str> = self.always.iter().copied().filter(is_due).collect();
        for (pattern, name) in self.aliases.iter().filter(|(_, name)| is_due(name)) {
            if !names.contains(name) && devices.iter().any(|device| matches(pattern.as_bytes(), device.as_bytes())) {
                names.insert(name);
            }
        }
        self.with_needs(names)
    }

    /// Some modules, each after what it needs.
    fn with_needs(&self, mut names: BTreeSet<&'a str>) -> Vec<Module<'a>> {
        // Needs come before those that need them, so one pass from the end finds all.
        for Module { name, needs, .. } in self.modules.iter().rev() {
            if names.contains(name) {
                names.extend(needs);
            }
        }
        self.modules.iter().filter(|module| names.contains(module.name)).cloned().collect()
    }
}

/// Shell patterns as far as aliases use them: `*`, `?`, and sets in brackets.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &text[1..]),
        (Some(b'['), Some(letter)) => {
            let Some(end) = pattern.iter().position(|byte| *byte == b']') else { return false };
            let set = &pattern[1..end];
            let range = |at: usize| {
                set.get(at + 1) == Some(&b'-') && set.get(at + 2).is_some_and(|to| (set[at]..=*to).contains(letter))
            };
            (set.contains(letter) || (0..set.len()).any(range)) && matches(&pattern[end + 1..], &text[1..])
        }
        (Some(a), Some(b)) => a == b && matches(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// The aliases of all devices, as far as four levels below each bus.
fn devices() -> BTreeSet<String> {
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let buses = entries("/sys/bus").map(|bus| bus.join("devices"));
    let all = buses.flat_map(|devices| std::fs::read_dir(devices).into_iter().flatten().flatten());
    let alias = |path: std::path::PathBuf| std::fs::read_to_string(path.join("modalias")).ok();
    let mut found: BTreeSet<String> =
        all.filter_map(|device| alias(device.path())).map(|text| text.trim().to_owned()).collect();
    found.extend(entries("/sys/devices/virtual/dmi").filter_map(alias).map(|text| text.trim().to_owned()));
    found
}

/// How much of a folder is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a start cannot do without.
    Needed,
    /// Whatever is for the machine's devices.
    All,
}

/// A folder of modules. It stays within reach when the root changes.
#[derive(Debug)]
pub struct Modules {
    folder: File,
    index: String,
    /// What was loaded for devices, or refused: neither is tried again.
    tried: Mutex<BTreeSet<String>>,
}

impl Modules {
    /// Reads its index.
    pub fn open(folder: &str) -> Result<Self, Fault> {
        let about = || Fault::system(format!("reading {folder}/index"));
        let index = std::fs::read_to_string(Path::new(folder).join("index")).map_err(about())?;
        Ok(Self { folder: File::open(folder).map_err(about())?, index, tried: Mutex::default() })
    }

    /// Loads what is there for the machine's devices, twice over: a bus that a module brings has devices of its own.
    pub fn load(&self, part: Part) {
        let index = Index::parse(&self.index);
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            let mut new = index.wanted(&devices(), part);
            new.retain(|module| tried.insert(module.name.to_owned()));
            side_by_side(new, |module| {
                if let Err(error) = self.insert(&index, module) {
                    // A driver whose device is absent after all; what the root needs fails where it is needed.
                    say(format_args!("module {}: {error}", module.name));
                }
            });
        }
    }

    /// Loads a module and what it needs, whether or not there is a device for it. False where the folder has none of that name.
    pub fn ask(&self, name: &str) -> io::Result<bool> {
        let index = Index::parse(&self.index);
        let Some(module) = index.modules.iter().find(|module| module.name == name) else { return Ok(false) };
        let mut wanted = index.with_needs(BTreeSet::from([module.name]));
        wanted.retain(|module| !is_loaded(module.name));
        wanted.iter().try_for_each(|module| self.insert(&index, module))?;
        Ok(true)
    }

    fn insert(&self, index: &Index<'_>, module: &Module<'_>) -> io::Result<()> {
        // What is open is found by its number, wherever the root is now.
        let folder = PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()));
        insert(&folder.join(module.file), index.told(module.name))
    }
}

/// Loads modules that only now turn out to be needed. Those that the image does not have are the kernel's own; what fails is
/// told, and fails again where it is needed.
pub fn ask(names: &[&str]) -> Result<(), Fault> {
    let late = Modules::open(LATE)?;
    for name in names {
        if let Err(error) = late.ask(name) {
            say(format_args!("module {name}: {error}"));
        }
    }
    Ok(())
}

/// Whether a module has been loaded before.
fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).join("initstate").exists()
}

/// Loads modules, each after those that it needs, and several at a time: a driver that waits for its hardware, as those of
/// disks do, holds up none but its own kind.
fn side_by_side<'a>(modules: Vec<Module<'a>>, load: impl Fn(&Module<'a>) + Sync) {
    let left: BTreeSet<&str> = modules.iter().map(|module| module.name).collect();
    let queue = Mutex::new((modules, left));
    let loaded = Condvar::new();
    let work = || {
        let mut held = queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (waiting, left) = &mut *held;
            let ready = |module: &Module| module.needs.iter().all(|need| !left.contains(need));
            let Some(place) = waiting.iter().position(ready) else {
                if waiting.is_empty() {
                    return;
                }
                held = loaded.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let module = waiting.remove(place);
            drop(held);
            load(&module);
            held = queue.lock().unwrap_or_else(PoisonError::into_inner);
            held.1.remove(module.name);
            loaded.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_A_TIME {
            // With fewer it takes longer.
            drop(thread::Builder::new().name("modules".into()).spawn_scoped(scope, work));
        }
        work();
    });
}

fn insert(path: &Path, parameters: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let flags = if path.extension().is_some_and(|end| end == "ko") { 0 } else { COMPRESSED };
    let parameters = CString::new(parameters)?;
    // SAFETY: the descriptor is open and the pointer is to a string that lives through the call.
    let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), flags) };
    let error = io::Error::last_os_error();
    if done == 0 || error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_brings_its_module_after_what_that_needs() {
        let index = Index::parse(
            "m fat fat.ko.xz \nm vfat vfat.ko.xz fat\nl vfat\nm core c.ko.xz \nm nic n.ko.xz core\na nic pci:v00008086d*sv*\n",
        );
        let none = BTreeSet::new();
        let files = |devices| index.wanted(devices, Part::Needed).iter().map(|module| module.file).collect::<Vec<_>>();
        assert_eq!(files(&none), ["fat.ko.xz", "vfat.ko.xz"]);
        let nic = BTreeSet::from(["pci:v00008086d00001572sv0".to_owned()]);
        assert_eq!(files(&nic), ["fat.ko.xz", "vfat.ko.xz", "c.ko.xz", "n.ko.xz"]);
    }

    #[test]
    fn what_a_start_can_do_without_comes_with_all_and_with_what_needs_it() {
        let text = "m scsi s.ko \nm sata a.ko scsi\na sata pci:sata\nd sata\nm sticks u.ko scsi\nl sticks\nd sticks\n";
        let index = Index::parse(text);
        let devices = BTreeSet::from(["pci:sata".to_owned()]);
        let names = |part| index.wanted(&devices, part).iter().map(|module| module.name).collect::<Vec<_>>();
        assert_eq!((names(Part::Needed), names(Part::All)), (vec![], vec!["scsi", "sata", "sticks"]));
        // A deferred one that another needs is not.
        let index = Index::parse("m scsi s.ko \nd scsi\nm disk d.ko scsi\nl disk\n");
        let names: Vec<_> = index.wanted(&devices, Part::Needed).iter().map(|module| module.name).collect();
        assert_eq!(names, ["scsi", "disk"]);
    }

    #[test]
    fn side_by_side_each_comes_after_what_it_needs_and_one_that_waits_holds_up_no_other() {
        let index = Index::parse("m slow a \nm above b slow\nm other c \nm both d above,other,not-in-this-list\n");
        let (order, other) = (Mutex::new(Vec::new()), std::sync::Barrier::new(2));
        side_by_side(index.modules, |module| {
            if ["slow", "other"].contains(&module.name) {
                other.wait();
            }
            order.lock().unwrap().push(module.name);
        });
        let order = order.into_inner().unwrap();
        let at = |name| order.iter().position(|loaded| *loaded == name).unwrap();
        assert!(at("slow") < at("above") && at("above") < at("both") && at("other") < at("both"), "{order:?}");
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn a_module_is_told_its_parameters_and_no_other_one_is() {
        let index = Index::parse("m gpu gpu.ko \nm uvm uvm.ko gpu\np gpu Mode=0660 User=0\n");
        assert_eq!((index.told("gpu"), index.told("uvm")), ("Mode=0660 User=0", ""));
    }

    #[test]
    fn patterns_match_as_those_of_a_shell() {
        for (pattern, text, expected) in [
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("pci:v*bc01sc08i02*", "pci:v1b36d0010bc01sc08i02", true),
            ("usb:*ic08isc06ip[0-5]*", "usb:v1ic08isc06ip3in", true),
            ("usb:*ip[0-5]", "usb:ip7", false),
            ("a[", "ab", false),
            ("a?c", "ac", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
