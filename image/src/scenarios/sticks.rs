//! Releases and configurations that come on sticks and further disks.

use super::{Bench, START, expect};
use crate::boot::{Accel, Running};
use crate::failure::Failure;
use crate::{configuration, disk, stick, tables};
use image_formats::bundle::Bundle;
use image_formats::gpt::{BACKUP_SECTORS, Guid, SECTOR, Table};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A key that no machine trusts.
const STRANGER: [u8; 32] = [7; 32];
/// Where the one partition of a stick begins, as tools have it.
const STICK_START: u64 = 1 << 20;

/// The stick is in from the start, and stays in: what it brings is taken once.
pub fn taken_once(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("stick", "")?;
    machine.once = false;
    let path = make(&machine.folder, "release", &bench.next, &configuration::DEV_SEED)?;
    let drive = format!("if=none,id=d1,format=raw,readonly=on,file={}", path.display());
    machine.more = ["-drive", &drive, "-device", "virtio-blk-pci,drive=d1"].map(str::to_owned).into();
    let mut running = machine.boot_with(Accel::Tcg)?;
    for sign in ["STELE UPDATE release 2 is on trial", "starting release 2", "release 2 of", "STELE BLESSED release=2"]
    {
        expect(&mut running, sign, START)?;
    }
    expect(&mut running, "was taken before: left alone", START)?;
    Ok(())
}

/// Of a SATA disk, whose driver is loaded when the node is ready: its newer configuration is taken, once. A still newer one on the
/// disk beside it is another machine's, and left alone.
pub fn newer_configuration(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("newer", "")?;
    machine.once = false;
    let newer = configuration::collect(&machine.folder.join("configuration"), 2)?;
    let mut others = configuration::collect(&machine.folder.join("configuration"), 3)?;
    others.files.retain(|(name, _)| name != "machine.conf");
    others.files.push(("machine.conf".to_owned(), b"name = another\naddress = dhcp\nrpc = 10.0.2.15:7300\n".to_vec()));
    for (number, bundle) in [newer, others].iter().enumerate() {
        let path = configured(&machine.folder.join(format!("configuration-{number}.img")), bundle)?;
        let drive = format!("if=none,id=sata{number},format=raw,file={}", path.display());
        let device = format!("ide-hd,drive=sata{number},bus=ide.{number}");
        machine.more.extend(["-drive".to_owned(), drive, "-device".to_owned(), device]);
    }
    let mut running = machine.boot_with(Accel::Tcg)?;
    for sign in [
        "configuration 1 from",
        "STELE READY",
        "configuration 3: it is for another, and this is",
        "configuration 2 from /dev/sda1: starting again with it",
        "root on",
    ] {
        expect(&mut running, sign, START)?;
    }
    expect(&mut running, "STELE READY", START)?;
    // With the disks still in, nothing more comes of them.
    if running.wait("starting again with it", Duration::from_secs(8))?.is_some() {
        return Err(Failure::content("the console", "the same configuration was taken twice"));
    }
    Ok(())
}

/// A disk with nothing but a configuration.
fn configured(path: &Path, bundle: &Bundle) -> Result<PathBuf, Failure> {
    let about = || Failure::io("making a disk");
    let file = File::create_new(path).map_err(about())?;
    let bytes = disk::CONFIGURATION_BYTES as u64;
    let partition = disk::partition(disk::CONFIGURATION, Guid([3; 16]), STICK_START, bytes, "stele-configuration");
    let sectors = partition.last + 1 + BACKUP_SECTORS;
    file.set_len(sectors * SECTOR as u64).map_err(about())?;
    tables::put(&file, &Table { disk: Guid([2; 16]), sectors, partitions: vec![partition] }).map_err(about())?;
    configuration::write(path, bundle, &configuration::DEV_SEED)?;
    Ok(path.to_owned())
}

/// One that somebody else has signed is refused, and the machine goes on.
pub fn refuses_a_strangers(bench: &Bench, running: &mut Running, folder: &Path) -> Result<(), Failure> {
    let path = make(folder, "strange", &bench.next, &STRANGER)?;
    put_in(running, "strange", &path)?;
    expect(running, "not signed by the key that this image trusts", START)?;
    pull_out(running, "strange")
}

fn make(folder: &Path, name: &str, image: &[u8], seed: &[u8; 32]) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("{name}.stick"));
    let file = File::create_new(&path).map_err(Failure::io("making a stick"))?;
    stick::write(image, seed, &file, stick::bytes_for(image))?;
    Ok(path)
}

/// Puts a stick into a machine that has the USB controller `usb`.
pub fn put_in(running: &mut Running, name: &str, path: &Path) -> Result<(), Failure> {
    running.command(&format!("drive_add 0 if=none,id={name},format=raw,file={}", path.display()))?;
    running.command(&format!("device_add usb-storage,bus=usb.0,drive={name},id=stick-{name},removable=on"))
}

/// Pulls it out.
pub fn pull_out(running: &mut Running, name: &str) -> Result<(), Failure> {
    running.command(&format!("device_del stick-{name}"))
}
