//! Where each part of the inventory is read: one file a part of the machine.

mod boot;
mod cpu;
mod devices;
mod memory;
mod platform;

pub(crate) use boot::{boot, kernel, tpm};
pub(crate) use cpu::cpu;
pub(crate) use devices::{disks, gpus, nics, nvidia_cards, nvme, receive_channels};
pub(crate) use memory::{memory, numa};
pub(crate) use platform::{clock, identity, watchdogs};

use crate::fact::{Fact, Reading, Why};
use crate::root::Root;
use std::collections::BTreeMap;

/// Something for each name in a directory that is wanted. Where there is no directory, there is none of it.
fn each<T>(root: &Root, dir: &str, wanted: impl Fn(&str) -> bool, probe: impl Fn(&str) -> T) -> BTreeMap<String, T> {
    let names = root.names(dir);
    let names = names.value().into_iter().flatten().filter(|name| wanted(name));
    names.map(|name| (name.clone(), probe(&format!("{dir}/{name}")))).collect()
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
