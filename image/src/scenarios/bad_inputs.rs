//! What a machine finds that is not as it should be: it says what, and either goes on or stops before anything is lost.

use super::clock::{AHEAD, EMPTY_BATTERY, clock_at};
use super::{Bench, START, expect, expect_never_ready, opened, partition};
use crate::boot::{Accel, Emulation, Network, Running};
use crate::disk;
use crate::failure::Failure;
use image_formats::gpt::{BACKUP_SECTORS, PRIMARY_SECTORS, SECTOR, Table};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The machine stops with these words.
fn refuses(machine: &Emulation, words: &str) -> Result<Running, Failure> {
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect_never_ready(&mut running, &["STELE FAILED"])?;
    if running.tail(1).contains(words) {
        return Ok(running);
    }
    Err(Failure::content(format!("{words:?} was not seen, but"), running.tail(10)))
}

/// No card at all; and a card without a cable, with which the machine goes on and waits.
pub(super) fn without_a_network(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("network-card", "")?;
    machine.network = Network::Absent;
    refuses(&machine, "no network interface")?.cut_power();
    machine.network = Network::Unplugged;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "eth0: 10.0.2.15/24, no carrier", START)?;
    expect(&mut running, "STELE READY", START)?;
    running.command("set_link card on")?;
    running.cut_power();
    // Without it nobody answers where an address is to be had.
    let text = std::fs::read_to_string(machine.folder.join("configuration/machine.conf"));
    let text = text.map_err(Failure::io("reading a configuration"))?.replace("10.0.2.15/24", "dhcp");
    reconfigure(&machine, &text)?;
    refuses(&machine, "no DHCP server answers on eth0")?.cut_power();
    machine.network = Network::User(Vec::new());
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "eth0: 10.0.2.15/24", START)?;
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

/// Nothing would reset it: when its node hangs, its console says that somebody has to.
pub(super) fn without_a_watchdog(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("watchdog", "hang_after_s = 1\n")?;
    machine.watchdog = false;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "no watchdog: No such file", START)?;
    expect(&mut running, "STELE READY", START)?;
    expect(&mut running, "there is no watchdog: restart the machine", START)?;
    Ok(())
}

/// A new `machine.conf` with a higher serial number.
fn reconfigure(machine: &Emulation, text: &str) -> Result<(), Failure> {
    let from = machine.folder.join("configuration");
    std::fs::write(from.join("machine.conf"), text).map_err(Failure::io("changing the configuration"))?;
    let bundle = crate::configuration::collect(&from, 2)?;
    crate::configuration::write(&machine.disk, &bundle, &crate::configuration::DEV_SEED)
}

/// The battery was empty, or somebody set the clock by mistake. The machine starts, and knows what it has kept when the clock is
/// right again.
pub(super) fn clock_is_wrong(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("clock", "")?;
    for more in [clock_at(EMPTY_BATTERY), clock_at(AHEAD), Vec::new()] {
        machine.more = more;
        let mut running = machine.boot_with(Accel::Tcg)?;
        expect(&mut running, "STELE READY", START)?;
        expect(&mut running, "STELE CERTIFIED", START)?;
        running.cut_power();
    }
    Ok(())
}

/// Nobody could say whose state is meant.
pub(super) fn two_disks_alike(bench: &Bench) -> Result<(), Failure> {
    let mut machine = bench.disk("twins", "")?;
    let twin = machine.folder.join("twin.img");
    super::write_log::copy(&machine.disk, &twin)?;
    let drive = format!("if=none,id=d1,format=raw,file={}", twin.display());
    machine.more = ["-drive", &drive, "-device", "virtio-blk-pci,drive=d1"].map(str::to_owned).into();
    refuses(&machine, "both hold this root: take one out").map(drop)
}

/// A disk that was not flashed but copied, or whose table somebody has changed.
pub(super) fn no_state(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("no-state", "")?;
    let file = opened(&machine.disk)?;
    let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
    file.read_exact_at(&mut start, 0).map_err(Failure::io("reading a disk"))?;
    let mut table = Table::decode(&start).map_err(|error| Failure::content("the disk", error))?;
    table.partitions.retain(|partition| partition.kind != disk::STATE);
    let backup = (table.sectors - BACKUP_SECTORS) * SECTOR as u64;
    let done = file.write_all_at(&table.encode_backup(), backup);
    done.and_then(|()| file.write_all_at(&table.encode_primary(), 0)).map_err(Failure::io("writing a disk"))?;
    refuses(&machine, "has no partition for the state: it was not written with `image flash`").map(drop)
}

/// There is no room for anybody but root. Nothing is started, so that nothing is damaged by who cannot write.
pub(super) fn full_state(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("full", "")?;
    fill(&machine)?;
    refuses(&machine, "the state: it is full")?.cut_power();
    // Room is made, and the machine starts: nothing was left half done.
    make_room(&machine)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    Ok(())
}

/// Makes the state's file system, with a file in it that leaves nothing to users.
fn fill(machine: &Emulation) -> Result<(), Failure> {
    let state = partition(&opened(&machine.disk)?, disk::STATE, 0)?;
    let (at, kibibytes) = (state.offset(), state.bytes() >> 10);
    let disk = machine.disk.display().to_string();
    let words = ["-q", "-t", "ext4", "-m", "1", "-E", &format!("offset={at}"), &disk, &format!("{kibibytes}k")];
    tool(Path::new("/sbin/mke2fs"), &words)?;
    let place = format!("{disk}?offset={at}");
    let told = tool(Path::new("/sbin/dumpe2fs"), &["-h", &place])?;
    let number = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let free = number("Free blocks:").saturating_sub(number("Reserved block count:"));
    // What the file takes besides its blocks comes out of what is root's.
    let bytes = free * number("Block size:");
    let filler = machine.folder.join("filler");
    let file = File::create(&filler).map_err(Failure::io("making a file"))?;
    let piece = vec![0x5A; 1 << 20];
    for start in (0..bytes).step_by(piece.len()) {
        let length = piece.len().min((bytes - start) as usize);
        file.write_all_at(&piece[..length], start).map_err(Failure::io("making a file"))?;
    }
    tool(Path::new("/sbin/debugfs"), &["-w", "-R", &format!("write {} filler", filler.display()), &place]).map(drop)
}

/// Takes that file away, as somebody does from a rescue system. e2fsck wants a file system, not a place on a disk.
fn make_room(machine: &Emulation) -> Result<(), Failure> {
    let file = opened(&machine.disk)?;
    let state = partition(&file, disk::STATE, 0)?;
    let apart = machine.folder.join("state.img");
    let mut bytes = vec![0; state.bytes() as usize];
    file.read_exact_at(&mut bytes, state.offset()).map_err(Failure::io("reading a disk"))?;
    std::fs::write(&apart, bytes).map_err(Failure::io("writing a file system"))?;
    let path = apart.display().to_string();
    tool(Path::new("/sbin/e2fsck"), &["-fy", &path])?;
    tool(Path::new("/sbin/debugfs"), &["-w", "-R", "rm filler", &path])?;
    let bytes = std::fs::read(&apart).map_err(Failure::io("reading a file system"))?;
    file.write_all_at(&bytes, state.offset()).map_err(Failure::io("writing a disk"))
}

/// One of e2fsprogs; 1 from e2fsck is that it has put something right.
fn tool(path: &Path, words: &[&str]) -> Result<String, Failure> {
    let output = Command::new(path).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(Failure::io(format!("starting {} (e2fsprogs)", path.display())))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(Failure::content(path.display().to_string(), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
