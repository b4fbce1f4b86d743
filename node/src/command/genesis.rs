//! `stele genesis`: makes the file that all validators of a ledger must have in common, or checks one.
//!
//! Each validator's operator hands in one JSON file with public keys (as `stele signer provision` prints them) and
//! addresses. Nothing here is secret. Deliberately absent: making keys, and starting anything.

use crate::algorithm;
use clap::Args;
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use types::{Address, AlgId, Allocation, Authority, ChainId, Genesis, Governance, Parameters, PublicKey, Stake};

/// Make or check a genesis.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A validator's file holds, for example:
  {
    \"name\": \"north\",
    \"consensus_key\": \"ed25519:…\",
    \"transport_key\": \"ed25519:…\",
    \"stake\": 1,
    \"peer_address\": \"192.0.2.1:7000\",
    \"client_address\": \"192.0.2.1:7001\",
    \"rpc_address\": \"192.0.2.1:7002\"
  }
The keys are what `stele signer --config signer.toml provision` prints. Without a name, the file's own is taken; without
a stake, 1. The order of validators is that of the files' names.

Examples:
  stele genesis --name registry --validators validators/ --account stele1…=1000000
  stele genesis --name registry --validators validators/ --accounts accounts.txt --out genesis.toml
  stele genesis --name registry --validators validators/ --governor stele1… --governor stele1… --governor stele1…
  stele genesis --name registry --validators validators/ --algorithm sm2-sm3 --algorithm ed25519
  stele genesis --check genesis.toml")]
pub struct GenesisArgs {
    /// Check this file instead of making one, and print its chain id.
    #[arg(long, value_name = "FILE", exclusive = true)]
    check: Option<PathBuf>,
    /// Name of the ledger, for people; part of its chain id.
    #[arg(long, required_unless_present = "check")]
    name: Option<String>,
    /// Directory with a JSON file for each validator.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    validators: Option<PathBuf>,
    /// An account that exists from the start; may be given many times.
    #[arg(long = "account", value_name = "ADDRESS=BALANCE")]
    account: Vec<String>,
    /// File with such accounts: a line each, address and balance; `#` starts a comment.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// An account that may approve changes of committee and parameters (`stele governance`); may be given many times.
    /// Without any, both are fixed for good.
    #[arg(long = "governor", value_name = "ADDRESS")]
    governors: Vec<Address>,
    /// How many governors decide. Default: more than half of them.
    #[arg(long, value_name = "NUMBER", requires = "governors", value_parser = clap::value_parser!(u16).range(1..))]
    governors_needed: Option<u16>,
    /// Signature algorithm that transactions may use; may be given many times. Validators' own keys are Ed25519 or P-256 in any case.
    #[arg(
        long = "algorithm",
        value_name = "NAME",
        default_value = algorithm::DEFAULT,
        value_parser = algorithm::parser()
    )]
    algorithms: Vec<AlgId>,
    /// The new file.
    #[arg(long, value_name = "FILE", default_value = "genesis.toml")]
    out: PathBuf,
}

/// One validator, as its operator hands it in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    name: Option<String>,
    consensus_key: PublicKey,
    transport_key: PublicKey,
    stake: Option<Stake>,
    peer_address: SocketAddr,
    client_address: SocketAddr,
    rpc_address: SocketAddr,
}

/// What is printed of a genesis.
#[derive(Debug, Serialize)]
struct Shown {
    chain: ChainId,
    name: String,
    validators: usize,
    accounts: usize,
    governors: usize,
    governors_needed: u16,
    signature_algorithms: Vec<String>,
    ceremonies: usize,
}

/// Runs `stele genesis`.
///
/// # Errors
/// In words for the terminal.
pub fn run(args: GenesisArgs) -> miette::Result<()> {
    if let Some(path) = &args.check {
        return print(&read(path)?);
    }
    let genesis = make(&args)?;
    // Never over another ledger's.
    let file = OpenOptions::new().write(true).create_new(true).open(&args.out);
    file.and_then(|mut file| file.write_all(genesis.to_toml().as_bytes()))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {}", args.out.display()))?;
    print(&genesis)
}

/// Reads and checks a genesis.
///
/// # Errors
/// In words for the terminal.
pub fn read(path: &Path) -> miette::Result<Genesis> {
    let text =
        std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Genesis::from_toml(&text).into_diagnostic().wrap_err_with(|| format!("{} is no usable genesis", path.display()))
}

