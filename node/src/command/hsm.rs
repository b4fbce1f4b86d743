//! `stele hsm`: whether a token can hold a validator's keys.

use ::hsm::pkcs11::conformance::{self, Options, Report, Standing};
use clap::{Args, Subcommand};
use miette::IntoDiagnostic;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Examine a token behind a PKCS#11 module.
#[derive(Clone, Debug, Args)]
pub struct HsmArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Print what a module does where modules differ, and whether Stele can use it; status 1 where it cannot.
    #[command(after_help = "Examples:
  stele hsm conformance --module /usr/lib/softhsm/libsofthsm2.so                       in a free slot
  stele hsm conformance --module /usr/lib/vendor.so --slot 3 --pin-file pin            in a token that exists
  stele hsm conformance --module /usr/lib/vendor.so --so-pin-file so-pin --json

In a free slot it initialises a token \"stele-conformance\", which stays, without keys. In a slot that is named it makes keys
\"stele-conformance-…\" and deletes them, and tries no wrong PIN. Do not name the slot of a validator that runs: the module
is finalised and initialised, which some devices take for all programs together.

SoftHSM2 finds its tokens through the environment variable SOFTHSM2_CONF.")]
    Conformance {
        /// The module, a shared library.
        #[arg(long, value_name = "FILE")]
        module: PathBuf,
        /// Number of the slot (CK_SLOT_ID) of a token that exists.
        #[arg(long, value_name = "NUMBER", requires = "pin_file")]
        slot: Option<u64>,
        /// File with the user PIN of the token, or the one for a new token; a random one without.
        #[arg(long, value_name = "FILE")]
        pin_file: Option<PathBuf>,
        /// File with the SO PIN for a new token; a random one without.
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `stele hsm`.
///
/// # Errors
/// In words for the terminal.
pub fn run(args: &HsmArgs) -> miette::Result<ExitCode> {
    let Action::Conformance { module, slot, pin_file, so_pin_file, json } = args.action.clone();
    let options = Options { module, slot, pin_file, so_pin_file };
    let report = conformance::run(&options, &mut |what| eprintln!("{what}")).into_diagnostic()?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&report).into_diagnostic()?).into_diagnostic()?;
    } else {
        write!(out, "{}", text(&report)).into_diagnostic()?;
    }
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) -> String {
    let mut lines = vec![report.token.clone(), String::new()];
    let width = report.rows.iter().map(|row| row.case.len()).max().unwrap_or(0);
    for row in &report.rows {
        let mark = match row.standing {
            Standing::Fine => "  ",
            Standing::Note => "! ",
            Standing::Fails => "X ",
        };
        lines.push(format!("{mark}{:width$}  {}", row.case, row.found));
    }
    lines.push(String::new());
    lines.extend(report.left.iter().map(|left| format!("stays: {left}")));
    let names: Vec<_> = report.algorithms.iter().map(|alg| alg.name()).collect();
    lines.push(if report.usable {
        format!("usable: keys in {}; profile = {:?}", names.join(" or "), report.profile)
    } else {
        "not usable: see the lines marked X".to_owned()
    });
    lines.push(String::new());
    lines.join("\n")
}
