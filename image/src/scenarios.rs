//! What must hold of a whole machine, tried under emulation: each scenario installs the image on a new disk and boots it.
//! They are slow, and need QEMU; what can be tried without is a unit test.

use crate::boot::{Accel, Emulation, Running};
use crate::failure::Failure;
use crate::verify::{Wanted, verify};
use crate::{configuration, dev_ledger, disk, fat, install, sign, update};
use image_formats::gpt::{PRIMARY_SECTORS, SECTOR, Table};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of the disks.
const DISK_BYTES: u64 = 1 << 30;
/// Longest wait for one start of a machine: emulation on a busy machine is slow.
const START: Duration = Duration::from_secs(240);

/// What the scenarios are run with.
#[derive(Debug)]
pub struct Bench {
    /// An image of `dev`.
    pub image: Vec<u8>,
    /// An image of `dev` with a higher release.
    pub next: Vec<u8>,
    /// The host's `stele`.
    pub stele: PathBuf,
    /// A folder for disks.
    pub folder: PathBuf,
}

/// A scenario: its name and what it does.
pub type Scenario = (&'static str, fn(&Bench) -> Result<(), Failure>);

/// All of them.
pub const ALL: &[Scenario] = &[
    ("boots_to_ready_and_measures_what_verify_tells", boots_and_measures),
    ("a_corrupted_root_is_refused", corrupted_root_is_refused),
    ("an_unsigned_image_is_refused_under_secure_boot", unsigned_is_refused),
    ("a_signed_image_boots_under_secure_boot", signed_boots),
    ("a_good_release_is_blessed", good_release_is_blessed),
    ("a_release_that_cannot_boot_falls_back", bad_release_falls_back),
    ("a_hung_node_resets_the_machine", hung_node_resets),
    ("a_configuration_of_a_stranger_is_refused", strangers_configuration_is_refused),
    ("a_power_cut_loses_no_certified_height", power_cut_loses_nothing),
];

impl Bench {
    /// A new disk with the image and a ledger of one validator; `more` goes into `machine.conf`.
    fn disk(&self, name: &str, more: &str) -> Result<Emulation, Failure> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(Failure::io("making a folder"))?;
        let path = folder.join("disk.img");
        let mut file = File::create_new(&path).map_err(Failure::io("making a disk"))?;
        file.set_len(DISK_BYTES).map_err(Failure::io("making a disk"))?;
        install::install(&self.image, &mut file, DISK_BYTES)?;
        let from = folder.join("configuration");
        dev_ledger::alone(&self.stele, &from, more)?;
        configuration::write(&path, &configuration::collect(&from, 1)?, &configuration::DEV_SEED)?;
        Ok(Emulation::new(&path, &folder))
    }
}

/// Flips a byte in a block of a slot that mounting reads.
fn damage_slot(path: &Path, which: usize) -> Result<(), Failure> {
    let about = || Failure::io("damaging a disk");
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(about())?;
    let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
    file.read_exact_at(&mut start, 0).map_err(about())?;
    let table = Table::decode(&start).map_err(|error| Failure::content("the disk", error))?;
    let slot = table.partitions.iter().filter(|part| part.kind == disk::ROOT).nth(which);
    let at = slot.ok_or_else(|| Failure::content("the disk", "no such slot"))?.offset() + 1024 + 64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).and_then(|()| file.write_all_at(&[byte[0] ^ 1], at)).map_err(about())
}

fn expect(running: &mut Running, text: &str, patience: Duration) -> Result<String, Failure> {
    let found = running.wait(text, patience)?;
    found.ok_or_else(|| Failure::content(format!("{text:?} was not seen; the last lines"), running.tail(30)))
}

/// The machine ends, or stays silent, without ever getting ready.
fn expect_never_ready(running: &mut Running, sign: &[&str]) -> Result<(), Failure> {
    let mut texts = sign.to_vec();
    texts.push("STELE READY");
    match running.wait_any(&texts, START)? {
        Some(line) if line.contains("STELE READY") => Err(Failure::content("the machine", "it got ready")),
        Some(_) => Ok(()),
        None => Err(Failure::content(format!("none of {sign:?} was seen; the last lines"), running.tail(30))),
    }
}

