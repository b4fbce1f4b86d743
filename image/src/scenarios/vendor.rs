//! A vendor's PKCS#11 module in the image. SoftHSM2 plays the vendor: a copy of it under another name, that needs a library
//! which no package has.

use super::{Bench, START, Special, expect};
use crate::boot::Accel;
use crate::configuration;
use crate::failure::Failure;
use crate::verify::{Wanted, verify};
use std::path::Path;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";
/// Names of the same length, so that the one can be put in the place of the other.
const NAMES: [&str; 2] = ["libcrypto.so.3", "libvendor.so.3"];

pub(super) fn module_of_a_bundle(bench: &Bench) -> Result<(), Failure> {
    let folder = bench.folder("vendor-bundle")?;
    for (from, to) in [(MODULE, "libtoken.so"), (LIBRARY, NAMES[1])] {
        let mut bytes = std::fs::read(from).map_err(Failure::io(format!("reading {from} (softhsm2)")))?;
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(NAMES[0].as_bytes())).collect();
        for at in places {
            bytes[at..at + NAMES[1].len()].copy_from_slice(NAMES[1].as_bytes());
        }
        std::fs::write(folder.join(to), bytes).map_err(Failure::io("making a bundle"))?;
    }
    let image = (bench.make)(Special::Bundle(&folder))?.image;
    verify(&image, Wanted::default()).map_err(|error| Failure::content("the image", error))?;
    let machine = bench.disk_with(&image, "vendor", "", &[])?;
    let from = machine.folder.join("configuration");
    let signer = from.join("signer/signer.toml");
    let text = std::fs::read_to_string(&signer).map_err(Failure::io("reading a configuration"))?;
    let changed = text.replace(MODULE, "/usr/lib/pkcs11/libtoken.so");
    write(&signer, &changed)?;
    configuration::write(&machine.disk, &configuration::collect(&from, 1)?, &configuration::DEV_SEED)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    running.cut_power();
    // Not by another module that happens to be there.
    write(&signer, &text.replace(MODULE, "/usr/lib/pkcs11/libother.so"))?;
    configuration::write(&machine.disk, &configuration::collect(&from, 2)?, &configuration::DEV_SEED)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "signer ended with", START)?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::io("changing the configuration"))
}