fn print(genesis: &Genesis) -> miette::Result<()> {
    let shown = Shown {
        chain: genesis.chain_id(),
        name: genesis.name.clone(),
        validators: genesis.validators.len(),
        accounts: genesis.accounts.len(),
        governors: genesis.governance.members.len(),
        governors_needed: genesis.governance.threshold,
        signature_algorithms: genesis.signature_algorithms.clone(),
        ceremonies: genesis.ceremonies.len(),
    };
    println!("{}", serde_json::to_string_pretty(&shown).into_diagnostic()?);
    Ok(())
}

fn make(args: &GenesisArgs) -> miette::Result<Genesis> {
    let (Some(name), Some(directory)) = (&args.name, &args.validators) else {
        bail!("--name and --validators are needed, or --check");
    };
    let mut accounts = Vec::new();
    for account in &args.account {
        let (address, balance) =
            account.split_once('=').ok_or_else(|| miette!("--account {account}: expected ADDRESS=BALANCE"))?;
        accounts.push(allocation(address, balance).wrap_err_with(|| format!("--account {account}"))?);
    }
    if let Some(path) = &args.accounts {
        accounts.extend(read_accounts(path)?);
    }
    let genesis = Genesis {
        ceremonies: Vec::new(),
        name: name.clone(),
        created_ms: client::now_ms(),
        signature_algorithms: algorithm_names(&args.algorithms),
        parameters: Parameters::default(),
        governance: Governance { members: args.governors.clone(), threshold: governors_needed(args) },
        validators: read_validators(directory)?,
        accounts,
    };
    genesis.check().into_diagnostic().wrap_err("these parts make no usable genesis")?;
    Ok(genesis)
}

/// The threshold: a majority, unless another number is given; none of nobody.
fn governors_needed(args: &GenesisArgs) -> u16 {
    let members = args.governors.len();
    let majority = if members == 0 { 0 } else { u16::try_from(members / 2 + 1).unwrap_or(u16::MAX) };
    args.governors_needed.unwrap_or(majority)
}

/// Each once, in the order given.
fn algorithm_names(algorithms: &[AlgId]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for alg in algorithms {
        if !names.iter().any(|name| name == alg.name()) {
            names.push(alg.name().to_owned());
        }
    }
    names
}

fn read_validators(directory: &Path) -> miette::Result<Vec<Authority>> {
    let about = || format!("cannot read {}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).into_diagnostic().wrap_err_with(about)? {
        let path = entry.into_diagnostic().wrap_err_with(about)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!(
            help = "see `stele genesis --help` for what such a file holds",
            "{} has no .json file",
            directory.display()
        );
    }
    paths.sort();
    paths.iter().map(|path| read_validator(path)).collect()
}

/// Reads what a validator's operator hands in.
///
/// # Errors
/// In words for the terminal.
pub(super) fn read_validator(path: &Path) -> miette::Result<Authority> {
    let about = || format!("the validator's file {}", path.display());
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(about)?;
    let read: Submission = serde_json::from_str(&text).into_diagnostic().wrap_err_with(about)?;
    let own_name = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Authority {
        name: read.name.unwrap_or_else(own_name),
        consensus_key: read.consensus_key,
        transport_key: read.transport_key,
        stake: read.stake.unwrap_or(Stake(1)),
        peer_address: read.peer_address,
        client_address: read.client_address,
        rpc_address: read.rpc_address,
    })
}

fn read_accounts(path: &Path) -> miette::Result<Vec<Allocation>> {
    let about = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(about)?;
    let mut accounts = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let about = || format!("{} line {number}", path.display());
        let (address, balance) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| miette!("expected an address and a balance"))
            .wrap_err_with(about)?;
        accounts.push(allocation(address, balance.trim()).wrap_err_with(about)?);
    }
    Ok(accounts)
}

