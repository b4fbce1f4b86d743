//! Disks and sticks that appear while the machine runs, the first time just after its start: each new one is looked at once,
//! for a newer configuration and for another release.

use crate::disks::{self, Disk};
use crate::{configuration, releases, say};
use image_formats::boot_line::BootLine;
use image_formats::bundle::Bundle;
use image_formats::machine::Machine;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(2);

/// For what the machine has to start again.
#[derive(Debug)]
pub enum News {
    /// A configuration that can be taken, and where it lies.
    Configuration(Bundle, PathBuf),
    /// A release that is on trial from the next start on.
    Release(u64),
}

/// Looks for them.
pub struct Sticks {
    disk: Disk,
    line: BootLine,
    trusted: [u8; 32],
    machine: Machine,
    /// Disks that were there when it was looked last.
    known: BTreeSet<String>,
    looked: Option<Instant>,
    work: Option<JoinHandle<Option<News>>>,
}

impl Sticks {
    /// For the machine's own disk.
    pub fn new(disk: &Disk, line: &BootLine, trusted: &[u8; 32], machine: &Machine) -> Self {
        let (disk, line, trusted, machine) = (disk.clone(), line.clone(), *trusted, machine.clone());
        Self { disk, line, trusted, machine, known: BTreeSet::new(), looked: None, work: None }
    }

    /// What they bring, once. To be called again and again; what takes long is done by another thread.
    pub fn news(&mut self) -> Option<News> {
        if let Some(work) = self.work.take_if(|work| work.is_finished()) {
            // A thread that panicked has said so, and the machine goes on without.
            return work.join().ok().flatten();
        }
        let due = self.looked.is_none_or(|looked| looked.elapsed() > EVERY);
        if self.work.is_none() && due {
            self.looked = Some(Instant::now());
            let names: BTreeSet<String> = disks::names().into_iter().collect();
            if names.difference(&self.known).next().is_some() {
                let (disk, line, machine) = (self.disk.clone(), self.line.clone(), self.machine.clone());
                let trusted = self.trusted;
                self.work = Some(std::thread::spawn(move || look(&disk, &line, &trusted, &machine)));
            }
            self.known = names;
        }
        None
    }
}

fn look(disk: &Disk, line: &BootLine, trusted: &[u8; 32], machine: &Machine) -> Option<News> {
    // The drivers of some disks are loaded after the start: whose state is in use was settled without those.
    if let Err(fault) = disks::look_for_root(line) {
        say(fault);
    }
    let newer =
        configuration::newer(disk, trusted, machine).map(|(bundle, device)| News::Configuration(bundle, device));
    newer.or_else(|| releases::take_one(disk, trusted).map(News::Release))
}
