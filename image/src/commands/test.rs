//! `image test`.

use super::build::BuildArgs;
use clap::Args;
use std::path::PathBuf;
use stele_image::failure::Failure;
use stele_image::scenarios::{self, Bench};

/// Try a whole machine under emulation: it boots, and it refuses what it must. Needs qemu-system-x86, ovmf and swtpm.
#[derive(Debug, Args)]
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
    /// Only list them.
    #[arg(long)]
    list: bool,
}

/// Builds two releases and runs the scenarios.
pub fn run(args: &TestArgs) -> Result<(), Failure> {
    if args.list {
        scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.0));
        return Ok(());
    }
    let built = |release| BuildArgs::for_tests(&args.binaries, &args.init, release).build();
    let folder = std::env::temp_dir().join(format!("stele-image-test-{}", std::process::id()));
    let bench = Bench {
        image: built(1)?.image,
        next: built(2)?.image,
        stele: args.binaries.join("stele"),
        folder: folder.clone(),
    };
    let held = scenarios::run(&bench, &args.filter);
    let _ = std::fs::remove_dir_all(&folder);
    if held { Ok(()) } else { Err(Failure::unfit("not all scenarios held", "their words are above")) }
}
