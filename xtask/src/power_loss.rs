//! Power cuts on a real file system: log and state database run in User-mode Linux on a disk whose every write is recorded
//! (`dm-log-writes`), with marks for what was acknowledged. Then, for each point of the record, a disk is made as a power cut there
//! could have left it, mounted, and read by the same code that a node starts with.
//!
//! What the record cannot show: a disk that lies about flushes, and one that tears within a sector.

mod points;
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
use points::Trial;
use write_log::Entry;

/// The kernel, where none is given.
const KERNEL_PACKAGE: Package =
    Package::new("user-mode-linux", "a Linux kernel as a process, with device-mapper's log of writes", || {
        on_path(KERNEL) && modules(Path::new(KERNEL_MODULES)).is_some()
    });
const KERNEL: &str = "linux.uml";
const KERNEL_MODULES: &str = "/usr/lib/uml/modules";
/// What else only this part needs.
const PACKAGES: &[Package] = &[
    Package::new("dmsetup", "sets up the disk that records its writes", || on_path("dmsetup")),
    Package::new("kmod", "loads device-mapper into that kernel", || on_path("insmod")),
    Package::new("e2fsprogs", "makes the file system that loses its power", || on_path("mkfs.ext4")),
];

/// The package and the program with both halves of the test.
const PROGRAM: &str = "stele-storage::storage";
const DISK_BYTES: usize = 96 << 20;
/// Sparse; what is recorded beyond it ends the run with an error of the device.
const RECORD_BYTES: u64 = 4 << 30;
const MACHINE_LIMIT: Duration = Duration::from_mins(3);
const ALL_DONE: &str = "the-load-ended";
/// What the machine's kernel says where a process has more bytes of registers than it can put back.
const TOO_MANY_REGISTERS: &str = "ptrace set fp regs failed";

/// Records one run and tries its crash points, as many as fit `minutes`; says how many there were.
pub fn run(
    workspace: &Workspace,
    binaries: &TestBinaries,
    kernel: Option<&Path>,
    load_seconds: u64,
    seed: u64,
    minutes: u64,
) -> Result<Totals, Failure> {
    setup::need(PACKAGES)?;
    let kernel = Kernel::new(kernel)?;
    let program = binaries.tests.iter().find(|test| test.name == PROGRAM && test.is_integration);
    let program = program.ok_or_else(|| Failure::new(format!("{PROGRAM} was not built"), ""))?;
    let folder = Folder::new(workspace)?;
    let mut totals = Totals::default();
    for (number, backend) in ["io-uring", "threaded"].into_iter().enumerate() {
        println!("power: a run with the {backend} backend on a disk that records");
        let entries =
            folder.record(&kernel, &machine_script(&kernel.modules, program, backend, load_seconds), binaries)?;
        let limit = Duration::from_secs(30 * minutes.max(1));
        let trial = Trial { binaries, program, folder: &folder.path, seed: seed + number as u64, limit };
        match trial.run(&entries)? {
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

/// The User-mode Linux that is the machine.
struct Kernel {
    program: PathBuf,
    /// The folder of device-mapper's.
    modules: PathBuf,
}

impl Kernel {
    /// The package's, or another one that lies as a package puts it: `bin/linux.uml`, `lib/uml/modules`.
    fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let Some(program) = given else {
            setup::need(&[KERNEL_PACKAGE])?;
            let modules = modules(Path::new(KERNEL_MODULES));
            let modules = modules.ok_or_else(|| Failure::new("the kernel's modules are not there", ""))?;
            return Ok(Self { program: KERNEL.into(), modules });
        };
        let program = program.canonicalize().map_err(|error| Failure::io(program.display(), &error))?;
        let folder = program.parent().unwrap_or(&program).with_file_name("lib").join("uml/modules");
        let missing =
            || Failure::new(format!("{} has no VERSION/kernel/drivers/md/dm-log-writes.ko", folder.display()), "");
        Ok(Self { modules: modules(&folder).ok_or_else(missing)?, program })
    }
}

/// Where disks, their records and the script of the machine lie. Kept when something failed.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(workspace: &Workspace) -> Result<Self, Failure> {
        let path = workspace.root.join("target").join("power-loss");
        let refused = |error: std::io::Error| Failure::io(format!("making {}", path.display()), &error);
        std::fs::create_dir_all(&path).map_err(refused)?;
        Ok(Self { path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Runs the load once and gives what the disk recorded of it.
    fn record(&self, kernel: &Kernel, commands: &str, binaries: &TestBinaries) -> Result<Vec<Entry>, Failure> {
        for (name, bytes) in [("disk.img", DISK_BYTES as u64), ("record.img", RECORD_BYTES)] {
            let path = self.file(name);
            let made = std::fs::File::create(&path).and_then(|file| file.set_len(bytes));
            made.map_err(|error| Failure::io(format!("making {}", path.display()), &error))?;
        }
        let script = self.file("init.sh");
        self.write(&script, commands)?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(|error| Failure::io(format!("{}", script.display()), &error))?;
        let console = self.file("console.log");
        let output = std::fs::File::create(&console).map_err(|error| Failure::io("the console", &error))?;
        let mut machine = Command::new(&kernel.program);
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
        let child =
            machine.spawn().map_err(|error| Failure::io(format!("running {}", kernel.program.display()), &error))?;
        wait(child, MACHINE_LIMIT)?;
        let said = std::fs::read(&console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains(TOO_MANY_REGISTERS) {
            let what = "this User-mode Linux does not run on this processor: it has no room for all its registers";
            let cure = "take 6.13 or newer (`--uml FILE`), or a machine without `amx_tile` in /proc/cpuinfo";
            return Err(Failure::new(what, cure));
        }
        let entries = write_log::read(&self.file("record.img"))
            .map_err(|error| Failure::io(format!("the record, see {}", console.display()), &error))?;
        if !entries.iter().any(|entry| matches!(entry, Entry::Mark(text) if text == ALL_DONE)) {
            return Err(Failure::new(format!("the machine did not end its load: {}", console.display()), ""));
        }
        Ok(entries)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        std::fs::write(path, text).map_err(|error| Failure::io(format!("writing {}", path.display()), &error))
    }
}

/// What the machine runs first and only.
fn machine_script(modules: &Path, program: &TestBinary, backend: &str, load_seconds: u64) -> String {
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
export STELE_POWER_DIR=/run/disk/stele STELE_POWER_SECONDS={load_seconds} STELE_POWER_BACKEND={backend}
{program} --ignored --exact power_loss::write_until_told --nocapture && dmsetup message power 0 mark {ALL_DONE}
umount /run/disk; dmsetup remove power; sync
echo o > /proc/sysrq-trigger; sleep 60
"
    )
}

/// The folder of device-mapper's modules among those of User-mode Linux.
fn modules(all: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(all).ok()?;
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
