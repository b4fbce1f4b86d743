//! Power cuts on a real file system: log and state database run in User-mode Linux on a disk whose every write is recorded
//! (`dm-log-writes`), with marks for what was acknowledged. Then, for each point of the record, a disk is made as a power cut there
//! could have left it, mounted, and read by the same code that a node starts with.
//!
//! What the record cannot show: a disk that lies about flushes, and one that tears within a sector.

mod write_log;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::console::duration;
use crate::failure::Failure;
use crate::packages::{Package, on_path};
use crate::setup;
use crate::test_binaries::{TestBinaries, TestBinary};
use crate::test_output::Totals;
use crate::workspace::{Workspace, output_of};
use write_log::{Disk, Entry, Fate, Lot};

/// What only this part needs.
const PACKAGES: &[Package] = &[
    Package::new("user-mode-linux", "a Linux kernel as a process, with device-mapper's log of writes", || {
        on_path("linux.uml") && modules().is_some()
    }),
    Package::new("dmsetup", "sets up the disk that records its writes", || on_path("dmsetup")),
    Package::new("kmod", "loads device-mapper into that kernel", || on_path("insmod")),
    Package::new("e2fsprogs", "makes the file system that loses its power", || on_path("mkfs.ext4")),
];

/// The package and the program with both halves of the test.
const PROGRAM: &str = "stele-storage::storage";
const DISK_BYTES: usize = 96 << 20;
/// Sparse; what is recorded beyond it ends the run with an error of the device.
const RECORD_BYTES: u64 = 4 << 30;
/// Of load, beside which the machine starts and makes its file system.
const LOAD_SECONDS: u64 = 5;
const MACHINE_LIMIT: Duration = Duration::from_mins(3);
const UNMOUNT_ATTEMPTS: u32 = 100;
const ALL_DONE: &str = "the-load-ended";
/// What the machine's kernel says where a process has more bytes of registers than it can put back.
const TOO_MANY_REGISTERS: &str = "ptrace set fp regs failed";

/// Records one run and tries its crash points, as many as fit `minutes`; says how many there were.
pub fn run(workspace: &Workspace, binaries: &TestBinaries, seed: u64, minutes: u64) -> Result<Totals, Failure> {
    setup::need(PACKAGES)?;
    let program = binaries.tests.iter().find(|test| test.name == PROGRAM && test.is_integration);
    let program = program.ok_or_else(|| Failure::new(format!("{PROGRAM} was not built"), ""))?;
    let folder = Folder::new(workspace)?;
    let mut totals = Totals::default();
    for (number, backend) in ["io-uring", "threaded"].into_iter().enumerate() {
        println!("power: a run with the {backend} backend on a disk that records");
        let entries = folder.record(binaries, program, backend)?;
        let limit = Duration::from_secs(30 * minutes.max(1));
        match folder.try_points(binaries, program, &entries, seed + number as u64, limit)? {
            None => totals.passed += 1,
            Some(failure) => {
                totals.failed += 1;
                totals.failures.push(failure);
                return Ok(totals);
            }
        }
    }
    Ok(totals)
}

/// Where disks, their records and the script of the machine lie. Kept when something failed.
struct Folder {
    path: PathBuf,
    mount: PathBuf,
}

