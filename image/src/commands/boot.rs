//! `image boot`.

use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stele_image::boot::{Emulation, Network, Running};
use stele_image::dev_ledger::Keys;
use stele_image::failure::Failure;
use stele_image::scratch::Scratch;
use stele_image::{configuration, dev_ledger, install};

/// Bytes of the disk on which an image is installed for emulation; most of them are never written.
const DISK_BYTES: u64 = 1 << 30;

/// Boot an image in QEMU: with acceleration where it works, else by emulation.
#[derive(Debug, Args)]
#[command(
    after_help = "The image is installed on a new disk, which is removed afterwards. An image of `dev` without a --configuration
gets a ledger of its own, of one validator, made with the `stele` in --binaries."
)]
pub struct BootArgs {
    /// The image.
    #[arg(default_value = "target/image/disk.img")]
    image: PathBuf,
    /// When to end.
    #[arg(long, value_enum, default_value = "ready")]
    until: Until,
    /// A configuration's folder, to be signed with the key of `dev`.
    #[arg(long, value_name = "DIR")]
    configuration: Option<PathBuf>,
    /// The folder with the built `stele`.
    #[arg(long, value_name = "DIR", default_value = "target/debug")]
    binaries: PathBuf,
    /// With a TPM (swtpm).
    #[arg(long)]
    tpm: bool,
    /// A port of this machine that leads to the node's RPC.
    #[arg(long, value_name = "PORT")]
    rpc_port: Option<u16>,
    /// Longest wait, in seconds.
    #[arg(long, value_name = "S", default_value_t = 180)]
    patience: u64,
    /// Keep disk and firmware variables in this folder, which is new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print one JSON object: accel, guest_ready_s, wall_s, node_height, stages_s{init,root,watchdog,configuration,network}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Until {
    /// The node takes part.
    Ready,
    /// The machine ends; its console is shown.
    Off,
}

/// Boots and reports.
pub fn run(args: &BootArgs) -> Result<(), Failure> {
    let Some(kept) = &args.keep else { return boot(args, Scratch::new("stele-image")?.path()) };
    // Some of what is made there finds the rest by its path, from another folder.
    let folder = std::path::absolute(kept).map_err(Failure::io("finding the folder"))?;
    std::fs::create_dir_all(&folder).map_err(Failure::io(format!("making {}", folder.display())))?;
    boot(args, &folder)
}

fn boot(args: &BootArgs, folder: &Path) -> Result<(), Failure> {
    let disk = folder.join("disk.img");
    let image = std::fs::read(&args.image).map_err(Failure::io(format!("reading {}", args.image.display())))?;
    let file = File::create_new(&disk).map_err(Failure::io(format!("making {}", disk.display())))?;
    file.set_len(DISK_BYTES).map_err(Failure::io(format!("making {}", disk.display())))?;
    install::install(&image, &file, DISK_BYTES)?;
    let made = folder.join("configuration");
    let from = match &args.configuration {
        Some(from) => from,
        None => {
            dev_ledger::alone(&args.binaries.join("stele"), &made, "", &[], Keys::Token)?;
            &made
        }
    };
    configuration::write(&disk, &configuration::collect(from, 1)?, &configuration::DEV_SEED)?;
    let mut machine = Emulation::new(&disk, folder);
    machine.tpm = args.tpm;
    machine.network = Network::User(args.rpc_port.map(|port| (port, dev_ledger::RPC_PORT)).into_iter().collect());
    let mut running = machine.boot()?;
    if args.until == Until::Off {
        running.log.iter().for_each(|line| println!("{line}"));
        let deadline = Instant::now() + Duration::from_secs(args.patience);
        loop {
            match running.line(deadline.saturating_duration_since(Instant::now())) {
                Some(line) if line.is_empty() => {}
                Some(line) => println!("{line}"),
                None if Instant::now() < deadline => return Ok(()),
                None => {
                    let help = "give it more with --patience";
                    return Err(Failure::unfit(format!("the machine still runs after {} s", args.patience), help));
                }
            }
        }
    }
    report(&mut running, args)
}

/// The stages of a start, and what the console says when each is over.
const STAGES: [(&str, &str); 5] = [
    ("init", ": release "),
    ("root", ": root on "),
    ("watchdog", ": watchdog armed"),
    ("configuration", ": configuration "),
    ("network", ": eth"),
];

/// When each was over, seconds after the kernel's start: `stele-init[1.51]: root on /dev/vda3`.
fn stages(console: &[String]) -> BTreeMap<&'static str, f64> {
    let time = |text: &str| {
        console.iter().find_map(|line| {
            let (seconds, said) = line.split_once("stele-init[")?.1.split_once(']')?;
            said.starts_with(text).then(|| seconds.parse().ok())?
        })
    };
    STAGES.iter().filter_map(|(stage, text)| Some((*stage, time(text)?))).collect()
}

fn report(running: &mut Running, args: &BootArgs) -> Result<(), Failure> {
    let line = running.wait_any(&["STELE READY", "STELE FAILED"], Duration::from_secs(args.patience))?;
    let wall_s = running.started.elapsed().as_secs_f64();
    let line = line.filter(|line| line.contains("STELE READY"));
    let line =
        line.ok_or_else(|| Failure::content("the machine did not get ready; its last lines", running.tail(40)))?;
    let number = |key: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        word.and_then(|word| word.parse::<f64>().ok())
    };
    let report = json!({
        "accel": running.accel.name(),
        "guest_ready_s": number("guest_s"),
        "wall_s": (wall_s * 100.0).round() / 100.0,
        "node_height": number("height").map(|height| height as u64),
        "stages_s": stages(&running.log),
    });
    if args.json {
        println!("{report}");
    } else {
        println!(
            "ready after {} s of the machine's time, {wall_s:.1} s here ({})",
            report["guest_ready_s"],
            running.accel.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_the_time_of_its_first_line() {
        let console =
            ["BdsDxe: starting", "[0mstele-init[1.30]: release 1 of dev; seal", "stele-init[1.5]: root on /dev/vda3"];
        let again = ["stele-init[x]: watchdog armed, 30 s", "stele-init[9.1]: root on /dev/vda3", "eth0: 10.0.2.15"];
        let console: Vec<String> = console.into_iter().chain(again).map(str::to_owned).collect();
        assert_eq!(stages(&console), BTreeMap::from([("init", 1.3), ("root", 1.5)]));
    }
}
