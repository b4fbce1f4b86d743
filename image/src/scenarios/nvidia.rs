//! A driver of NVIDIA's cards in the image, as far as a machine without a card allows: under Secure Boot and lockdown the
//! kernel takes the modules because the key that signed the image has signed them, and for no other reason. A module that it
//! takes finds no card and says so (`ENODEV`); one that it does not take never runs.
//!
//! The packages are the operator's (`image test --nvidia DIR`); without them there is nothing to try.

use super::{Bench, SNAKEOIL_VARIABLES, START, Special, change_programs, expect, snakeoil};
use crate::boot::{Accel, Emulation};
use crate::failure::Failure;
use crate::module_signature::Signed;
use crate::tree::{Node, Tree};
use crate::verify::{Wanted, verify};
use crate::{disk, erofs, sign};
use image_formats::gpt::{PRIMARY_SECTORS, SECTOR, Table};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernel's words for `ENODEV`: the module runs and has found no card.
const TAKEN: &str = "STELE MODULE nvidia: No such device";
/// For `EPERM`: lockdown refuses a module whose key it does not know.
const LOCKED_DOWN: &str = "STELE MODULE nvidia: Operation not permitted";
/// For `EKEYREJECTED`: the same where Secure Boot is enforced, which makes the kernel insist on signatures by itself.
const REJECTED: &str = "STELE MODULE nvidia: Key was rejected by service";

pub(super) fn taken_by_its_signature(bench: &Bench) -> Result<(), Failure> {
    let Some(driver) = &bench.nvidia else { return Ok(()) };
    let folder = bench.folder("nvidia-keys")?;
    let (key, certificate) = snakeoil(&folder)?;
    let image = (bench.make)(Special::Nvidia(driver, [&key, certificate]))?.image;
    let told = verify(&image, Wanted::default()).map_err(|error| Failure::content("the image", error))?;
    if !told[0].modules.iter().any(|module| module == "nvidia") {
        return Err(Failure::content("the image", "it has no module nvidia"));
    }
    let machine = machine(bench, &image, "nvidia")?;
    answers(&machine, TAKEN)?;
    // The same disk where the firmware enforces nothing and has no key.
    let without = bench.folder("nvidia-without-secure-boot")?;
    answers(&Emulation::new(&machine.disk, &without), LOCKED_DOWN)
}

pub(super) fn refused_by_another_key(bench: &Bench) -> Result<(), Failure> {
    let Some(driver) = &bench.nvidia else { return Ok(()) };
    let folder = bench.folder("nvidia-other-keys")?;
    let (key, certificate) = snakeoil(&folder)?;
    let built = (bench.make)(Special::Nvidia(driver, [&key, certificate]))?.image;
    let ready = ready_modules(&built, driver, &folder)?;
    let other = [folder.join("other.key"), folder.join("other.pem")];
    make_key(&other)?;
    let image = (bench.make)(Special::Nvidia(&ready, [&other[0], &other[1]]))?.image;
    let machine = machine(bench, &image, "nvidia-other")?;
    // The firmware trusts the programs; it is the modules that are a stranger's.
    change_programs(&machine.disk, |bytes| {
        *bytes = sign::sign_with_openssl(bytes, &key, certificate)?;
        Ok(())
    })?;
    answers(&machine, REJECTED)
}

/// A machine with Secure Boot, which hands the driver to the kernel though it has no card.
fn machine(bench: &Bench, image: &[u8], name: &str) -> Result<Emulation, Failure> {
    let mut machine = bench.disk_with(image, name, "try_module = nvidia\n", &[])?;
    machine.secure_boot = Some(SNAKEOIL_VARIABLES.into());
    Ok(machine)
}

/// Whatever the kernel says, the machine gets ready: its node goes on with the processor.
fn answers(machine: &Emulation, answer: &str) -> Result<(), Failure> {
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "no card of NVIDIA's: the processor verifies", START)?;
    let said = expect(&mut running, "STELE MODULE nvidia: ", START)?;
    if !said.contains(answer) {
        return Err(Failure::content("the kernel's answer", said));
    }
    expect(&mut running, "STELE READY", START)?;
    running.cut_power();
    Ok(())
}

/// A folder of the operator's with the modules of an image in the place of their sources, which take minutes to build.
fn ready_modules(image: &[u8], driver: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let about = || Failure::io("making a folder with ready modules");
    let ready = folder.join("ready");
    std::fs::create_dir_all(ready.join("modules")).map_err(about())?;
    for entry in std::fs::read_dir(driver).map_err(about())?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "deb") {
            let path = path.canonicalize().map_err(about())?;
            std::os::unix::fs::symlink(path, ready.join(entry.file_name())).map_err(about())?;
        }
    }
    let tree = root_of(image)?;
    for file in ["nvidia.ko", "nvidia-uvm.ko"] {
        let node = tree.nodes.get(&format!("usr/lib/stele/modules/{file}"));
        if let Some(Node::File { bytes, .. }) = node {
            let signed = Signed::parse(bytes).ok_or_else(|| Failure::content(file, "it is not signed"))?;
            std::fs::write(ready.join("modules").join(file), signed.module).map_err(about())?;
        }
    }
    Ok(ready)
}

/// The files in the root of an image.
fn root_of(image: &[u8]) -> Result<Tree, Failure> {
    let about = |error: &dyn std::fmt::Display| Failure::content("the image", error);
    let table = Table::decode(&image[..PRIMARY_SECTORS as usize * SECTOR]).map_err(|error| about(&error))?;
    let slot = table.first_of(disk::ROOT).ok_or_else(|| about(&"it has no root"))?;
    let bytes = &image[slot.offset() as usize..][..slot.bytes() as usize];
    erofs::read(bytes).map_err(|error| about(&error))
}

fn make_key([key, certificate]: &[PathBuf; 2]) -> Result<(), Failure> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another", "-keyout"]).arg(key);
    openssl.arg("-out").arg(certificate).stderr(Stdio::null());
    let status = openssl.status().map_err(Failure::io("starting openssl"))?;
    if status.success() { Ok(()) } else { Err(Failure::content("openssl", "it made no key")) }
}
