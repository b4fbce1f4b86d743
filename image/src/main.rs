//! The command line of the image. Owns flags, help and what is printed; each command's work is in the library.

mod commands;

use clap::{Parser, Subcommand};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// Build, verify, boot and install the bare-metal image.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask image",
    after_help = "Examples:
  cargo xtask image build --flavour dev --out /tmp/image
  cargo xtask image verify /tmp/image/disk.img
  cargo xtask image key --out configuration.key
  cargo xtask image build --flavour validator --configuration-key configuration.key.pub --out /tmp/image
  cargo xtask image build --flavour dev --kernel metal --gpu nvidia --nvidia driver/ --sign db.key --certificate db.pem
  openssl ecparam -name prime256v1 -genkey -noout -out policy.key
  cargo xtask image build --flavour dev --policy-key policy.key --seal required --out /tmp/image
  cargo xtask image stick --device /dev/sdX --image /tmp/image/disk.img --key configuration.key
  cargo xtask image configure --disk /tmp/image/disk.img --from machine/ --serial 1 --key configuration.key"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<commands::build::BuildArgs>),
    Verify(commands::verify::VerifyArgs),
    Boot(commands::boot::BootArgs),
    Update(commands::update::UpdateArgs),
    Flash(commands::update::FlashArgs),
    Stick(commands::update::StickArgs),
    Test(commands::test::TestArgs),
    Lock(commands::lock::LockArgs),
    Key(commands::configure::KeyArgs),
    Configure(commands::configure::ConfigureArgs),
}

/// Status of a program that SIGPIPE ends, as a shell sees it.
const CLOSED_PIPE: u8 = 128 + 13;

/// `image verify … | head` closes our output early. That is no fault to report: end as other programs do, who die of SIGPIPE.
/// What is in the works, a machine or a folder of scratch, is given up on the way, as after any failure.
fn end_quietly_when_nobody_reads(work: impl FnOnce() -> ExitCode) -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(tells_of_a_closed_pipe) {
            report(panic);
        }
    }));
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        if panic.downcast_ref::<String>().is_some_and(|message| tells_of_a_closed_pipe(message)) {
            return ExitCode::from(CLOSED_PIPE);
        }
        std::panic::resume_unwind(panic)
    })
}

/// Whether these are the words with which `println!` panics when nobody reads.
fn tells_of_a_closed_pipe(message: &str) -> bool {
    message.starts_with("failed printing to std") && message.contains("Broken pipe")
}

fn main() -> ExitCode {
    end_quietly_when_nobody_reads(work)
}

fn work() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Build(args) => commands::build::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Boot(args) => commands::boot::run(&args),
        Command::Update(args) => commands::update::run(&args),
        Command::Flash(args) => commands::update::flash(&args),
        Command::Stick(args) => commands::update::stick(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Lock(args) => commands::lock::run(&args),
        Command::Key(args) => commands::configure::make_key(&args),
        Command::Configure(args) => commands::configure::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}
