//! Whether this machine may run the node: its facts against the operator's policy (`[hardware]` in node.toml).

use firmware_hal::{Finding, Inventory, Policy, Root};
use miette::Diagnostic;
use thiserror::Error;

/// The machine is not as the policy demands.
#[derive(Debug, Error, Diagnostic)]
#[error("this machine is not as the policy of [hardware] in node.toml demands:\n{}", listed(.0))]
#[diagnostic(help("`stele hw check --policy FILE` says the same at any time, `stele hw --facts` what there is"))]
pub struct Unfit(Vec<Finding>);

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Takes the inventory and holds it against the policy; what is only warned about goes to the log.
///
/// # Errors
/// [`Unfit`], with everything that refuses.
pub fn admit(policy: &Policy, root: &Root) -> Result<(), Unfit> {
    let machine = Inventory::take(root);
    let (refusing, warnings): (Vec<_>, Vec<_>) = policy.check(&machine).into_iter().partition(Finding::refuses);
    tracing::info!(inventory = %machine.digest(), warnings = warnings.len(), "the machine was held against its policy");
    for finding in warnings {
        tracing::warn!(%finding, "the machine");
    }
    if refusing.is_empty() { Ok(()) } else { Err(Unfit(refusing)) }
}
