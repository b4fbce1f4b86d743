//! `stele ceremony`: key ceremonies. A script is rehearsed on a throw-away token, then run on the real one; what is left
//! is a transcript that anybody can check without an HSM. What a ceremony is, `hsm::ceremony` knows; here are the
//! command line, the terminal and the files.

mod bind;
mod hold;
mod terminal;

use crate::attestation::Policy;
use clap::{Args, Subcommand};
use hsm::ceremony::script::SCRIPT_BYTES_MAX;
use hsm::ceremony::state::Moment;
use hsm::ceremony::templates::{TEMPLATES, Template};
use hsm::ceremony::verify::MachineReport;
use hsm::ceremony::{Ceremony, Invalid, Report, Script, entry, paper, verify, words};
use hsm::machines::Machines;
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use types::Digest;

/// Hold, rehearse and check key ceremonies.
#[derive(Clone, Debug, Args)]
#[command(after_help = "In order:
  stele ceremony new validator-genesis --out script.toml --answers answers.toml
  stele ceremony print script.toml --out script.html                    paper, with boxes for initials
  stele ceremony rehearse --script script.toml --answers answers.toml --out rehearsal
  stele ceremony run --script script.toml --module /usr/lib/vendor.so --out ceremony
  stele ceremony verify ceremony/transcript --script script.toml        anywhere, without an HSM
  stele ceremony genesis --genesis draft.toml --transcripts transcripts/ --out genesis.toml

hsm/ceremonies/README.md has the format of a transcript, an independent verifier in Python, and what a ceremony proves
and what not.")]
pub struct CeremonyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Write a script that ships, to be made one's own.
    #[command(after_help = "Examples:
  stele ceremony new validator-genesis --out script.toml
  stele ceremony new custody-drill --out drill.toml --answers drill.answers.toml")]
    New {
        /// Which.
        #[arg(value_parser = TEMPLATES.map(|template| template.name))]
        template: String,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Another new file, with answers for a rehearsal.
        #[arg(long, value_name = "FILE")]
        answers: Option<PathBuf>,
    },
    /// Practise a ceremony on a throw-away SoftHSM2 token. Nothing of it can pass for the real one.
    Rehearse(hold::HoldArgs),
    /// Hold a ceremony. Interrupted at any moment, the same command goes on in the step it was in.
    Run(hold::HoldArgs),
    /// Check a transcript, without an HSM and without a network. Exits with 1 where anything is off.
    #[command(after_help = "Examples:
  stele ceremony verify ceremony/transcript
  stele ceremony verify ceremony/transcript --script script.toml --json
  stele ceremony verify ceremony/transcript --script script.toml --machines machines.toml

Quotes of the machines' TPMs are verified wherever there are some: that they are genuine, over this transcript, and of one
start from each beginning to the close. Which machines they are is held against the script's own policy, and with
--machines against yours (as of `stele attest verify --policy`), whatever the script wants.")]
    Verify {
        /// The transcript.
        transcript: PathBuf,
        /// The script that it has to be of.
        #[arg(long, value_name = "FILE")]
        script: Option<PathBuf>,
        /// A policy that names the machines on which it may have been held.
        #[arg(long, value_name = "FILE")]
        machines: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the script as a page to print, with boxes for initials and times.
    #[command(after_help = "Example:\n  stele ceremony print script.toml --out script.html")]
    Print {
        /// The script.
        script: PathBuf,
        /// The new file; standard output without it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Bind the ceremonies of all validators into a genesis, or check that they are.
    Genesis(bind::GenesisArgs),
    /// A root as words, or words as a root.
    #[command(after_help = "Examples:
  stele ceremony words sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
  stele ceremony words \"lamp outcome …\"       32 words; their first four letters are enough")]
    Words {
        /// The root, or its words.
        root: String,
    },
}

/// What a transcript has to be of.
struct Wanted {
    script: Option<Digest>,
    machines: Option<Machines>,
}

impl Wanted {
    fn read(script: Option<&Path>, machines: Option<&Path>) -> miette::Result<Self> {
        let script = script.map(read_script).transpose()?.as_deref().map(Script::digest);
        let machines = machines.map(|path| Policy::read(path)?.machines()).transpose().into_diagnostic()?;
        Ok(Self { script, machines })
    }

    fn check(&self, transcript: &[u8]) -> Result<Ceremony, Invalid> {
        let ceremony = verify(transcript, self.script)?;
        match &self.machines {
            Some(policy) => verify::on_machines(ceremony, policy),
            None => Ok(ceremony),
        }
    }
}

