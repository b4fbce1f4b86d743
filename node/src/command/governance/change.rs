//! The change that a command line asks for.

use crate::command::genesis;
use clap::Args;
use client::rpc::{ChainInfo, ValidatorInfo};
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use types::{Change, Parameters, PublicKey, Stake};

/// What is asked for, before the ledger is known.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Add(PathBuf),
    Remove(String),
    Rekey(String, PathBuf),
    Update(String, Update),
    Parameters(Vec<Setting>),
}

/// New stake or addresses.
#[derive(Clone, Debug, Args)]
pub(super) struct Update {
    /// Voting weight.
    #[arg(long, value_parser = stake)]
    stake: Option<Stake>,
    /// Where other validators reach it (UDP).
    #[arg(long, value_name = "IP:PORT")]
    peer_address: Option<SocketAddr>,
    /// Where clients reach it with raw transaction batches (UDP).
    #[arg(long, value_name = "IP:PORT")]
    client_address: Option<SocketAddr>,
    /// Where clients reach its JSON-RPC (TCP).
    #[arg(long, value_name = "IP:PORT")]
    rpc_address: Option<SocketAddr>,
}

fn stake(text: &str) -> Result<Stake, std::num::ParseIntError> {
    text.parse().map(Stake)
}

/// `NAME=NUMBER`.
pub(super) type Setting = (String, u64);

pub(super) fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let value =
        value.trim().replace('_', "").parse().map_err(|_| format!("`{value}` is no whole number below 2^64"))?;
    Ok((name.trim().to_owned(), value))
}

/// The public halves, as the signer prints them.
#[derive(Debug, Deserialize)]
struct Keys {
    consensus_key: PublicKey,
    transport_key: PublicKey,
}

impl Wanted {
    /// The change, on a ledger as a node describes it.
    pub(super) fn change(self, chain: &ChainInfo) -> miette::Result<Change> {
        Ok(match self {
            Self::Add(file) => Change::Add { validator: genesis::read_validator(&file)? },
            Self::Remove(name) => Change::Remove { name: validator(chain, &name)?.name.clone() },
            Self::Rekey(name, file) => {
                let name = validator(chain, &name)?.name.clone();
                let Keys { consensus_key, transport_key } = read_keys(&file)?;
                Change::Rekey { name, consensus_key, transport_key }
            }
            Self::Update(name, update) => {
                let now = validator(chain, &name)?;
                Change::Update {
                    name,
                    stake: update.stake.unwrap_or(now.stake),
                    peer_address: update.peer_address.unwrap_or(now.addresses.peer),
                    client_address: update.client_address.unwrap_or(now.addresses.client),
                    rpc_address: update.rpc_address.unwrap_or(now.addresses.rpc),
                }
            }
            Self::Parameters(settings) => Change::Parameters { parameters: with(&chain.parameters, &settings)? },
        })
    }
}

fn validator<'a>(chain: &'a ChainInfo, name: &str) -> miette::Result<&'a ValidatorInfo> {
    chain.validators.iter().find(|validator| validator.name == name).ok_or_else(|| {
        let names: Vec<_> = chain.validators.iter().map(|validator| validator.name.as_str()).collect();
        miette!(help = format!("its validators are {}", names.join(", ")), "the committee has no validator `{name}`")
    })
}

fn read_keys(path: &Path) -> miette::Result<Keys> {
    let about = || format!("the file of public keys {}", path.display());
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(about)?;
    serde_json::from_str(&text).into_diagnostic().wrap_err_with(about)
}

/// Parameters with some values replaced.
fn with(parameters: &Parameters, settings: &[Setting]) -> miette::Result<Parameters> {
    let mut values = serde_json::to_value(parameters).into_diagnostic()?;
    for (name, value) in settings {
        let Some(slot) = values.get_mut(name) else {
            let names: Vec<_> = values.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            bail!(help = format!("there are {}", names.join(", ")), "no parameter `{name}`");
        };
        *slot = (*value).into();
    }
    serde_json::from_value(values).into_diagnostic().wrap_err("a value does not fit its parameter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_parameters_are_replaced_and_the_others_stay() {
        let before = Parameters::default();
        let settings = [setting("gc_depth_rounds=200"), setting("validity_window_ms = 30_000")].map(Result::unwrap);
        let after = with(&before, &settings).expect("both exist");
        assert_eq!(after, Parameters { gc_depth_rounds: 200, validity_window_ms: 30_000, ..before.clone() });
        let told = |settings: &[Setting]| format!("{:?}", with(&before, settings).expect_err("a mistake"));
        assert!(told(&[("gc_depth".into(), 1)]).contains("schedule_window_commits"), "names what there is");
        assert!(told(&[("transaction_bytes_max".into(), 1 << 40)]).contains("does not fit"));
        assert!(setting("gc_depth_rounds").is_err() && setting("gc_depth_rounds=many").is_err());
    }
}
