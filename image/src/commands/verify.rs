//! `image verify`.

use clap::Args;
use image_formats::boot_line::Flavour;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use stele_image::failure::Failure;
use stele_image::verify::{Disk, Wanted, verify_disk};

/// Compute every hash of an image or a disk anew, check what is inside, and tell what a machine will measure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask image verify target/image/disk.img
  cargo xtask image verify /dev/sdX --flavour validator --release-min 7 --json

Of a disk the state is not read. `boot loader` is the digest that Secure Boot's signature is over, and that the firmware
measures into PCR 4.")]
pub struct VerifyArgs {
    /// The image.
    image: PathBuf,
    /// Refuse another flavour: validator, ceremony or dev.
    #[arg(long, value_name = "NAME")]
    flavour: Option<String>,
    /// Refuse an older release.
    #[arg(long, value_name = "N")]
    release_min: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Checks and reports.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let flavour: Option<Flavour> =
        args.flavour.as_deref().map(str::parse).transpose().map_err(|error| Failure::content("--flavour", error))?;
    let name = args.image.display().to_string();
    let disk = Disk::read(&args.image)?;
    let wanted = Wanted { flavour, release_min: args.release_min };
    let entries =
        verify_disk(&disk, wanted).map_err(|error| Failure::unfit(format!("{name}: {error}"), error.help()))?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!("{}", json!({ "image": name, "bytes": disk.bytes, "entries": entries, "seconds": seconds }));
        return Ok(());
    }
    println!("{name}: sound ({} bytes, {seconds:.2} s)", disk.bytes);
    for entry in entries {
        println!(
            "  {}: release {} of {}{}",
            entry.file,
            entry.release,
            entry.flavour,
            if entry.signed { ", signed" } else { "" }
        );
        println!(
            "    kernel image {}\n    root hash    {}\n    PCR 11       {}\n    boot loader  {}{}",
            entry.uki_sha256,
            entry.root_hash,
            entry.pcr11,
            entry.boot_loader,
            if entry.own_boot_loader {
                ""
            } else {
                ", which is not the one on this disk: that is of the release that was flashed"
            }
        );
        let state = match (&entry.policy_key, entry.seal.as_str()) {
            _ if entry.flavour == Flavour::Ceremony.name() => "none is kept".to_owned(),
            (Some(_), "never") => "a new one is not encrypted".to_owned(),
            (Some(key), seal) => format!("sealed {seal}; opens to images that policy key {key} has signed"),
            (None, "never") => "not encrypted".to_owned(),
            (None, _) => "not encrypted: the image brings no signed policies (`image build --policy-key`)".to_owned(),
        };
        println!("    state        {state}");
        if let Some(link) = &entry.hsm_link {
            println!("    HSM          {link}: one driver, one address, one port, while a ceremony is held");
        }
        println!(
            "    {} files, {} modules, no shell, script, setuid file or writable code",
            entry.files,
            entry.modules.len()
        );
    }
    Ok(())
}
