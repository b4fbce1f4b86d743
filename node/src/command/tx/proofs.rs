//! What all proofs have in common: they are checked from genesis on, kept in files that need no node, and say who signed.

use super::Context;
use miette::{IntoDiagnostic, Report, WrapErr, miette};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::Path;
use types::{Certificate, Committee, EpochChain};

/// What a proof is checked against: the ledger that the genesis begins.
pub fn trusted(context: &Context) -> miette::Result<EpochChain> {
    let genesis = context.genesis.as_ref().ok_or_else(|| {
        miette!(
            help = "give --genesis FILE, from a source that you trust: a proof is worth as much as the list of validators it is checked against",
            "a proof cannot be checked without the genesis of its ledger"
        )
    })?;
    EpochChain::from_genesis(genesis).into_diagnostic()
}

/// A proof that was kept.
pub fn read<T: DeserializeOwned>(path: &Path) -> miette::Result<T> {
    let about = || format!("cannot read the proof in {}", path.display());
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(about)?;
    serde_json::from_str(&text).into_diagnostic().wrap_err_with(about)
}

/// Keeps a proof.
pub fn write(proof: &impl Serialize, path: &Path) -> miette::Result<()> {
    let text = serde_json::to_string_pretty(proof).into_diagnostic()?;
    std::fs::write(path, text + "\n").into_diagnostic().wrap_err_with(|| format!("cannot write {}", path.display()))
}

/// What is said of a proof that does not hold.
pub fn worthless(error: impl fmt::Display) -> Report {
    miette!(help = "do not rely on what this proof claims; ask another node", "the proof does not hold: {error}")
}

/// Who vouches for a header.
#[derive(Serialize)]
pub struct Signed {
    signers: Vec<String>,
    stake: u64,
    stake_needed: u64,
    stake_total: u64,
}

impl Signed {
    /// Those whose statements are in a certificate that was checked against this committee.
    pub fn by(certificate: &Certificate, committee: &Committee) -> Self {
        let signers = certificate.statements.iter().filter_map(|statement| committee.authority(statement.author));
        let (signers, stakes): (Vec<_>, Vec<_>) = signers.map(|signer| (signer.name.clone(), signer.stake.0)).unzip();
        Self {
            signers,
            stake: stakes.iter().sum(),
            stake_needed: committee.quorum().0,
            stake_total: committee.total_stake().0,
        }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signers, stake, stake_needed, stake_total } = self;
        write!(f, "signed by {}: stake {stake} of {stake_total}, where {stake_needed} are needed.", signers.join(", "))
    }
}
