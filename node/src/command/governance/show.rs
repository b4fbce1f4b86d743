//! A governance in words and in JSON.

use super::super::tx::{Context, explain};
use super::Outcome;
use client::rpc::{ChainInfo, GovernanceInfo};
use serde::Serialize;
use types::{Change, Digest, Parameters};

/// Size and thresholds of a committee.
#[derive(Debug, Serialize)]
pub(super) struct Committee {
    validators: usize,
    stake: u64,
    quorum: u64,
    tolerated: u64,
}

impl Committee {
    pub(super) fn of(committee: &types::Committee) -> Self {
        Self {
            validators: committee.size(),
            stake: committee.total_stake().0,
            quorum: committee.quorum().0,
            tolerated: committee.faulty_max().0,
        }
    }

    fn words(&self) -> String {
        let Self { validators, stake, quorum, tolerated } = self;
        format!("{validators} validators with stake {stake}, a quorum of {quorum}, {tolerated} may be faulty")
    }
}

/// Everything that `show` tells.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    governance: &'a GovernanceInfo,
    committee: &'a [client::rpc::ValidatorInfo],
    parameters: &'a Parameters,
}

/// Prints who governs, whom, and what is approved.
pub(super) async fn show(context: &Context) -> miette::Result<()> {
    let rpc = context.rpc()?;
    let chain = context.chain(&rpc).await?;
    let governance = rpc.governance().await.map_err(explain)?;
    let shown = Shown { governance: &governance, committee: &chain.validators, parameters: &chain.parameters };
    let committee = super::committee_of(&chain)?;
    context.print(&shown, || words(&governance, &chain, &committee))
}

fn words(governance: &GovernanceInfo, chain: &ChainInfo, committee: &types::Committee) -> String {
    let mut lines = vec![
        format!("ledger      {}", chain.chain),
        format!("epoch       {}{}", chain.epoch, if governance.decided.is_some() { ", ending" } else { "" }),
        format!("committee   {}", Committee::of(committee).words()),
    ];
    for validator in &chain.validators {
        let linked = governance.reachable.contains(&validator.name);
        let (name, stake, peer) = (&validator.name, validator.stake, validator.addresses.peer);
        let reach = if linked { "" } else { ", out of reach of the asked node" };
        lines.push(format!("  {name}  stake {stake}, {peer}{reach}"));
    }
    lines.push("parameters".to_owned());
    let parameters = serde_json::to_value(&chain.parameters).unwrap_or_default();
    for (name, value) in parameters.as_object().into_iter().flatten() {
        lines.push(format!("  {name} = {value}"));
    }
    if governance.members.is_empty() {
        lines.push("members     none: committee and parameters are fixed".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("members     {}, of whom {} decide", governance.members.len(), governance.threshold));
    lines.extend(governance.members.iter().map(|member| format!("  {member}")));
    match &governance.decided {
        Some(change) => lines.push(format!("decided     {}", describe(change))),
        None if governance.approved.is_empty() => lines.push("approved    nothing".to_owned()),
        None => lines.push("approved".to_owned()),
    }
    for approved in &governance.approved {
        let (count, threshold) = (approved.members.len(), governance.threshold);
        lines.push(format!("  {} ({count} of {threshold})\n    {}", describe(&approved.change), approved.digest));
        lines.extend(approved.members.iter().map(|member| format!("    by {member}")));
    }
    lines.join("\n")
}

/// A change that is not sent.
pub(super) fn preview(outcome: &Outcome, committee: &types::Committee, governance: &GovernanceInfo) -> String {
    let mut lines = head(outcome);
    lines.push(format!("now         {}", Committee::of(committee).words()));
    lines.push(format!("then        {}", outcome.next.words()));
    lines.push(format!("approvals   {} of {}", outcome.approvals, outcome.threshold));
    if let Some(decided) = &governance.decided {
        lines.push(format!("this epoch is ending already: {} is decided", describe(decided)));
    }
    lines.push("nothing was sent".to_owned());
    lines.join("\n")
}

/// A change that was approved.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut lines = head(outcome);
    if let Some(info) = &outcome.transaction {
        lines.push(format!("transaction {} at height {}", info.id, info.height));
    }
    match outcome.began {
        Some(epoch) if outcome.decided => {
            lines.push(format!("approvals   {0} of {0}: decided", outcome.threshold));
            lines.push(format!("epoch {epoch} has begun with {}", outcome.next.words()));
        }
        Some(epoch) => lines.push(format!("another change was decided, and epoch {epoch} has begun with it")),
        None => lines.push(format!(
            "approvals   {} of {}; the others give the same command with their keys",
            outcome.approvals, outcome.threshold
        )),
    }
    lines.join("\n")
}

fn head(outcome: &Outcome) -> Vec<String> {
    vec![
        format!("change      {}", describe(&outcome.change)),
        format!("digest      {}", outcome.digest),
        format!("ends epoch  {}", outcome.epoch),
    ]
}

/// How many members approve this change.
pub(super) fn approvals(governance: &GovernanceInfo, digest: &Digest) -> usize {
    governance.approved.iter().find(|approved| approved.digest == *digest).map_or(0, |approved| approved.members.len())
}

fn describe(change: &Change) -> String {
    match change {
        Change::Add { validator } => {
            format!("add {} with stake {} at {}", validator.name, validator.stake, validator.peer_address)
        }
        Change::Remove { name } => format!("remove {name}"),
        Change::Rekey { name, consensus_key, .. } => format!("new keys of {name}: {consensus_key} for consensus"),
        Change::Update { name, stake, peer_address, .. } => format!("{name} with stake {stake} at {peer_address}"),
        Change::Parameters { .. } => "other parameters".to_owned(),
    }
}
