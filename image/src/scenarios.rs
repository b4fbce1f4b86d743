//! What must hold of a whole machine, tried under emulation: each scenario installs the image on a new disk and boots it.
//! They are slow, and need QEMU; what can be tried without is a unit test.

mod bad_inputs;
mod ceremony;
mod client;
mod clock;
mod hsm_link;
mod http_boot;
mod load;
mod network;
mod nvidia;
mod sealed;
mod sticks;
mod vendor;
mod write_log;

use crate::assemble::Built;
use crate::boot::{Accel, Emulation, Network, Running};
use crate::dev_ledger::Keys;
use crate::failure::Failure;
use crate::verify::{Wanted, verify};
use crate::{boot, configuration, dev_ledger, disk, fat, install, sign, update};
use image_formats::gpt::{Guid, PRIMARY_SECTORS, Partition, SECTOR, Table};
use image_formats::hsm_link::HsmLink;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of the disks.
const DISK_BYTES: u64 = 1 << 30;
/// Longest wait for one start of a machine: emulation on a busy machine is slow.
const START: Duration = Duration::from_secs(240);

/// What the kernel says of a breakpoint that was not its own.
const EMULATORS_FAULT: &str = "Oops: int3";

/// An image for one scenario alone.
#[derive(Clone, Copy, Debug)]
pub enum Special<'a> {
    /// A ceremony's.
    Ceremony,
    /// One with a link to an HSM, and a vendor's bundle.
    Linked(&'a HsmLink, &'a Path),
    /// A validator's, which demands a sealed state and takes configurations that this key (its public half) has signed.
    Validator(&'a Path),
    /// One of `dev` with the kernel for physical machines.
    Metal,
    /// One of `dev` with a vendor's PKCS#11 module.
    Bundle(&'a Path),
    /// One of `dev` with a driver of NVIDIA's cards, signed with a key and its certificate.
    Nvidia(&'a Path, [&'a Path; 2]),
}

