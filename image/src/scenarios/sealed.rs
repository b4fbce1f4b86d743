//! A state that is sealed to the machine's TPM: it opens where it should, stays shut where it should not, and cannot be read
//! on the disk.

use super::{
    Bench, START, change_programs, expect, expect_never_ready, flip, number, opened, partition, signed_machine,
};
use crate::boot::{Accel, Emulation, Running};
use crate::failure::Failure;
use crate::{disk, update};
use image_formats::sealed_state::{Header, Stage};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What init says once a state is open.
const OPEN: &str = "the state is encrypted, and sealed to this TPM";
/// A part of `machine.conf`, which lies in the state, and the file system's label.
const KNOWN: [&str; 2] = ["gateway = 10.0.2.2\nrpc = ", "stele-state"];
/// Read at a time.
const PIECE: usize = 1 << 20;

/// Which of some short texts stand on the state's partition.
pub(super) fn readable<const N: usize>(path: &Path, texts: [&str; N]) -> Result<[bool; N], Failure> {
    let file = opened(path)?;
    let state = partition(&file, disk::STATE, 0)?;
    let mut found = [false; N];
    // Pieces overlap, so that nothing hides in between.
    let overlap = 64;
    for at in (0..state.bytes()).step_by(PIECE) {
        let mut piece = vec![0; (PIECE + overlap).min((state.bytes() - at) as usize)];
        file.read_exact_at(&mut piece, state.offset() + at).map_err(Failure::io("reading a disk"))?;
        if piece.iter().all(|byte| *byte == 0) {
            continue;
        }
        for (found, text) in found.iter_mut().zip(texts) {
            *found |= piece.windows(text.len()).any(|window| window == text.as_bytes());
        }
    }
    Ok(found)
}

/// A machine that has sealed its state. Its power was cut before, as soon as the header was written: nothing was lost.
fn sealed(bench: &Bench, name: &str) -> Result<(Emulation, Running), Failure> {
    let mut machine = bench.disk(name, "")?;
    machine.tpm = true;
    let area = vec![7; 80];
    let (policy_key, parent, public, private) = (area.clone(), area.clone(), area.clone(), area);
    let begun = Header { stage: Stage::Made, bound: 0, policy_key, parent, public, private };
    let begun = begun.encode().map_err(|error| Failure::content("a header", error))?;
    let file = opened(&machine.disk)?;
    let at = partition(&file, disk::STATE, 0)?.offset();
    file.write_all_at(&begun, at).map_err(Failure::io("writing a disk"))?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, OPEN, START)?;
    Ok((machine, running))
}

/// The machine stops with these words.
fn expect_refusal(machine: &Emulation, words: &str) -> Result<(), Failure> {
    let mut running = machine.boot_with(Accel::Tcg)?;
    match expect_never_ready(&mut running, &["STELE FAILED"]) {
        Ok(()) if running.tail(1).contains(words) => Ok(()),
        Ok(()) => Err(Failure::content(format!("{words:?} was not seen, but"), running.tail(1))),
        Err(failure) => Err(failure),
    }
}

pub(super) fn survives_and_cannot_be_read(bench: &Bench) -> Result<(), Failure> {
    let (machine, mut running) = sealed(bench, "sealed")?;
    let before = expect(&mut running, "STELE CERTIFIED", START)?;
    running.cut_power();
    if readable(&machine.disk, KNOWN)? != [false; 2] {
        return Err(Failure::content("the sealed state", "what was written to it can be read on the disk"));
    }
    let done = update::update(&opened(&machine.disk)?, &bench.next, 3)?;
    // Once on trial, once as the release that stays.
    for sign in [format!("STELE BLESSED release={}", done.to), "STELE READY".to_owned()] {
        let mut running = machine.boot_with(Accel::Tcg)?;
        expect(&mut running, &format!("release {} of", done.to), START)?;
        expect(&mut running, OPEN, START)?;
        let ready = expect(&mut running, "STELE READY", START)?;
        if !ready.contains(&sign) {
            expect(&mut running, &sign, START)?;
        }
        let (before, after) = (number(&before, "certified_height"), number(&ready, "height"));
        if after < before {
            return Err(Failure::content("after the restart", format!("height {after}, {before} was certified")));
        }
        running.cut_power();
    }
    // The same on a machine without a TPM: there it can be read, so the search finds what is there.
    let plain = bench.disk("plain", "")?;
    let mut running = plain.boot_with(Accel::Tcg)?;
    expect(&mut running, "the state is not encrypted: there is no TPM 2.0", START)?;
    expect(&mut running, "eth0", START)?;
    running.cut_power();
    if readable(&plain.disk, KNOWN)? != [true; 2] {
        return Err(Failure::content("the plain state", "what was written to it is not found on the disk"));
    }
    Ok(())
}

