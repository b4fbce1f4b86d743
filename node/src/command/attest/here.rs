//! `stele attest here`: what the TPM of the machine says that one stands before, without a validator and a network.

use crate::attestation::Policy;
use crate::command::this_machine::ThisMachine;
use clap::Args;
use client::rpc::{EVENT_LOG_BYTES_MAX, HexBytes};
use hsm::machines::adds_up;
use miette::{IntoDiagnostic, WrapErr, miette};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tpm::event_log::{self, EventLog};
use tpm::pcr::PCR_MAX;
use tpm::{Tpm, quote};

/// Which machine, and what is looked at.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele attest here > machines.toml                  a policy that this machine fulfils as it was started
  stele attest here --registers 7,11 --out machine.toml
  stele attest here --json

The name in `tpm_keys` is that of a key that the TPM makes from its endorsement seed: the same after each start, whatever
runs, also after a clear. The machine has to be in your hands, started from something that you trust. In the image of the
flavour `ceremony` it is the word `machine` at the console.")]
pub struct HereArgs {
    #[command(flatten)]
    machine: ThisMachine,
    /// Registers, by their numbers.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0,1,2,3,4,5,6,7,11",
        value_parser = clap::value_parser!(u8).range(0..=i64::from(PCR_MAX)))]
    registers: Vec<u8>,
    /// Write the policy to this new file as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON instead.
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Here {
    tpm_key_name: HexBytes,
    resets: u32,
    registers: BTreeMap<u8, HexBytes>,
    /// Whether the event log adds up to the registers; `null` where it cannot be read.
    event_log: Option<bool>,
}

/// Runs it.
pub fn run(args: &HereArgs) -> miette::Result<()> {
    let device = &args.machine.tpm;
    let nonce: [u8; 32] = super::drawn()?;
    let quoted = Tpm::open(device).and_then(|mut tpm| quote::quote(&mut tpm, &args.registers, &nonce));
    let quoted = quoted.map_err(|error| {
        miette!(
            help = "the machine has to have a TPM 2.0 that is switched on in its firmware, and this user has to be able to \
                    read and write the device; --tpm names another one",
            "{}: {error}",
            device.display()
        )
    })?;
    let statement = quoted.verify().into_diagnostic().wrap_err("the TPM's quote")?;
    let log = event_log::read(&args.machine.event_log, EVENT_LOG_BYTES_MAX);
    let log = log.map(|log| EventLog::parse(&log).map(|log| log.replay()));
    let explained = log.map(|replay| adds_up(&replay, &quoted.registers).is_ok());
    let policy = Policy::of(&quoted).with_log(explained == Some(true));
    let text = toml::to_string(&policy).into_diagnostic()?;
    if let Some(path) = &args.out {
        super::super::ceremony::create(path, text.as_bytes())?;
    }
    if args.json {
        let registers = quoted.registers.iter().map(|(at, value)| (*at, HexBytes(value.to_vec())));
        let (tpm_key_name, resets) = (HexBytes(statement.key_name), statement.resets);
        print!(
            "{}",
            super::json_of(&Here { tpm_key_name, resets, registers: registers.collect(), event_log: explained })?
        );
    } else {
        print!("{text}");
        match explained {
            Some(true) => eprintln!("The event log adds up to these registers."),
            Some(false) => eprintln!("The event log does NOT add up to these registers."),
            None => eprintln!("The event log cannot be read: {}", args.machine.event_log.display()),
        }
    }
    Ok(())
}
