//! `cargo xtask`: the one command of a newcomer. Owns the list of commands and their help; each command is a file of its own.
//! Deliberately absent: anything that an installed `stele` must do by itself, and heavy dependencies, since this binary is
//! compiled before anything else on a bare clone.

mod arguments;
mod bench;
mod cache;
mod console;
mod devnet;
mod failure;
mod image;
mod machine;
mod mutants;
mod os_release;
mod packages;
mod power_loss;
mod rocksdb_archive;
mod setup;
mod spdx;
mod supply_chain;
mod test_binaries;
mod test_output;
mod test_stages;
mod torture;
mod workspace;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use arguments::Arguments;
use failure::Failure;
use workspace::Workspace;

const HELP: &str = "\
Stele's tasks. From a bare clone, each command sets up what it needs first.

Usage: cargo xtask <command> [flags]

Commands:
  devnet [flags]   build `stele` and run four validators under load; flags go to `stele devnet` untouched
  test             format, lint, test everything, stage by stage with its seconds
  torture          real processes under random faults, simulations over fresh seeds, every test with many more cases
  mutants          break the consensus rules one at a time and expect the tests to fail (an hour)
  bench devnet     sweep the offered rate and write a table under benches/results/
  bench crates     run the criterion benches of every crate
  cargo <args>     plain cargo with the settings that all of these share, such as `cargo xtask cargo test -p stele-storage`
  image <command>  build, verify, boot and install the bare-metal image; `cargo xtask image --help` lists its commands
  setup            install what the distribution lacks and compile RocksDB once for this user
  licences         check licences, sources, bans and duplicates against deny.toml
  clean-cache      delete this user's shared build directory

`cargo xtask <command> --help` shows the flags of a command.

Environment:
  CARGO_TARGET_DIR   where builds go; unset: intermediate files are shared by all clones of this user under
                     $XDG_CACHE_HOME/stele (~/.cache/stele), finished binaries lie in the clone's target/
  ROCKSDB_LIB_DIR    a folder with your own librocksdb.a; unset: compiled once and kept in the cache
";

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut words: Vec<OsString>) -> Result<ExitCode, Failure> {
    if words.is_empty() {
        print!("{HELP}");
        return Ok(ExitCode::from(2));
    }
    let command = words.remove(0);
    // `devnet` belongs to `stele`: even `--help` passes through; so it does to cargo.
    if command == "devnet" {
        return devnet::run(&Workspace::locate()?, &words).map(|()| ExitCode::SUCCESS);
    }
    if command == "cargo" {
        let workspace = Workspace::locate()?;
        setup::run(&workspace)?;
        let error = workspace.cargo().args(words).exec();
        return Err(Failure::io("starting cargo", &error));
    }
    if command == "image" {
        return image::run(&Workspace::locate()?, &words).map(|()| ExitCode::SUCCESS);
    }
    let mut arguments = Arguments::parse(words)?;
    let command = command.to_string_lossy().into_owned();
    let help = arguments.flag("help") || arguments.short_help();
    let text = match command.as_str() {
        "help" | "--help" | "-h" => HELP,
        "setup" => setup::HELP,
        "test" => test_stages::TEST_HELP,
        "torture" => torture::HELP,
        "mutants" => mutants::HELP,
        "bench" => bench::HELP,
        "licences" => supply_chain::HELP,
        "clean-cache" => cache::HELP,
        other => {
            return Err(Failure::new(
                format!("`{other}` is not a command of xtask"),
                "`cargo xtask --help` lists the commands",
            ));
        }
    };
    if help || text == HELP {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::locate()?;
    match command.as_str() {
        "setup" => {
            let check = arguments.flag("check");
            arguments.finish()?;
            if check {
                return Ok(if setup::list(&workspace) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            setup::run(&workspace)?;
        }
        "test" => return test_stages::test(&workspace, arguments),
        "torture" => return torture::run(&workspace, arguments),
        "mutants" => return mutants::run(&workspace, arguments),
        "bench" => bench::run(&workspace, arguments)?,
        "licences" => {
            arguments.finish()?;
            supply_chain::check(&workspace)?;
        }
        _ => cache::clean(&workspace, arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