pub(super) fn refused_elsewhere(bench: &Bench) -> Result<(), Failure> {
    let (mut machine, mut running) = sealed(bench, "elsewhere")?;
    expect(&mut running, "eth0", START)?;
    running.cut_power();
    let (state, kept) = (machine.folder.join("tpm"), machine.folder.join("tpm.kept"));
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(Failure::io("changing the TPM"));
    rename(&state, &kept)?;
    expect_refusal(&machine, "it is sealed to another TPM, or this one was cleared")?;
    std::fs::remove_dir_all(&state).map_err(Failure::io("changing the TPM"))?;
    rename(&kept, &state)?;
    machine.tpm = false;
    expect_refusal(&machine, "it is sealed to a TPM, and this machine has none")?;
    machine.tpm = true;
    // The right machine, and the image with one letter of its command line changed; and back.
    let change = |from: &'static [u8], to: &'static [u8]| {
        change_programs(&machine.disk, move |bytes| {
            if let Some(at) = bytes.windows(from.len()).rposition(|window| window == from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
            Ok(())
        })
    };
    change(b"quiet loglevel=4", b"quiet loglevel=7")?;
    expect_refusal(&machine, "the policy key has not signed for this image")?;
    change(b"quiet loglevel=7", b"quiet loglevel=4")?;
    // One copy of the header may be damaged, both may not.
    let file = opened(&machine.disk)?;
    let header = partition(&file, disk::STATE, 0)?.offset();
    flip(&file, header + 40)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, OPEN, START)?;
    running.cut_power();
    flip(&file, header + 4096 + 50)?;
    expect_refusal(&machine, "both copies of the sealed state's header are damaged")
}

pub(super) fn shut_without_secure_boot(bench: &Bench) -> Result<(), Failure> {
    let mut machine = signed_machine(bench, "secure-seal")?;
    machine.tpm = true;
    for sign in ["eth0", "STELE READY"] {
        let mut running = machine.boot_with(Accel::Tcg)?;
        expect(&mut running, "sealed to this TPM, Secure Boot and the images", START)?;
        expect(&mut running, sign, START)?;
        running.cut_power();
    }
    machine.secure_boot = None;
    std::fs::remove_file(machine.folder.join("variables.fd")).map_err(Failure::io("changing the firmware"))?;
    expect_refusal(&machine, "Secure Boot or its keys (PCR 7) are not as they were")
}

/// An image that demands the seal goes without neither on a new state nor on one that is there; what is there stays.
pub(super) fn demanded(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk_with(&bench.demanding, "demanded", "", &[])?;
    expect_refusal(&machine, "it cannot be sealed, and this image demands that it is: there is no TPM 2.0")?;
    let mut machine = bench.disk("demanded-later", "")?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "eth0", START)?;
    running.cut_power();
    machine.tpm = true;
    update::update(&opened(&machine.disk)?, &bench.demanding, 1)?;
    expect_refusal(&machine, "is not encrypted, and this image demands that it is")?;
    // Its one attempt is used up, and the release before has its state.
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "the state is not encrypted: it was made so", START)?;
    Ok(())
}
