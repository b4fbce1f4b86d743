//! `image update` and `image flash`.

use clap::Args;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use stele_image::failure::Failure;
use stele_image::verify::{Wanted, verify};
use stele_image::{install, update};

/// `O_EXCL`: a device that is mounted, or that another program has, is refused.
const EXCLUSIVE: i32 = 0o200;

/// Write a new release to the slot that is not in use; at the next start it is on trial.
#[derive(Debug, Args)]
#[command(
    after_help = "The machine must be down, or the disk in another one. A release on trial that does not start, or whose node does
not certify a header in four minutes, gives way to the one before after so many attempts."
)]
pub struct UpdateArgs {
    /// The disk or its image; it keeps its state and its configuration.
    #[arg(long, value_name = "FILE")]
    disk: PathBuf,
    /// The image of the new release.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// How often it may fail.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    attempts: u8,
}

/// Write an image to a disk of a machine. All that is on the disk is lost.
#[derive(Debug, Args)]
pub struct FlashArgs {
    /// The disk, for example /dev/nvme0n1.
    #[arg(long, value_name = "DEVICE")]
    device: PathBuf,
    /// The image.
    #[arg(long, value_name = "FILE", default_value = "target/image/disk.img")]
    image: PathBuf,
    /// The disk's serial number, in place of typing it.
    #[arg(long, value_name = "SERIAL")]
    confirm: Option<String>,
}

/// Writes a release.
pub fn run(args: &UpdateArgs) -> Result<(), Failure> {
    let disk = open(&args.disk)?;
    let image = read(&args.image)?;
    let done = update::update(&disk, &image, args.attempts)?;
    println!("release {} is on trial, {} times at most; release {} stays", done.to, args.attempts, done.from);
    if done.strands_the_state {
        println!(
            "warning: release {} does not have the policy key of release {}: a state that is sealed stays shut to it",
            done.to, done.from
        );
    }
    Ok(())
}

/// Shows the disk, asks, and writes.
pub fn flash(args: &FlashArgs) -> Result<(), Failure> {
    let image = read(&args.image)?;
    let entries =
        verify(&image, Wanted::default()).map_err(|error| Failure::content(args.image.display().to_string(), error))?;
    let mut disk = open(&args.device)?;
    let bytes = disk.seek(SeekFrom::End(0)).map_err(Failure::io("measuring the disk"))?;
    let identity = Identity::of(&args.device);
    println!("{}: {} {}, serial {}", args.device.display(), size(bytes), identity.model, identity.serial);
    println!("  gets release {} of {}; ALL THAT IS ON IT IS LOST", entries[0].release, entries[0].flavour);
    let typed = match &args.confirm {
        Some(confirmed) => confirmed.clone(),
        None => ask(&identity.serial)?,
    };
    if typed.trim() != identity.serial {
        return Err(Failure::unfit(
            "that is not the disk's serial number; nothing was written",
            "look at the label again",
        ));
    }
    install::install(&image, &mut disk, bytes)?;
    println!("written; its configuration comes next: cargo xtask image configure --disk {}", args.device.display());
    Ok(())
}

fn ask(serial: &str) -> Result<String, Failure> {
    print!("Type the serial number ({serial}) to go on: ");
    let mut typed = String::new();
    let done = std::io::stdout().flush().and_then(|()| std::io::stdin().lock().read_line(&mut typed));
    done.map_err(Failure::io("reading the answer"))?;
    Ok(typed)
}

fn open(path: &Path) -> Result<File, Failure> {
    let about = || Failure::io(format!("opening {} (is it mounted?)", path.display()));
    let device = std::fs::metadata(path).map_err(about())?.file_type().is_block_device();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if device {
        options.custom_flags(EXCLUSIVE);
    }
    options.open(path).map_err(about())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(Failure::io(format!("reading {}", path.display())))
}

/// What a disk says of itself.
struct Identity {
    model: String,
    serial: String,
}

impl Identity {
    /// A file has its name in place of a serial number.
    fn of(device: &Path) -> Self {
        let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = Path::new("/sys/class/block").join(&name);
        let fact = |paths: &[&str]| {
            let texts = paths.iter().filter_map(|path| std::fs::read_to_string(folder.join(path)).ok());
            texts.map(|text| text.trim().to_owned()).find(|text| !text.is_empty())
        };
        let model = fact(&["device/model"]).unwrap_or_else(|| "(no model)".to_owned());
        Self { model, serial: fact(&["device/serial", "serial", "device/wwid", "wwid"]).unwrap_or(name) }
    }
}

fn size(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