/// Makes those.
pub type Make = Box<dyn Fn(Special<'_>) -> Result<Built, Failure> + Sync>;

/// What the scenarios are run with.
pub struct Bench {
    /// An image of `dev`.
    pub image: Vec<u8>,
    /// Its kernel image.
    pub uki: Vec<u8>,
    /// An image of `dev` with a higher release.
    pub next: Vec<u8>,
    /// One with a still higher release, which demands a sealed state.
    pub demanding: Vec<u8>,
    /// Makes others.
    pub make: Make,
    /// The host's `stele`.
    pub stele: PathBuf,
    /// The operator's packages with a driver of NVIDIA's cards, if he has any.
    pub nvidia: Option<PathBuf>,
    /// A folder for disks.
    pub folder: PathBuf,
}

/// A scenario: its name and what it does.
pub type Scenario = (&'static str, fn(&Bench) -> Result<(), Failure>);

/// All of them.
pub const ALL: &[Scenario] = &[
    ("boots_to_ready_and_measures_what_verify_tells", boots_and_measures),
    ("the_kernel_for_physical_machines_boots_and_seals_and_sees_a_stick", metal_boots),
    ("a_validators_image_takes_its_own_configuration_and_seals", validator_boots),
    ("a_corrupted_root_is_refused", corrupted_root_is_refused),
    ("an_unsigned_image_is_refused_under_secure_boot", unsigned_is_refused),
    ("a_signed_image_boots_under_secure_boot", signed_boots),
    ("a_good_release_is_blessed", good_release_is_blessed),
    ("a_release_that_cannot_boot_falls_back", bad_release_falls_back),
    ("a_release_comes_on_a_stick_and_is_taken_once", sticks::taken_once),
    ("a_newer_configuration_on_another_disk_is_taken_once", sticks::newer_configuration),
    ("a_hung_node_resets_the_machine", hung_node_resets),
    ("a_configuration_of_a_stranger_is_refused", strangers_configuration_is_refused),
    ("a_power_cut_loses_no_certified_height", power_cut_loses_nothing),
    ("a_power_cut_under_load_loses_nothing_acknowledged", load::cut_under_load),
    ("a_machine_counts_in_a_network_of_four", network::counts_in_a_network),
    ("a_ceremony_is_held_from_memory_and_taken_home_on_a_stick", ceremony::held_on_a_stick),
    ("a_ceremony_reaches_its_hsm_and_nobody_else", hsm_link::reaches_its_hsm_alone),
    ("a_machine_without_a_network_says_so", bad_inputs::without_a_network),
    ("a_machine_without_a_watchdog_goes_on_and_says_so", bad_inputs::without_a_watchdog),
    ("a_clock_that_is_wrong_stops_nothing", bad_inputs::clock_is_wrong),
    ("a_wrong_clock_is_set_right_by_a_server_that_proves_who_it_is", clock::set_right),
    ("two_disks_alike_are_refused", bad_inputs::two_disks_alike),
    ("a_disk_without_a_state_is_refused", bad_inputs::no_state),
    ("a_full_state_is_told_and_loses_nothing", bad_inputs::full_state),
    ("a_vendors_module_of_a_bundle_signs", vendor::module_of_a_bundle),
    ("a_gpus_driver_is_taken_by_its_signature", nvidia::taken_by_its_signature),
    ("a_gpus_driver_with_another_signature_is_refused", nvidia::refused_by_another_key),
    ("a_kernel_image_comes_over_http", http_boot::kernel_over_http),
    ("a_pin_is_typed_at_the_console_and_not_shown", pin_at_the_console),
    ("a_refused_pin_of_the_configuration_is_tried_once", refused_pin_is_tried_once),
    ("a_sealed_state_survives_restarts_and_updates_and_cannot_be_read", sealed::survives_and_cannot_be_read),
    ("a_sealed_state_is_refused_to_another_tpm_and_another_image", sealed::refused_elsewhere),
    ("a_seal_that_is_demanded_is_not_done_without", sealed::demanded),
    ("a_state_sealed_under_secure_boot_stays_shut_without_it", sealed::shut_without_secure_boot),
];

impl Bench {
    /// A new disk with the image and a ledger of one validator; `more` goes into `machine.conf`.
    fn disk(&self, name: &str, more: &str) -> Result<Emulation, Failure> {
        self.disk_with(&self.image, name, more, &[])
    }

    fn disk_with(&self, image: &[u8], name: &str, more: &str, accounts: &[String]) -> Result<Emulation, Failure> {
        let machine = self.disk_without_configuration(image, name)?;
        let from = machine.folder.join("configuration");
        dev_ledger::alone(&self.stele, &from, more, accounts, Keys::Token)?;
        configuration::write(&machine.disk, &configuration::collect(&from, 1)?, &configuration::DEV_SEED)?;
        Ok(machine)
    }

    fn disk_without_configuration(&self, image: &[u8], name: &str) -> Result<Emulation, Failure> {
        let folder = self.folder(name)?;
        let path = folder.join("disk.img");
        let file = File::create_new(&path).map_err(Failure::io("making a disk"))?;
        file.set_len(DISK_BYTES).map_err(Failure::io("making a disk"))?;
        install::install(image, &file, DISK_BYTES)?;
        Ok(Emulation::new(&path, &folder))
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(Failure::io("making a folder"))?;
        Ok(folder)
    }
}

/// A machine's disk, to be changed while the machine is off.
fn opened(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().read(true).write(true).open(path).map_err(Failure::io("opening a disk"))
}

/// A partition of a disk.
fn partition(file: &File, kind: Guid, which: usize) -> Result<Partition, Failure> {
    let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
    file.read_exact_at(&mut start, 0).map_err(Failure::io("reading a disk"))?;
    let table = Table::decode(&start).map_err(|error| Failure::content("the disk", error))?;
    let mut found = table.partitions.into_iter().filter(|part| part.kind == kind);
    found.nth(which).ok_or_else(|| Failure::content("the disk", "no such partition"))
}

/// Flips a byte.
fn flip(file: &File, at: u64) -> Result<(), Failure> {
    let mut byte = [0];
    let done = file.read_exact_at(&mut byte, at).and_then(|()| file.write_all_at(&[byte[0] ^ 1], at));
    done.map_err(Failure::io("damaging a disk"))
}

/// Flips a byte in a block of a slot that mounting reads.
fn damage_slot(path: &Path, which: usize) -> Result<(), Failure> {
    let file = opened(path)?;
    flip(&file, partition(&file, disk::ROOT, which)?.offset() + 1024 + 64)
}

/// Changes the programs in the system partition.
fn change_programs(path: &Path, change: impl Fn(&mut Vec<u8>) -> Result<(), Failure>) -> Result<(), Failure> {
    let file = opened(path)?;
    let system = partition(&file, disk::SYSTEM, 0)?;
    let mut volume = vec![0; system.bytes() as usize];
    file.read_exact_at(&mut volume, system.offset()).map_err(Failure::io("reading a disk"))?;
    let mut files = fat::read(&volume).map_err(|error| Failure::content("the disk", error))?;
    for (_, bytes) in files.iter_mut().filter(|file| file.0.to_ascii_lowercase().ends_with(".efi")) {
        change(bytes)?;
    }
    let volume = fat::write(&files, volume.len()).map_err(|error| Failure::content("the disk", error))?;
    file.write_all_at(&volume, system.offset()).map_err(Failure::io("writing a disk"))
}

/// A key that signs for which images a sealed state opens.
pub fn make_policy_key(path: &Path) -> Result<(), Failure> {
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(path);
    let status = openssl.status().map_err(Failure::io("starting openssl"))?;
    if status.success() { Ok(()) } else { Err(Failure::content("openssl", "it made no key")) }
}

/// The last lines, and before them that the emulator is at fault, where the kernel said so.
fn last_lines(running: &Running) -> String {
    let fault = running.log.iter().find(|line| line.contains(EMULATORS_FAULT));
    fault.map(|line| format!("{line}\n")).unwrap_or_default() + &running.tail(30)
}

fn expect(running: &mut Running, text: &str, patience: Duration) -> Result<String, Failure> {
    let found = running.wait(text, patience)?;
    found.ok_or_else(|| Failure::content(format!("{text:?} was not seen; the last lines"), last_lines(running)))
}

/// The machine ends, or stays silent, without ever getting ready.
fn expect_never_ready(running: &mut Running, sign: &[&str]) -> Result<(), Failure> {
    let mut texts = sign.to_vec();
    texts.push("STELE READY");
    match running.wait_any(&texts, START)? {
        Some(line) if line.contains("STELE READY") => Err(Failure::content("the machine", "it got ready")),
        Some(_) => Ok(()),
        None => Err(Failure::content(format!("none of {sign:?} was seen; the last lines"), last_lines(running))),
    }
}

fn number(line: &str, key: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn boots_and_measures(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("boots", "")?;
    machine.tpm = true;
    let rpc = boot::free_port()?;
    machine.network = Network::User(vec![(rpc, dev_ledger::RPC_PORT)]);
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
    attested(bench, &machine, rpc, &told[0].pcr11)
}

/// The validator's own word on the machine, asked for and verified from outside: register 11 as it was told, and an event log
/// that adds up to all registers.
fn attested(bench: &Bench, machine: &Emulation, rpc: u16, pcr11: &str) -> Result<(), Failure> {
    let run = |arguments: &[&str]| dev_ledger::run(&bench.stele, &[&["attest"], arguments].concat(), &machine.folder);
    let (rpc, nonce) = (format!("127.0.0.1:{rpc}"), "5f".repeat(32));
    run(&["quote", "--rpc", &rpc, "--nonce", &nonce, "--out", "quote.json"])?;
    let given = ["quote.json", "--nonce", &nonce, "--genesis", "configuration/node/genesis.toml"];
    let policy = run(&[&["policy"], &given[..]].concat())?;
    if !policy.contains(pcr11) {
        return Err(Failure::content("the attested registers", format!("register 11 is not {pcr11}:\n{policy}")));
    }
    let policy = format!("event_log = true\n{}", policy.replace("event_log = false\n", ""));
    std::fs::write(machine.folder.join("machines.toml"), policy).map_err(Failure::io("writing a policy"))?;
    run(&[&["verify"], &given[..], &["--policy", "machines.toml"]].concat()).map(drop)
}

/// Much that is part of the kernel for virtual machines is a module of this one.
fn metal_boots(bench: &Bench) -> Result<(), Failure> {
    let image = (bench.make)(Special::Metal)?.image;
    let mut machine = bench.disk_with(&image, "metal", "", &[])?;
    machine.tpm = true;
    machine.more = ["-device", "qemu-xhci,id=usb"].map(str::to_owned).into();
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "the state is encrypted, and sealed to this TPM", START)?;
    expect(&mut running, "STELE READY", START)?;
    sticks::refuses_a_strangers(bench, &mut running, &machine.folder)
}

/// As it goes to a rack: a seal is demanded, the operator's key signs the configuration, and the console is quiet. A bundle
/// that the key of `dev` has signed is a stranger's.
fn validator_boots(bench: &Bench) -> Result<(), Failure> {
    let folder = bench.folder("validator-key")?;
    let key = folder.join("configuration.key");
    configuration::make_key(&key)?;
    let image = (bench.make)(Special::Validator(&key.with_added_extension("pub")))?.image;
    let mut machine = bench.disk_without_configuration(&image, "validator")?;
    machine.tpm = true;
    let from = machine.folder.join("configuration");
    dev_ledger::alone(&bench.stele, &from, "", &[], Keys::File)?;
    let bundle = configuration::collect(&from, 1)?;
    configuration::write(&machine.disk, &bundle, &configuration::DEV_SEED)?;
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["STELE FAILED: the configuration"])?;
    configuration::write(&machine.disk, &bundle, &configuration::read_secret(&key)?)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "sealed to this TPM", START)?;
    expect(&mut running, "STELE READY", START)?;
    if running.log.iter().any(|line| line.contains("INFO")) {
        return Err(Failure::content("the console", "it is not quiet"));
    }
    Ok(())
}

