//! `stele ceremony rehearse` and `run`: with answers from a file, or from people at a terminal.

use super::terminal::Terminal;
use super::{read, read_script};
use crate::command::this_machine::ThisMachine;
use clap::Args;
use hsm::ceremony::conduct::{self, ConductError, TRANSCRIPT};
use hsm::ceremony::device::{Device, Hsm, Modules, Pins};
use hsm::ceremony::prepare::prepare;
use hsm::ceremony::room::now_ms;
use hsm::ceremony::script::Action;
use hsm::ceremony::unattended::{NoDevice, Unattended, throw_away_token};
use hsm::ceremony::{MachineRefusal, Mode, Refusal, Script, TranscriptError, verify};
use hsm::machines::Mismatch;
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
leave it out and `stop` ends the program; the same command goes on there.

Where the script has [attestation], this machine's TPM quotes its registers over the transcript at each start and at the
close; a machine that the script's policy does not let through is refused before any token is looked at.")]
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
    #[command(flatten)]
    machine: ThisMachine,
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
            let (script, directory, attester) = (&script, &args.out, &args.machine.attester());
            let run = Unattended { script, answers, mode, directory, program: PROGRAM, attester };
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
    let attester = args.machine.attester();
    let prepared = prepare(&args.out, bytes, mode, PROGRAM, now_ms(), &attester)?;
    let mut device: Box<dyn Device> = if uses_token {
        let module = args.module.clone().or_else(|| mode.is_rehearsal().then(softhsm::find_module).flatten());
        let pins: Pins = Box::new(|pin| Secret::ask(pin.title()));
        Box::new(Hsm::load(&modules, &module.unwrap_or_default(), pins)?)
    } else {
        Box::new(NoDevice)
    };
    let mut transcript = prepared.begin()?;
    conduct::conduct(&mut transcript, &mut room, &mut *device, &attester, &args.out)
}

fn explain(error: ConductError) -> miette::Report {
    let help = match &error {
        ConductError::Machine(_) => {
            "switch the TPM 2.0 on in the machine's firmware, and run this as a user who may read and write its device; or \
             take another machine. A script that can do without says `required = false` in [attestation]"
        }
        ConductError::Transcript(TranscriptError::Refused(Refusal::Machine(refusal))) => cure(refusal),
        ConductError::Room(_) => "what was done is in the transcript; the same command goes on",
        ConductError::Device(_) => {
            "what was done is in the transcript; the same command goes on as soon as the token is there. SoftHSM2 may have \
             lost the throw-away token of a rehearsal that was killed: begin it anew with another --out"
        }
        ConductError::Transcript(_) | ConductError::Io { .. } => {
            "nothing was done that is not in the transcript; put right what the message names, and run the same command"
        }
        ConductError::Script(_) => "`stele ceremony new` writes a script that works",
        ConductError::OtherCeremony { .. } | ConductError::Randomness => "`stele ceremony run --help` has examples",
    };
    miette!(help = help, "{error}")
}

/// What to do where a machine is not the right one. Nothing was done on it by then.
fn cure(refusal: &MachineRefusal) -> &'static str {
    match refusal {
        MachineRefusal::Policy(Mismatch::Key { .. }) => {
            "take a machine that the script names; one more is named in `tpm_keys` of [attestation.policy], which makes \
             another script, for all to agree on"
        }
        MachineRefusal::Policy(Mismatch::Register { .. } | Mismatch::NotQuoted(_)) => {
            "registers 0 to 6 are the firmware, its settings and what it started, 7 is Secure Boot, 11 is the image: start \
             what `cargo xtask image verify` has foretold, with the settings of the day on which the policy was written"
        }
        MachineRefusal::Policy(Mismatch::NoEventLog) => {
            "this user has to be able to read the kernel's file of it; --event-log names another one"
        }
        MachineRefusal::Policy(Mismatch::EventLog(_) | Mismatch::DoesNotAddUp { .. }) => {
            "what was measured is not what the firmware lists: start the machine again, from nothing but the ceremony's \
             medium; a script for a machine whose log never adds up leaves `event_log` out"
        }
        MachineRefusal::OtherBoot { .. } | MachineRefusal::OtherMachine { .. } => {
            "run the same command again: this start of the machine is attested then, and stands in the transcript"
        }
        _ => "nothing was written; run the same command again",
    }
}