impl Folder {
    fn new(workspace: &Workspace) -> Result<Self, Failure> {
        let path = workspace.root.join("target").join("power-loss");
        let mount = path.join("mounted");
        let refused = |error: std::io::Error| Failure::io(format!("making {}", path.display()), &error);
        std::fs::create_dir_all(&mount).map_err(refused)?;
        Ok(Self { path, mount })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Runs the load once and gives what the disk recorded of it.
    fn record(&self, binaries: &TestBinaries, program: &TestBinary, backend: &str) -> Result<Vec<Entry>, Failure> {
        let modules = modules().ok_or_else(|| Failure::new("the kernel's modules are not there", ""))?;
        for (name, bytes) in [("disk.img", DISK_BYTES as u64), ("record.img", RECORD_BYTES)] {
            let path = self.file(name);
            let made = std::fs::File::create(&path).and_then(|file| file.set_len(bytes));
            made.map_err(|error| Failure::io(format!("making {}", path.display()), &error))?;
        }
        let script = self.file("init.sh");
        self.write(&script, &machine_script(&modules, program, backend))?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(|error| Failure::io(format!("{}", script.display()), &error))?;
        let console = self.file("console.log");
        let output = std::fs::File::create(&console).map_err(|error| Failure::io("the console", &error))?;
        let mut machine = Command::new("linux.uml");
        machine
            .args(["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "con=null"])
            .args(["con0=null,fd:1", "con1=null,fd:1", "panic=1"])
            .arg(format!("init={}", script.display()))
            .arg(format!("ubd0={}", self.file("disk.img").display()))
            .arg(format!("ubd1={}", self.file("record.img").display()));
        for (name, path) in &binaries.binaries {
            machine.env(format!("CARGO_BIN_EXE_{name}"), path);
        }
        let duplicate = output.try_clone().map_err(|error| Failure::io("the console", &error))?;
        machine.stdin(Stdio::null()).stdout(output).stderr(duplicate).process_group(0);
        let child = machine.spawn().map_err(|error| Failure::io("running linux.uml", &error))?;
        wait(child, MACHINE_LIMIT)?;
        let said = std::fs::read(&console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains(TOO_MANY_REGISTERS) {
            let what = "User-mode Linux 6.1 does not run on this processor: it has no room for all its registers";
            return Err(Failure::new(what, "take a machine without `amx_tile` among the flags in /proc/cpuinfo"));
        }
        let entries = write_log::read(&self.file("record.img"))
            .map_err(|error| Failure::io(format!("the record, see {}", console.display()), &error))?;
        if !entries.iter().any(|entry| matches!(entry, Entry::Mark(text) if text == ALL_DONE)) {
            return Err(Failure::new(format!("the machine did not end its load: {}", console.display()), ""));
        }
        Ok(entries)
    }

    /// The first failure, with how to see it again.
    fn try_points(
        &self,
        binaries: &TestBinaries,
        program: &TestBinary,
        entries: &[Entry],
        seed: u64,
        limit: Duration,
    ) -> Result<Option<String>, Failure> {
        let acknowledged: Vec<Option<&str>> = marks(entries);
        let points: Vec<usize> = (0..entries.len()).filter(|point| acknowledged[*point].is_some()).collect();
        // All of them if there is time, else every second, third, …: the first one tells how long one takes.
        let (mut step, mut tried, started) = (1, 0_usize, Instant::now());
        let (mut disk, mut fate) = (Disk::new(entries, DISK_BYTES), Fate::default());
        let mut at = 0;
        while let Some(&point) = points.get(at) {
            let mut lot = Lot(seed ^ (point as u64) << 20);
            let (image, one) = disk.cut_after(point, &mut lot);
            fate += one;
            let said = acknowledged[point].unwrap_or_default();
            if let Err(words) = self.recover(binaries, program, &image, said) {
                println!("{words}");
                let kept = self.file("crash.img");
                return Ok(Some(format!(
                    "power: seed {seed}, point {point}, acknowledged {said}: see {}",
                    kept.display()
                )));
            }
            tried += 1;
            let left = limit.saturating_sub(started.elapsed());
            let affordable = (left.as_secs_f64() / (started.elapsed().as_secs_f64() / tried as f64)).max(1.0);
            step = step.max(((points.len() - at) as f64 / affordable).ceil() as usize);
            at += step;
            if tried % 50 == 0 {
                println!("power: {tried} crash points of {}, {}", points.len(), duration(started.elapsed()));
            }
        }
        println!(
            "power: {tried} of {} crash points, nothing acknowledged lost; of writes that no flush had made durable {} were kept, \
             {} dropped, {} torn ({}, seed {seed})",
            points.len(),
            fate.kept,
            fate.dropped,
            fate.torn,
            duration(started.elapsed()),
        );
        Ok(None)
    }

    /// Mounts a disk and reads it as a node would. What the test said, if it failed.
    fn recover(&self, binaries: &TestBinaries, program: &TestBinary, image: &[u8], said: &str) -> Result<(), String> {
        let path = self.file("crash.img");
        std::fs::write(&path, image).map_err(|error| format!("{}: {error}", path.display()))?;
        let _mounted = Mounted::new(&path, &self.mount)?;
        let mut command = binaries.command(program);
        command.args(["--ignored", "--exact", "power_loss::recover", "--nocapture"]);
        command.env("STELE_POWER_DIR", self.mount.join("stele")).env("STELE_POWER_ACKNOWLEDGED", said);
        let output = command.output().map_err(|error| error.to_string())?;
        let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A program without that test passes as well.
        if output.status.success() && words.contains("recovered ") { Ok(()) } else { Err(words) }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        std::fs::write(path, text).map_err(|error| Failure::io(format!("writing {}", path.display()), &error))
    }
}

/// The last mark of acknowledgements at or before each entry, from the first to the end of the load.
fn marks(entries: &[Entry]) -> Vec<Option<&str>> {
    let mut last = None;
    let upto = entries.iter().map(|entry| {
        if let Entry::Mark(text) = entry {
            // The kernel sets one of its own where the record ends.
            let counts = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
            last = counts.then_some(text.as_str());
        }
        last
    });
    upto.collect()
}

/// What the machine runs first and only.
fn machine_script(modules: &Path, program: &TestBinary, backend: &str) -> String {
    let modules = modules.display();
    let program = program.executable.display();
    format!(
        "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /run
insmod {modules}/dm-mod.ko; insmod {modules}/dm-log-writes.ko
dmsetup create power --table \"0 $(blockdev --getsz /dev/ubda) log-writes /dev/ubda /dev/ubdb\" && dmsetup mknodes
mkdir /run/disk
mkfs.ext4 -q -b 4096 /dev/mapper/power && mount /dev/mapper/power /run/disk && mkdir /run/disk/stele && sync
export STELE_POWER_DIR=/run/disk/stele STELE_POWER_SECONDS={LOAD_SECONDS} STELE_POWER_BACKEND={backend}
{program} --ignored --exact power_loss::write_until_told --nocapture && dmsetup message power 0 mark {ALL_DONE}
umount /run/disk; dmsetup remove power; sync
echo o > /proc/sysrq-trigger; sleep 60
"
    )
}

/// The folder of device-mapper's modules for User-mode Linux.
fn modules() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/uml/modules").ok()?;
    let folders = versions.flatten().map(|version| version.path().join("kernel/drivers/md"));
    folders.into_iter().find(|folder| folder.join("dm-log-writes.ko").exists())
}

/// Waits for a machine, and ends it with all its processes where it takes too long.
fn wait(mut machine: Child, limit: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        match machine.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(100)),
            Ok(None) => {
                let _ = output_of(Command::new("kill").args(["-KILL", "--", &format!("-{}", machine.id())]));
                let _ = machine.wait();
                return Err(Failure::new(format!("the machine did not end within {}", duration(limit)), ""));
            }
            Err(error) => return Err(Failure::io("waiting for the machine", &error)),
        }
    }
}

/// A disk's file, mounted until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Result<Self, String> {
        let output = Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(at)),
            Ok(output) => Err(format!("mount: {} (it needs root)", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("mount: {error}")),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // The kernel may hold a file for a moment after the process that had it open.
        for _ in 0..UNMOUNT_ATTEMPTS {
            let unmounted = Command::new("umount").arg(self.0).stderr(Stdio::null()).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("power: {} stays mounted", self.0.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_point_knows_what_was_acknowledged_before_it() {
        let mark = |text: &str| Entry::Mark(text.to_owned());
        let write = Entry::Write { at: 0, data: Vec::new(), flush: true, fua: false };
        let entries = [write.clone(), mark("0,0"), write.clone(), mark("1,0"), write.clone(), mark(ALL_DONE), write];
        assert_eq!(marks(&entries), [None, Some("0,0"), Some("0,0"), Some("1,0"), Some("1,0"), None, None]);
    }
}