fn corrupted_root_is_refused(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("corrupted", "")?;
    damage_slot(&machine.disk, 0)?;
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["verity", "dm-verity device corrupted", "Kernel panic"])
}

fn unsigned_is_refused(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("unsigned", "")?;
    machine.secure_boot = Some(SNAKEOIL_VARIABLES.into());
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["Access Denied", "Security Violation"])
}

/// With the key that Debian's firmware package brings for tests, whose passphrase is in its documentation.
fn signed_machine(bench: &Bench, name: &str) -> Result<Emulation, Failure> {
    let mut machine = bench.disk(name, "")?;
    machine.secure_boot = Some(SNAKEOIL_VARIABLES.into());
    let (key, certificate) = snakeoil(&machine.folder)?;
    change_programs(&machine.disk, |bytes| {
        *bytes = sign::sign_with_openssl(bytes, &key, certificate)?;
        Ok(())
    })?;
    Ok(machine)
}

/// The firmware's variables with that key.
const SNAKEOIL_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";

/// That key, without its passphrase in a folder, and its certificate.
fn snakeoil(folder: &Path) -> Result<(PathBuf, &'static Path), Failure> {
    let (locked, certificate) =
        (Path::new("/usr/share/ovmf/PkKek-1-snakeoil.key"), Path::new("/usr/share/ovmf/PkKek-1-snakeoil.pem"));
    let key = folder.join("snakeoil.key");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["rsa", "-passin", "pass:snakeoil", "-in"]).arg(locked).arg("-out").arg(&key);
    openssl.stderr(std::process::Stdio::null()).status().map_err(Failure::io("starting openssl"))?;
    Ok((key, certificate))
}

