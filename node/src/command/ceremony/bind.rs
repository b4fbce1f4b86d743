//! `stele ceremony genesis`: the ceremonies of all validators become part of the ledger's identity.
//!
//! Every transcript is verified, none may be a rehearsal, and each validator's keys and addresses must be those that
//! exactly one transcript registered. Their roots go into the genesis, in the order of its validators.

use super::Wanted;
use crate::command::genesis::read as read_genesis;
use clap::Args;
use hsm::ceremony::Ceremony;
use hsm::ceremony::verify::root_digest;
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use std::path::{Path, PathBuf};
use types::{Authority, Digest, Genesis};

/// Which genesis, and where the transcripts are.
#[derive(Clone, Debug, Args)]
#[command(after_help = "The directory has a file for each validator, transcripts alone, by any name.

Examples:
  stele ceremony genesis --genesis draft.toml --transcripts transcripts/ --script script.toml --out genesis.toml
  stele ceremony genesis --genesis genesis.toml --transcripts transcripts/ --machines machines.toml --check")]
pub struct GenesisArgs {
    /// A genesis, as `stele genesis` makes it.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Directory with all transcripts.
    #[arg(long, value_name = "DIR")]
    transcripts: PathBuf,
    /// The script that all of them have to be of.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A policy that names the machines on which all of them have to be held (as of `stele attest verify --policy`).
    #[arg(long, value_name = "FILE")]
    machines: Option<PathBuf>,
    /// Accept transcripts in which steps were left out.
    #[arg(long)]
    allow_exceptions: bool,
    /// The new genesis.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Instead check that the genesis has the roots of these ceremonies.
    #[arg(long, conflicts_with = "out")]
    check: bool,
}

/// Runs it.
pub fn run(args: &GenesisArgs) -> miette::Result<()> {
    let genesis = read_genesis(&args.genesis)?;
    let ceremonies = read_all(args, &Wanted::read(args.script.as_deref(), args.machines.as_deref())?)?;
    let roots = roots(&genesis, &ceremonies)?;
    if args.check {
        if genesis.ceremonies != roots {
            bail!("{} does not have the roots of these ceremonies", args.genesis.display());
        }
    } else if let Some(out) = &args.out {
        let bound = Genesis { ceremonies: roots, ..genesis.clone() };
        bound.check().into_diagnostic().wrap_err("with these ceremonies it is no usable genesis")?;
        super::create(out, bound.to_toml().as_bytes())?;
        println!("{}", bound.chain_id());
        return Ok(());
    }
    println!("{}", genesis.chain_id());
    Ok(())
}

fn read_all(args: &GenesisArgs, wanted: &Wanted) -> miette::Result<Vec<(PathBuf, Ceremony)>> {
    let about = || format!("cannot read {}", args.transcripts.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&args.transcripts).into_diagnostic().wrap_err_with(about)? {
        paths.push(entry.into_diagnostic().wrap_err_with(about)?.path());
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let ceremony = wanted.check(&super::read(&path)?).into_diagnostic();
        let ceremony = ceremony.wrap_err_with(|| format!("{} is not what is wanted", path.display()))?;
        acceptable(&path, &ceremony, args.allow_exceptions)?;
        all.push((path, ceremony));
    }
    Ok(all)
}

fn acceptable(path: &Path, ceremony: &Ceremony, allow_exceptions: bool) -> miette::Result<()> {
    if ceremony.mode().is_rehearsal() {
        bail!("{} is of a rehearsal, which proves nothing about any key", path.display());
    }
    let left_out = ceremony.finished().iter().find(|step| step.excepted.is_some());
    if let (Some(step), false) = (left_out, allow_exceptions) {
        bail!(
            help = "read the reason with `stele ceremony verify`, and give --allow-exceptions if all accept it",
            "{}: the step {:?} was left out",
            path.display(),
            step.step
        );
    }
    if let (Some((name, _)), false) = (ceremony.keys().find(|(_, key)| !key.probed), allow_exceptions) {
        bail!("{}: nobody tried to get the key {name:?} out of the token", path.display());
    }
    Ok(())
}

/// The root of the one ceremony of each validator.
fn roots(genesis: &Genesis, ceremonies: &[(PathBuf, Ceremony)]) -> miette::Result<Vec<Digest>> {
    let mut used = vec![false; ceremonies.len()];
    let mut roots = Vec::new();
    for validator in &genesis.validators {
        let mut of = (0..).zip(ceremonies).filter(|(_, (_, ceremony))| registers(ceremony, validator));
        let (Some((place, (_, ceremony))), None) = (of.next(), of.next()) else {
            bail!(
                help = "keys, stake and addresses must be those of the file that the ceremony wrote",
                "there is not exactly one ceremony for validator {:?}",
                validator.name
            );
        };
        let place: usize = place;
        used[place] = true;
        roots.push(ceremony.root().map(root_digest).ok_or_else(|| miette!("a verified ceremony has a root"))?);
    }
    match used.iter().position(|used| !used) {
        Some(place) => bail!("{} is of no validator of this genesis", ceremonies[place].0.display()),
        None => Ok(roots),
    }
}

/// Whether a document of the ceremony is this validator's file.
fn registers(ceremony: &Ceremony, validator: &Authority) -> bool {
    let registered = ceremony.documents().iter().filter_map(|document| {
        let file: serde_json::Value = serde_json::from_str(&document.text).ok()?;
        serde_json::to_value(validator).ok().map(|wanted| file == wanted)
    });
    registered.into_iter().any(|same| same)
}
