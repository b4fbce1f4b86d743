//! `image update`, `image flash` and `image stick`.

use clap::Args;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use stele_image::failure::Failure;
use stele_image::verify::{Wanted, verify};
use stele_image::{configuration, install, stick, update};

/// `O_EXCL`: a device that is mounted, or that another program has, is refused.
const EXCLUSIVE: i32 = 0o200;

/// Write a new release to the slot that is not in use; at the next start it is on trial.
#[derive(Debug, Args)]
#[command(
    after_help = "The machine must be down, or the disk in another one; `image stick` is for machines that run. A release on trial that does not start, or whose node does
not certify a header in four minutes, gives way to the one before after so many attempts.

Example:
  cargo xtask image update --disk /dev/sdX --image target/image/disk.img"
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
    /// Print one JSON object: disk, from, to, attempts, strands_the_state.
    #[arg(long)]
    json: bool,
}

/// Write an image to a disk of a machine. All that is on the disk is lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask image flash --device /dev/disk/by-id/nvme-…            shows the disk, and asks for its serial number
  cargo xtask image flash --device /dev/sdX --confirm SERIAL --json")]
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
    /// Print one JSON object: device, bytes, serial, release, flavour. What is asked goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Put a release on a stick, signed: a machine that runs takes it when the stick is plugged in, and starts it on trial. All that
/// is on the stick is lost.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask image stick --device /dev/sdX --image target/image/disk.img --key configuration.key")]
pub struct StickArgs {
    /// The stick, for example /dev/sdb, or a new file.
    #[arg(long, value_name = "DEVICE")]
    device: PathBuf,
    /// The image of the new release.
    #[arg(long, value_name = "FILE", default_value = "target/image/disk.img")]
    image: PathBuf,
    /// The secret file of `image key` that the machine's image trusts. Default: the key of `dev`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The stick's serial number, in place of typing it.
    #[arg(long, value_name = "SERIAL")]
    confirm: Option<String>,
    /// Print one JSON object: device, bytes, serial, release, flavour. What is asked goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Writes a release.
pub fn run(args: &UpdateArgs) -> Result<(), Failure> {
    let disk = open(&args.disk)?;
    let image = read(&args.image)?;
    let done = update::update(&disk, &image, args.attempts)?;
    if args.json {
        let (from, to, strands) = (done.from, done.to, done.strands_the_state);
        let attempts = args.attempts;
        let told =
            json!({ "disk": args.disk, "from": from, "to": to, "attempts": attempts, "strands_the_state": strands });
        println!("{told}");
        return Ok(());
    }
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
    let mut disk = open(&args.device)?;
    let agreed = agree(&args.device, &mut disk, &args.image, &image, args.confirm.as_deref())?;
    install::install(&image, &disk, agreed.bytes)?;
    let next = format!("its configuration comes next: cargo xtask image configure --disk {}", args.device.display());
    agreed.tell(&args.device, &next, args.json);
    Ok(())
}

/// Shows the stick, asks, and writes.
pub fn stick(args: &StickArgs) -> Result<(), Failure> {
    let image = read(&args.image)?;
    let seed = args.key.as_deref().map_or(Ok(configuration::DEV_SEED), configuration::read_secret)?;
    let (agreed, file) = if args.device.exists() {
        let mut device = open(&args.device)?;
        (agree(&args.device, &mut device, &args.image, &image, args.confirm.as_deref())?, device)
    } else {
        let about = || Failure::io(format!("making {}", args.device.display()));
        let (release, flavour) = released(&args.image, &image)?;
        let file = File::create_new(&args.device).map_err(about())?;
        let bytes = stick::bytes_for(&image);
        file.set_len(bytes).map_err(about())?;
        (Agreed { bytes, serial: None, release, flavour }, file)
    };
    stick::write(&image, &seed, &file, agreed.bytes)?;
    agreed.tell(&args.device, "plug it into a machine that runs, and look at its console", args.json);
    Ok(())
}

/// Which release an image is, and of which flavour, after it was verified.
fn released(path: &Path, image: &[u8]) -> Result<(u64, String), Failure> {
    let mut entries = verify(image, Wanted::default())
        .map_err(|error| Failure::unfit(format!("{}: {error}", path.display()), error.help()))?;
    let entry = entries.swap_remove(0);
    Ok((entry.release, entry.flavour))
}

/// A device that somebody agrees to lose the contents of, and what it gets.
struct Agreed {
    bytes: u64,
    /// A new file has none.
    serial: Option<String>,
    release: u64,
    flavour: String,
}

impl Agreed {
    fn tell(&self, device: &Path, next: &str, as_json: bool) {
        let Self { bytes, serial, release, flavour } = self;
        if as_json {
            let told =
                json!({ "device": device, "bytes": bytes, "serial": serial, "release": release, "flavour": flavour });
            println!("{told}");
        } else {
            println!("{}: release {release} of {flavour} is written; {next}", device.display());
        }
    }
}

fn agree(
    device: &Path,
    file: &mut File,
    path: &Path,
    image: &[u8],
    confirmed: Option<&str>,
) -> Result<Agreed, Failure> {
    let (release, flavour) = released(path, image)?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(Failure::io("measuring the disk"))?;
    let identity = Identity::of(device)?;
    eprintln!("{}: {} {}, serial {}", device.display(), size(bytes), identity.model, identity.serial);
    eprintln!("  gets release {release} of {flavour}; ALL THAT IS ON IT IS LOST");
    let typed = confirmed.map_or_else(|| ask(&identity.serial), |confirmed| Ok(confirmed.to_owned()))?;
    if typed.trim() != identity.serial {
        return Err(Failure::unfit(
            "that is not the disk's serial number; nothing was written",
            "look at the label again, and at what `lsblk -o NAME,SIZE,MODEL,SERIAL` lists",
        ));
    }
    Ok(Agreed { bytes, serial: Some(identity.serial), release, flavour })
}

fn ask(serial: &str) -> Result<String, Failure> {
    eprint!("Type the serial number ({serial}) to go on: ");
    let mut typed = String::new();
    let done = std::io::stderr().flush().and_then(|()| std::io::stdin().lock().read_line(&mut typed));
    done.map_err(Failure::io("reading the answer"))?;
    Ok(typed)
}

fn open(path: &Path) -> Result<File, Failure> {
    let about = || Failure::io(format!("opening {} (a device that is mounted is refused)", path.display()));
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
    /// Of the device that a name leads to. A file has its name in place of a serial number. A partition is refused: an image
    /// is a whole disk.
    fn of(device: &Path) -> Result<Self, Failure> {
        let device = device.canonicalize().map_err(Failure::io(format!("finding {}", device.display())))?;
        let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = Path::new("/sys/class/block").join(&name);
        if folder.join("partition").exists() {
            let help = "name the disk that it is on";
            return Err(Failure::unfit(format!("{} is a partition", device.display()), help));
        }
        let fact = |paths: &[&str]| {
            let texts = paths.iter().filter_map(|path| std::fs::read_to_string(folder.join(path)).ok());
            texts.map(|text| text.trim().to_owned()).find(|text| !text.is_empty())
        };
        let model = fact(&["device/model"]).unwrap_or_else(|| "(no model)".to_owned());
        Ok(Self { model, serial: fact(&["device/serial", "serial", "device/wwid", "wwid"]).unwrap_or(name) })
    }
}

fn size(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