fn signed_boots(bench: &Bench) -> Result<(), Failure> {
    let mut running = signed_machine(bench, "signed")?.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

fn good_release_is_blessed(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("blessed", "")?;
    let done = update::update(&opened(&machine.disk)?, &bench.next, 3)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, &format!("STELE BLESSED release={}", done.to), START)?;
    Ok(())
}

fn bad_release_falls_back(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("falls-back", "")?;
    machine.once = false;
    let done = update::update(&opened(&machine.disk)?, &bench.next, 2)?;
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

/// A wrong one is not tried twice; the right one is nowhere in what the machine says.
fn pin_at_the_console(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("pin", "pin = console\n")?;
    let from = machine.folder.join("configuration");
    let (file, signer) = (from.join("signer/pin"), from.join("signer/signer.toml"));
    let about = || Failure::io("changing the configuration");
    let pin = std::fs::read_to_string(&file).map_err(about())?;
    let text = std::fs::read_to_string(&signer).map_err(about())?;
    let changed = text.replace("pin_file = \"pin\"", "pin_file = \"fd:30\"");
    std::fs::write(&signer, changed).and_then(|()| std::fs::remove_file(&file)).map_err(about())?;
    configuration::write(&machine.disk, &configuration::collect(&from, 1)?, &configuration::DEV_SEED)?;
    for (typed, sign) in
        [("a-wrong-one", "STELE FAILED: the token did not accept the PIN"), (pin.trim(), "STELE READY")]
    {
        let mut running = machine.boot_with(Accel::Tcg)?;
        for line in ["", typed] {
            expect(&mut running, "type the signer's PIN", START)?;
            running.type_line(line)?;
        }
        expect(&mut running, sign, START)?;
        if running.log.iter().any(|line| line.contains(typed)) {
            return Err(Failure::content("the console", "it shows the PIN"));
        }
        running.cut_power();
        // In the journals, or anywhere else in a state that is not encrypted.
        if sealed::readable(&machine.disk, [typed])? == [true] {
            return Err(Failure::content("the state", "it holds the PIN"));
        }
    }
    Ok(())
}

/// The machine waits for somebody, longer than its watchdog would.
fn refused_pin_is_tried_once(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("pin-refused", "")?;
    machine.once = false;
    let from = machine.folder.join("configuration");
    std::fs::write(from.join("signer/pin"), "a-wrong-one").map_err(Failure::io("changing the configuration"))?;
    configuration::write(&machine.disk, &configuration::collect(&from, 1)?, &configuration::DEV_SEED)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE HELD", START)?;
    match running.wait_any(&["PIN was not accepted", "release 1 of"], Duration::from_secs(45))? {
        None => Ok(()),
        Some(_) => Err(Failure::content("the machine tried again", running.tail(10))),
    }
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It held.
    Ok,
    /// It did not.
    Failed,
    /// It needs what is not there.
    Skipped,
}

/// A scenario that was run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Told {
    /// Which.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: u64,
}