fn allocation(address: &str, balance: &str) -> miette::Result<Allocation> {
    let address: Address = address.parse().into_diagnostic()?;
    let balance = balance.parse().into_diagnostic().wrap_err_with(|| format!("`{balance}` is no balance"))?;
    Ok(Allocation { address, balance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Amount, SecretKey};

    fn key(seed: u8) -> PublicKey {
        SecretKey::ed25519_from_seed([seed; 32]).public_key()
    }

    fn submit(directory: &Path, file: &str, seed: u8, more: &str) {
        let text = format!(
            "{{\"consensus_key\":\"{}\",\"transport_key\":\"{}\",\"peer_address\":\"127.0.0.1:1\",\
             \"client_address\":\"127.0.0.1:2\",\"rpc_address\":\"127.0.0.1:3\"{more}}}",
            key(seed),
            key(seed + 100)
        );
        std::fs::write(directory.join(file), text).expect("own directory");
    }

    fn args(directory: &Path, account: &str) -> GenesisArgs {
        GenesisArgs {
            check: None,
            name: Some("registry".to_owned()),
            validators: Some(directory.to_owned()),
            account: vec![account.to_owned()],
            accounts: None,
            governors: Vec::new(),
            governors_needed: None,
            algorithms: vec![AlgId::Ed25519],
            out: directory.join("genesis.toml"),
        }
    }

    #[test]
    fn submissions_become_a_genesis_that_reads_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        submit(dir.path(), "b.json", 2, ",\"stake\":3");
        submit(dir.path(), "a.json", 1, ",\"name\":\"north\"");
        std::fs::write(dir.path().join("notes.txt"), "not a validator").expect("own directory");
        let account = key(9).address();
        let args = args(dir.path(), &format!("{account}=500"));
        run(args.clone()).expect("two validators");
        let genesis = read(&args.out).expect("just written");
        let names: Vec<_> =
            genesis.validators.iter().map(|validator| (validator.name.as_str(), validator.stake.0)).collect();
        assert_eq!(names, [("north", 1), ("b", 3)]);
        assert_eq!(genesis.accounts, [Allocation { address: account, balance: Amount(500) }]);
        assert_eq!(genesis.signature_algorithms, ["ed25519"]);
        assert!(run(args).is_err(), "the file exists");
    }

    #[test]
    fn the_algorithms_asked_for_are_allowed_each_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        submit(dir.path(), "a.json", 1, "");
        let algorithms = vec![AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::Sm2Sm3];
        let args = GenesisArgs { algorithms, ..args(dir.path(), &format!("{}=500", key(9).address())) };
        run(args.clone()).expect("one validator");
        let genesis = read(&args.out).expect("just written");
        assert_eq!(genesis.signature_algorithms, ["sm2-sm3", "ecdsa-p256"]);
        let none = genesis.to_toml().replace("[\"sm2-sm3\", \"ecdsa-p256\"]", "[]");
        std::fs::write(&args.out, none).expect("own directory");
        assert!(format!("{:?}", read(&args.out).expect_err("no algorithm")).contains("signature_algorithms"));
    }

    #[test]
    fn a_majority_of_the_governors_decides_unless_a_number_is_given() {
        let dir = tempfile::tempdir().expect("temporary directory");
        submit(dir.path(), "a.json", 1, "");
        let governors: Vec<_> = (10..13).map(|seed| key(seed).address()).collect();
        let base = args(dir.path(), &format!("{}=500", key(9).address()));
        let governed = |needed, file: &str| {
            let out = dir.path().join(file);
            let args = GenesisArgs { governors: governors.clone(), governors_needed: needed, out, ..base.clone() };
            run(args.clone()).map(|()| read(&args.out).expect("just written").governance)
        };
        assert_eq!(governed(None, "1").expect("a majority"), Governance { members: governors.clone(), threshold: 2 });
        assert_eq!(governed(Some(3), "2").expect("all of them").threshold, 3);
        assert!(format!("{:?}", governed(Some(4), "3").expect_err("there are three")).contains("threshold"));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let account = format!("{}=500", key(9).address());
        let told = |args: GenesisArgs| format!("{:?}", run(args).expect_err("a mistake"));
        assert!(told(args(dir.path(), &account)).contains("no .json file"));
        submit(dir.path(), "a.json", 1, ",\"stakes\":3");
        let message = told(args(dir.path(), &account));
        assert!(message.contains("a.json") && message.contains("stakes"), "{message}");
        submit(dir.path(), "a.json", 1, "");
        assert!(told(args(dir.path(), "stele1x=500")).contains("stele1x"));
        assert!(told(args(dir.path(), &account.replace("500", "-5"))).contains("2^128"));
        let list = dir.path().join("accounts.txt");
        std::fs::write(&list, format!("# ours\n{} 5\nnonsense\n", key(9).address())).expect("own directory");
        let message = told(GenesisArgs { accounts: Some(list), account: Vec::new(), ..args(dir.path(), "") });
        assert!(message.contains("line 3"), "{message}");
    }
}