fn number(line: &str, key: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn boots_and_measures(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("boots", "")?;
    machine.tpm = true;
    let told = verify(&bench.image, Wanted::default()).map_err(|error| Failure::content("the image", error))?;
    let mut running = machine.boot()?;
    let measured = match running.log.iter().find(|line| line.contains("PCR 11 ")) {
        Some(line) => line.clone(),
        None => expect(&mut running, "PCR 11 ", START)?,
    };
    if !measured.ends_with(&told[0].pcr11) {
        return Err(Failure::content("PCR 11", format!("{measured}, {} was told", told[0].pcr11)));
    }
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

fn corrupted_root_is_refused(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("corrupted", "")?;
    damage_slot(&machine.disk, 0)?;
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["verity", "dm-verity device corrupted", "Kernel panic"])
}

fn unsigned_is_refused(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("unsigned", "")?;
    machine.secure_boot = Some("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd".into());
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["Access Denied", "Security Violation"])
}

/// With the key that Debian's firmware package brings for tests, whose passphrase is in its documentation.
fn signed_boots(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("signed", "")?;
    machine.secure_boot = Some("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd".into());
    let (locked, certificate) =
        (Path::new("/usr/share/ovmf/PkKek-1-snakeoil.key"), Path::new("/usr/share/ovmf/PkKek-1-snakeoil.pem"));
    let key = machine.folder.join("snakeoil.key");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["rsa", "-passin", "pass:snakeoil", "-in"]).arg(locked).arg("-out").arg(&key);
    openssl.stderr(std::process::Stdio::null()).status().map_err(Failure::io("starting openssl"))?;
    let file = OpenOptions::new().read(true).write(true).open(&machine.disk).map_err(Failure::io("opening a disk"))?;
    let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
    file.read_exact_at(&mut start, 0).map_err(Failure::io("reading a disk"))?;
    let table = Table::decode(&start).map_err(|error| Failure::content("the disk", error))?;
    let system = table.first_of(disk::SYSTEM).ok_or_else(|| Failure::content("the disk", "no system partition"))?;
    let mut volume = vec![0; system.bytes() as usize];
    file.read_exact_at(&mut volume, system.offset()).map_err(Failure::io("reading a disk"))?;
    let mut files = fat::read(&volume).map_err(|error| Failure::content("the disk", error))?;
    for (_, bytes) in files.iter_mut().filter(|file| file.0.to_ascii_lowercase().ends_with(".efi")) {
        *bytes = sign::sign_with_openssl(bytes, &key, certificate)?;
    }
    let volume = fat::write(&files, volume.len()).map_err(|error| Failure::content("the disk", error))?;
    file.write_all_at(&volume, system.offset()).map_err(Failure::io("writing a disk"))?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

fn good_release_is_blessed(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("blessed", "")?;
    let disk = OpenOptions::new().read(true).write(true).open(&machine.disk).map_err(Failure::io("opening a disk"))?;
    let done = update::update(&disk, &bench.next, 3)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, &format!("STELE BLESSED release={}", done.to), START)?;
    Ok(())
}

fn bad_release_falls_back(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("falls-back", "")?;
    machine.once = false;
    let disk = OpenOptions::new().read(true).write(true).open(&machine.disk).map_err(Failure::io("opening a disk"))?;
    let done = update::update(&disk, &bench.next, 2)?;
    damage_slot(&machine.disk, 1)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    for _ in 0..2 {
        expect(&mut running, &format!("release {} of", done.to), START)?;
    }
    expect(&mut running, &format!("release {} of", done.from), START)?;
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

fn hung_node_resets(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("hung", "hang_after_s = 1\n")?;
    machine.once = false;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE HANG", START)?;
    expect(&mut running, "release 1 of", START)?;
    Ok(())
}

fn strangers_configuration_is_refused(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("stranger", "")?;
    let from = machine.folder.join("configuration");
    configuration::write(&machine.disk, &configuration::collect(&from, 2)?, &[9; 32])?;
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["STELE FAILED: the configuration"])
}

fn power_cut_loses_nothing(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("power", "")?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    let before = expect(&mut running, "STELE CERTIFIED", START)?;
    running.cut_power();
    let mut running = machine.boot_with(Accel::Tcg)?;
    let after = expect(&mut running, "STELE READY", START)?;
    let (before, after) = (number(&before, "certified_height"), number(&after, "height"));
    if after < before {
        return Err(Failure::content("after the cut", format!("height {after}, {before} was certified")));
    }
    Ok(())
}

/// Runs those whose name contains `filter`; true when all of them held.
pub fn run(bench: &Bench, filter: &str) -> bool {
    let mut failed = 0;
    for (name, scenario) in ALL.iter().filter(|scenario| scenario.0.contains(filter)) {
        let started = Instant::now();
        let outcome = scenario(bench);
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(()) => println!("  ok      {name} ({seconds} s)"),
            Err(failure) => {
                failed += 1;
                println!("  FAILED  {name} ({seconds} s)\n{failure}\n");
            }
        }
    }
    failed == 0
}