/// Runs those whose name contains `filter`, and tells of each on standard error.
pub fn run(bench: &Bench, filter: &str) -> Vec<Told> {
    let mut all = Vec::new();
    for (name, scenario) in ALL.iter().filter(|scenario| scenario.0.contains(filter)) {
        if name.starts_with("a_gpus_driver") && bench.nvidia.is_none() {
            eprintln!("  skipped {name}: it needs the packages of a driver, which only you may bring (--nvidia DIR)");
            all.push(Told { name, outcome: Outcome::Skipped, seconds: 0 });
            continue;
        }
        let started = Instant::now();
        let mut held = scenario(bench);
        // QEMU's translation on several threads at times runs into an instruction that the kernel is about to change. No
        // processor does that, and nothing of ours had run then.
        if held.as_ref().is_err_and(|failure| failure.to_string().contains(EMULATORS_FAULT)) {
            eprintln!("  again   {name}: {EMULATORS_FAULT}");
            let _ = std::fs::remove_dir_all(&bench.folder);
            held = scenario(bench);
        }
        let seconds = started.elapsed().as_secs();
        let outcome = match held {
            Ok(()) => {
                eprintln!("  ok      {name} ({seconds} s)");
                Outcome::Ok
            }
            Err(failure) => {
                eprintln!("  FAILED  {name} ({seconds} s)\n{failure}\n");
                Outcome::Failed
            }
        };
        all.push(Told { name, outcome, seconds });
    }
    all
}