/// Runs `stele ceremony`; the status to leave with.
///
/// # Errors
/// In words for the terminal.
pub fn run(args: CeremonyArgs) -> miette::Result<ExitCode> {
    match args.action {
        Action::New { template, out, answers } => {
            let template = TEMPLATES.iter().find(|known| known.name == template);
            let Template { script, answers: text, .. } = template.ok_or_else(|| miette!("no such script ships"))?;
            create(&out, script.as_bytes())?;
            if let Some(path) = answers {
                create(&path, text.as_bytes())?;
            }
        }
        Action::Rehearse(args) => hold::rehearse(&args)?,
        Action::Run(args) => hold::run(&args)?,
        Action::Verify { transcript, script, machines, json } => {
            return tell(&Wanted::read(script.as_deref(), machines.as_deref())?.check(&read(&transcript)?), json);
        }
        Action::Print { script, out } => {
            let text = read_script(&script)?;
            let about = || format!("{} is no script", script.display());
            let parsed = Script::parse(&text).into_diagnostic().wrap_err_with(about)?;
            let text = String::from_utf8(text).into_diagnostic().wrap_err_with(about)?;
            let page = paper::html(&parsed, &text);
            match out {
                Some(path) => create(&path, page.as_bytes())?,
                None => print!("{page}"),
            }
        }
        Action::Genesis(args) => bind::run(&args)?,
        Action::Words { root } => print_words(&root)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what a transcript's verdict is.
fn tell(verdict: &Result<Ceremony, Invalid>, json: bool) -> miette::Result<ExitCode> {
    let report = Report::of(verdict);
    if json {
        println!("{}", serde_json::to_string_pretty(&report).into_diagnostic()?);
    } else if let (Some(root), Some(root_words)) = (report.root, &report.root_words) {
        let kind = if report.rehearsal == Some(true) { "REHEARSAL, not a ceremony" } else { "ceremony" };
        println!("valid: {kind} by the script {}", report.script.as_deref().unwrap_or_default());
        println!("steps done: {}, left out: {}", report.steps, report.exceptions.len());
        for exception in &report.exceptions {
            println!("  left out: {}: {}", exception.step, exception.reason);
        }
        for signer in &report.signers {
            println!("signed by {} ({}, {}), {}", signer.name, signer.role, signer.seat, signer.key);
        }
        for key in &report.keys {
            let probed = if key.probed { "probed" } else { "NOT probed" };
            println!("key {}: {}, {probed}", key.name, key.public);
        }
        print!("{}", machines_of(&report.machines));
        println!("root {root}\n{root_words}");
    } else {
        println!("NOT valid: {}", report.reason.as_deref().unwrap_or_default());
    }
    Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the TPMs said, in words; registers where they are others than before.
fn machines_of(machines: &[MachineReport]) -> String {
    let mut text = String::new();
    if machines.is_empty() {
        text.push_str("machine: NOT attested, the script does not ask for it\n");
    }
    let mut before = None;
    for machine in machines {
        let when = machine.moment.describe();
        let (Some(name), Some(resets)) = (&machine.tpm_key_name, machine.resets) else {
            let _ = writeln!(text, "machine {when}: NOT attested, {}", machine.none.as_deref().unwrap_or_default());
            continue;
        };
        let log = match (machine.moment, machine.event_log) {
            (Moment::Close, _) => "",
            (_, None) => ", no event log",
            (_, Some(true)) => ", the event log adds up",
            (_, Some(false)) => ", the event log does NOT add up",
        };
        let policy = match machine.policy {
            None => "",
            Some(true) => ", as the script's policy wants",
            Some(false) => ", NOT as the script's policy wants",
        };
        let _ = writeln!(text, "machine {when}: TPM {name}, start {resets}{log}{policy}");
        if before != Some(&machine.registers) {
            for (at, value) in &machine.registers {
                let _ = writeln!(text, "  register {at:<2} {value}");
            }
        }
        before = Some(&machine.registers);
    }
    text
}

fn print_words(root: &str) -> miette::Result<()> {
    if let Ok(digest) = root.parse::<Digest>() {
        println!("{}", words::of(digest.as_bytes()));
        return Ok(());
    }
    let help = "give a root as `sha256:…`, or its 32 words in quotes";
    let digest = words::digest(root).map_err(|error| miette!(help = help, "{error}"))?;
    println!("{}", verify::root_digest(&digest));
    Ok(())
}

/// At most as many bytes as a transcript may have, and one more, so that the verifier can tell.
fn read(path: &Path) -> miette::Result<Vec<u8>> {
    read_at_most(path, entry::TRANSCRIPT_BYTES_MAX)
}

fn read_script(path: &Path) -> miette::Result<Vec<u8>> {
    read_at_most(path, SCRIPT_BYTES_MAX)
}

fn read_at_most(path: &Path, most: usize) -> miette::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// Writes a new file; one that is there is left alone.
pub(super) fn create(path: &Path, content: &[u8]) -> miette::Result<()> {
    if path.exists() {
        bail!("{} exists already and is never overwritten", path.display());
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(content))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {}", path.display()))
}
