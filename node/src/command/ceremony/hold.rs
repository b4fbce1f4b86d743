//! `stele ceremony rehearse` and `run`: with answers from a file, or from people at a terminal.

use super::terminal::Terminal;
use super::{read, read_script};
use clap::Args;
use hsm::ceremony::conduct::{self, ConductError, TRANSCRIPT};
use hsm::ceremony::device::{Device, Hsm, Modules, Pins};
use hsm::ceremony::room::now_ms;
use hsm::ceremony::script::Action;
use hsm::ceremony::unattended::{NoDevice, Unattended, throw_away_token};
use hsm::ceremony::{Mode, Script, verify};
use hsm::secret::Secret;
use hsm::softhsm::{self, CONF_VARIABLE};
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Name and version, as a transcript has them.
const PROGRAM: &str = concat!("stele ", env!("CARGO_PKG_VERSION"));

/// What is held, and where.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele ceremony rehearse --script script.toml --answers answers.toml --out rehearsal --json
  stele ceremony run --script script.toml --module /usr/lib/vendor.so --out ceremony
  stele ceremony run --script script.toml --answers answers.toml --out ceremony

Without --answers it asks at the terminal; PINs and passphrases are not shown. At each step, `except REASON` asks to
leave it out and `stop` ends the program; the same command goes on there.")]
pub struct HoldArgs {
    /// The script.
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
    /// Answers to every prompt, so that nobody has to be there.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Directory for transcript and documents; made where it is not there. With a transcript in it, goes on with that.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// PKCS#11 module of the token, where the answers do not name one.
    #[arg(long, value_name = "PATH", conflicts_with = "answers")]
    module: Option<PathBuf>,
    /// Print the verdict on the transcript as JSON at the end.
    #[arg(long)]
    json: bool,
}

/// Practice, in a process that knows only the throw-away token.
pub fn rehearse(args: &HoldArgs) -> miette::Result<()> {
    make_directory(args)?;
    let conf =
        throw_away_token(&args.out).into_diagnostic().wrap_err("cannot make the throw-away token's directory")?;
    if std::env::var_os(CONF_VARIABLE).is_none_or(|set| set != conf) {
        // SoftHSM2 reads where its tokens are from its environment, which only a new program can be given.
        let program = std::env::current_exe().into_diagnostic()?;
        let error = Command::new(program).args(std::env::args_os().skip(1)).env(CONF_VARIABLE, conf).exec();
        bail!("cannot start this program again for the rehearsal: {error}");
    }
    hold(args, Mode::Rehearsal)
}

/// The real thing.
pub fn run(args: &HoldArgs) -> miette::Result<()> {
    make_directory(args)?;
    hold(args, Mode::Real)
}

fn make_directory(args: &HoldArgs) -> miette::Result<()> {
    std::fs::create_dir_all(&args.out).into_diagnostic().wrap_err_with(|| format!("cannot make {}", args.out.display()))
}

fn hold(args: &HoldArgs, mode: Mode) -> miette::Result<()> {
    let script = read_script(&args.script)?;
    let held = match &args.answers {
        Some(answers) => {
            let run = Unattended { script: &script, answers, mode, directory: &args.out, program: PROGRAM };
            run.run(Box::new(std::io::stderr()))
        }
        None => attended(args, &script, mode),
    };
    held.map_err(explain)?;
    let transcript = args.out.join(TRANSCRIPT);
    // By its file, as everybody else will.
    let verdict = verify(&read(&transcript)?, Some(Script::digest(&script)));
    super::tell(&verdict, args.json)?;
    if let Err(invalid) = verdict {
        bail!("{}: {invalid}", transcript.display());
    }
    Ok(())
}

fn attended(args: &HoldArgs, bytes: &[u8], mode: Mode) -> Result<types::Digest, ConductError> {
    let script = Script::parse(bytes)?;
    let modules = Modules::default();
    let uses_token = script
        .steps
        .iter()
        .any(|step| matches!(step.action, Action::OpenToken { .. } | Action::InitialiseToken { .. }));
    let mut room = Terminal::new(modules.clone())?;
    let mut device: Box<dyn Device> = if uses_token {
        let module = args.module.clone().or_else(|| mode.is_rehearsal().then(softhsm::find_module).flatten());
        let pins: Pins = Box::new(|pin| Secret::ask(pin.title()));
        Box::new(Hsm::load(&modules, &module.unwrap_or_default(), pins)?)
    } else {
        Box::new(NoDevice)
    };
    let mut transcript = conduct::open(&args.out, bytes, mode, PROGRAM, now_ms())?;
    conduct::conduct(&mut transcript, &mut room, &mut *device, &args.out)
}

fn explain(error: ConductError) -> miette::Report {
    let help = match &error {
        ConductError::Room(_) | ConductError::Device(_) => {
            "what was done is in the transcript; the same command goes on"
        }
        ConductError::Transcript(_) | ConductError::Io { .. } => {
            "nothing was done that is not in the transcript; put right what the message names, and run the same command"
        }
        ConductError::Script(_) => "`stele ceremony new` writes a script that works",
        ConductError::OtherCeremony { .. } | ConductError::Randomness => "`stele ceremony run --help` has examples",
    };
    miette!(help = help, "{error}")
}
