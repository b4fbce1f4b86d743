//! `image test`.

use super::build::BuildArgs;
use clap::Args;
use std::path::PathBuf;
use stele_image::failure::Failure;
use stele_image::scenarios::{self, Bench, Outcome, Special};
use stele_image::scratch::Scratch;

/// Try a whole machine under emulation: it boots, and it refuses what it must. Needs qemu-system-x86, ovmf, swtpm, softhsm2,
/// e2fsprogs and chrony; the scenario of a network makes a TAP interface, which takes root and iproute2.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask image test                      all of them, half an hour
  cargo xtask image test --list
  cargo xtask image test boots_to_ready --json")]
pub struct TestArgs {
    /// Only scenarios whose name contains this.
    #[arg(default_value = "")]
    filter: String,
    /// The folder with the built `stele`; `cargo xtask image test` gives it.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,
    /// The static init; `cargo xtask image test` gives it.
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// A folder with the packages of a driver of NVIDIA's cards, as `image build --nvidia` takes it. Scenarios that need one are
    /// skipped without it.
    #[arg(long, value_name = "DIR")]
    nvidia: Option<PathBuf>,
    /// Only list them.
    #[arg(long)]
    list: bool,
    /// Print one JSON object at the end: scenarios[{name, outcome, seconds}], where outcome is ok, failed or skipped. What goes
    /// on is told on standard error.
    #[arg(long)]
    json: bool,
}

/// Builds the releases and runs the scenarios.
pub fn run(args: &TestArgs) -> Result<(), Failure> {
    if args.list {
        scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.0));
        return Ok(());
    }
    let scratch = Scratch::new("stele-image-test")?;
    let policy_key = scratch.path().join("policy.key");
    scenarios::make_policy_key(&policy_key)?;
    // Programs are started from folders of their own.
    let binaries = std::path::absolute(&args.binaries).map_err(Failure::io("finding the programs"))?;
    let built = |release| BuildArgs::for_tests(&binaries, &args.init, release, &policy_key);
    let first = built(1).build()?;
    let bench = Bench {
        image: first.image,
        uki: first.uki,
        next: built(2).build()?.image,
        demanding: built(3).demanding_a_seal().build()?.image,
        make: {
            let (binaries, init, policy_key) = (binaries.clone(), args.init.clone(), policy_key.clone());
            Box::new(move |special| {
                let built = BuildArgs::for_tests(&binaries, &init, 1, &policy_key);
                match special {
                    Special::Ceremony => built.ceremony_for_tests().build(),
                    Special::Linked(link, folder) => {
                        built.ceremony_for_tests().with_bundle(folder).with_link(link).build()
                    }
                    Special::Validator(key) => built.validator_for_tests(key).build(),
                    Special::Metal => built.on_metal().build(),
                    Special::Bundle(folder) => built.with_bundle(folder).build(),
                    Special::Nvidia(folder, key) => built.with_driver(folder, key).build(),
                }
            })
        },
        stele: binaries.join("stele"),
        nvidia: args.nvidia.clone(),
        folder: scratch.path().join("machines"),
    };
    let told = scenarios::run(&bench, &args.filter);
    if args.json {
        println!("{}", serde_json::json!({ "scenarios": told }));
    }
    if told.iter().all(|told| told.outcome != Outcome::Failed) {
        Ok(())
    } else {
        Err(Failure::unfit("not all scenarios held", "their words are above"))
    }
}
