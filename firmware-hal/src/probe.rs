//! Where each part of the inventory is read: one file a part of the machine.

mod boot;
mod cpu;
mod devices;
mod memory;
mod platform;

pub(crate) use boot::{boot, kernel, tpm};
pub(crate) use cpu::cpu;
pub(crate) use devices::{crypto, disks, gpus, nics, nvidia_cards, nvme, receive_channels};
pub(crate) use memory::{memory, numa};
pub(crate) use platform::{clock, identity, watchdogs};

use crate::fact::{Fact, Reading, Why};
use crate::listed::{Gap, Listed};
use crate::root::Root;
use std::collections::BTreeMap;

/// Something for each name in a directory that is wanted. Where the kernel has no such directory, there is none of it.
fn each<T>(root: &Root, dir: &str, wanted: impl Fn(&str) -> bool, probe: impl Fn(&str) -> T) -> Listed<T> {
    each_that(root.listing(dir), by_name(wanted), probe)
}

/// The same of what every machine has, or of what nothing is known without the directory.
fn each_told<T>(root: &Root, dir: &str, wanted: impl Fn(&str) -> bool, probe: impl Fn(&str) -> T) -> Listed<T> {
    each_that(root.names(dir), by_name(wanted), probe)
}

fn by_name(wanted: impl Fn(&str) -> bool) -> impl Fn(&str) -> Fact<bool> {
    move |name| Fact { source: String::new(), reading: Reading::Value(wanted(name)) }
}

/// Something for each listed name that is wanted. Where a name does not tell whether it is, there may be more of them.
fn each_that<T>(names: Fact<Vec<String>>, wanted: impl Fn(&str) -> Fact<bool>, probe: impl Fn(&str) -> T) -> Listed<T> {
    let Fact { source: dir, reading } = names;
    let names = match reading {
        Reading::Value(names) => names,
        Reading::Unknown(unknown) => return Listed::new(BTreeMap::new(), Some(Gap { source: dir, unknown })),
    };
    let (mut found, mut gap) = (BTreeMap::new(), None);
    for name in names {
        match wanted(&name) {
            Fact { reading: Reading::Value(false), .. } => {}
            Fact { reading: Reading::Value(true), .. } => {
                let thing = probe(&format!("{dir}/{name}"));
                found.insert(name, thing);
            }
            Fact { source, reading: Reading::Unknown(unknown) } => gap = gap.or(Some(Gap { source, unknown })),
        }
    }
    Listed::new(found, gap)
}

/// A list of numbers as the kernel writes processors: `0-3,8,10-11`. An empty one is written as nothing.
pub(crate) fn list(text: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 1 << 16;
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// Such a list from a file that may be empty.
fn cpus(root: &Root, path: &str) -> Fact<Vec<u32>> {
    root.bytes(path, 1 << 16).parsed(|bytes| list(std::str::from_utf8(&bytes).ok()?))
}

/// The choice in brackets of `always [madvise] never`; of a single word, that one.
pub(crate) fn chosen(text: &str) -> Option<String> {
    let bracketed = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    let alone = || text.split_whitespace().next().filter(|_| text.split_whitespace().count() == 1);
    Some(bracketed.or_else(alone)?.to_owned())
}

/// The node of a device; −1 says that the firmware has not told.
fn numa_node(root: &Root, path: &str) -> Fact<u32> {
    root.text(path).read_as(|text| match text.parse::<i64>() {
        Ok(-1) => Reading::Unknown(Why::Unsupported),
        Ok(node) => u32::try_from(node).map_or(Reading::Unknown(Why::Malformed), Reading::Value),
        Err(_) => Reading::Unknown(Why::Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list("\n"), Some(vec![]));
        for wrong in ["3-1", "a", "0-", "1,,x", "0-4294967295", "-1"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_choice_is_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("[none] mq-deadline").as_deref(), Some("none"));
        assert_eq!(chosen("none").as_deref(), Some("none"));
        assert_eq!((chosen(""), chosen("two words")), (None, None));
    }
}
