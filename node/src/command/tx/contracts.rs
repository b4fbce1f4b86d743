//! `stele tx object` and `stele tx grant`: contracts that one account calls alone, and what has happened to things.

use super::send::{self, Sending, read_document};
use super::{Context, explain, say, units};
use clap::{Args, Subcommand};
use client::RpcClient;
use client::rpc::{EventsInfo, GrantInfo, HISTORY_MAX, HistoryCursor, ObjectInfo, Subject};
use miette::{IntoDiagnostic, miette};
use serde::Serialize;
use std::path::Path;
use types::{Address, Amount, Digest, Grant, GrantId, LedgerEvent, ObjectId, ObjectRights, Step, TimestampMs};

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "An object that goes against payment is a transaction of two parties: see `stele tx draft --help`.

Examples:
  stele tx --rpc URL object create --salt 1 --quantity 100 --transferable --divisible --content bond.pdf --key a.key --passphrase-file a.pass
  stele tx --rpc URL object transfer object:… --to stele1… --key a.key --passphrase-file a.pass
  stele tx --rpc URL object split object:… --salt 1 --quantity 40 --key a.key --passphrase-file a.pass
  stele tx --rpc URL object show object:…"
)]
pub struct ObjectArgs {
    #[command(subcommand)]
    action: ObjectAction,
}

#[derive(Clone, Debug, Subcommand)]
enum ObjectAction {
    /// Create an object.
    Create {
        /// Tells apart what one account creates; it has one object under each.
        #[arg(long)]
        salt: u64,
        /// Units of it.
        #[arg(long, default_value = "1", value_parser = units)]
        quantity: Amount,
        /// Its owner may hand it on.
        #[arg(long)]
        transferable: bool,
        /// Its owner may split it, and merge parts of it.
        #[arg(long)]
        divisible: bool,
        /// What describes it: a file, or its digest.
        #[arg(long, value_name = "FILE|DIGEST")]
        content: String,
        /// Its first owner. Default: the account that signs.
        #[arg(long, value_name = "ADDRESS")]
        owner: Option<Address>,
        #[command(flatten)]
        sending: Sending,
    },
    /// Hand an object on.
    Transfer {
        /// Which.
        object: ObjectId,
        /// Its next owner.
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        #[command(flatten)]
        sending: Sending,
    },
    /// Split units off an object into one of their own.
    Split {
        /// Which.
        object: ObjectId,
        /// Tells apart what is split off one object.
        #[arg(long)]
        salt: u64,
        /// Units to split off.
        #[arg(long, value_parser = units)]
        quantity: Amount,
        #[command(flatten)]
        sending: Sending,
    },
    /// Merge an object into another part of the same asset.
    Merge {
        /// The one that goes.
        object: ObjectId,
        /// The one that takes it in.
        #[arg(long, value_name = "OBJECT")]
        into: ObjectId,
        #[command(flatten)]
        sending: Sending,
    },
    /// Remove an object.
    Burn {
        /// Which.
        object: ObjectId,
        #[command(flatten)]
        sending: Sending,
    },
    /// Show an object.
    Show {
        /// Which.
        object: ObjectId,
    },
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Rights are a set of bits whose meaning is between the parties, as a number: 1, 2, 4 and their sums.

Examples:
  stele tx --rpc URL grant give --to stele1… --on file.pdf --rights 3 --until-ms 1798761600000 --key a.key --passphrase-file a.pass
  stele tx --rpc URL grant use --from stele1… --on file.pdf --rights 1 --purpose request.txt --key b.key --passphrase-file b.pass
  stele tx --rpc URL grant revoke --to stele1… --on file.pdf --key a.key --passphrase-file a.pass
  stele tx --rpc URL grant audit grant:…"
)]
pub struct GrantArgs {
    #[command(subcommand)]
    action: GrantAction,
}

#[derive(Clone, Debug, Subcommand)]
enum GrantAction {
    /// Give leave, or other leave in place of what there was.
    Give {
        /// Who gets it.
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        /// On what: a file, or its digest.
        #[arg(long, value_name = "FILE|DIGEST")]
        on: String,
        /// To do what.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rights: u32,
        /// Until when, in milliseconds since the Unix epoch.
        #[arg(long, value_name = "MS")]
        until_ms: u64,
        #[command(flatten)]
        sending: Sending,
    },
    /// Take leave back.
    Revoke {
        /// Who has it.
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        /// On what: a file, or its digest.
        #[arg(long, value_name = "FILE|DIGEST")]
        on: String,
        #[command(flatten)]
        sending: Sending,
    },
    /// Put on record that leave is used; refused where it is not there.
    Use {
        /// Who gave it.
        #[arg(long, value_name = "ADDRESS")]
        from: Address,
        /// On what: a file, or its digest.
        #[arg(long, value_name = "FILE|DIGEST")]
        on: String,
        /// To do what.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rights: u32,
        /// What describes the use: a file, or its digest.
        #[arg(long, value_name = "FILE|DIGEST")]
        purpose: String,
        #[command(flatten)]
        sending: Sending,
    },
    /// Show a grant.
    Show {
        /// Which.
        grant: GrantId,
    },
    /// Read the audit trail of a grant, and check it against the head that the state holds.
    Audit {
        /// Which.
        grant: GrantId,
    },
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  stele tx --rpc URL history object:…")]
pub struct HistoryArgs {
    /// An object or a grant.
    subject: Subject,
}

/// A grant with its trail, which was checked.
#[derive(Serialize)]
struct Audited {
    grant: GrantInfo,
    trail: Vec<EventsInfo>,
}

pub(super) async fn object(context: &Context, args: ObjectArgs) -> miette::Result<()> {
    match args.action {
        ObjectAction::Create { salt, quantity, transferable, divisible, content, owner, sending } => {
            let (content, rights) = (digest_of(&content)?, ObjectRights { transferable, divisible });
            one(context, &sending, |issuer| {
                let owner = owner.unwrap_or(issuer);
                Step::Create { issuer, salt, owner, quantity, rights, content }
            })
            .await
        }
        ObjectAction::Transfer { object, to, sending } => {
            one(context, &sending, |_| Step::Transfer { object, to }).await
        }
        ObjectAction::Split { object, salt, quantity, sending } => {
            one(context, &sending, |_| Step::Split { object, salt, quantity }).await
        }
        ObjectAction::Merge { object, into, sending } => one(context, &sending, |_| Step::Merge { object, into }).await,
        ObjectAction::Burn { object, sending } => one(context, &sending, |_| Step::Burn { object }).await,
        ObjectAction::Show { object } => match context.rpc()?.object(&object).await.map_err(explain)? {
            Some(info) => context.print(&info, || object_words(&info)),
            None => Err(miette!(help = "see what became of it with `stele tx history`", "there is no {object}")),
        },
    }
}

pub(super) async fn grant(context: &Context, args: GrantArgs) -> miette::Result<()> {
    match args.action {
        GrantAction::Give { to: grantee, on, rights, until_ms, sending } => {
            let (resource, expires) = (digest_of(&on)?, TimestampMs(until_ms));
            one(context, &sending, |grantor| Step::Grant { grantor, grantee, resource, rights, expires }).await
        }
        GrantAction::Revoke { to: grantee, on, sending } => {
            let resource = digest_of(&on)?;
            one(context, &sending, |grantor| Step::Revoke { grantor, grantee, resource }).await
        }
        GrantAction::Use { from: grantor, on, rights, purpose, sending } => {
            let (resource, purpose) = (digest_of(&on)?, digest_of(&purpose)?);
            one(context, &sending, |grantee| Step::Exercise { grantee, grantor, resource, rights, purpose }).await
        }
        GrantAction::Show { grant } => {
            let info = known(&context.rpc()?, grant).await?;
            context.print(&info, || grant_words(&info))
        }
        GrantAction::Audit { grant } => {
            let rpc = context.rpc()?;
            let trail = history_of(&rpc, &Subject::Grant(grant)).await?;
            let info = known(&rpc, grant).await?;
            audited(&info, &trail)?;
            let audited = Audited { grant: info, trail };
            context.print(&audited, || {
                let list: Vec<_> = audited.trail.iter().map(say::executed).collect();
                format!("{}\n\n{}\n\nthe trail is complete", grant_words(&info), list.join("\n\n"))
            })
        }
    }
}

pub(super) async fn history(context: &Context, args: HistoryArgs) -> miette::Result<()> {
    let found = history_of(&context.rpc()?, &args.subject).await?;
    context.print(&found, || match found.is_empty() {
        true => format!("nothing has happened to {}", args.subject),
        false => found.iter().map(say::executed).collect::<Vec<_>>().join("\n\n"),
    })
}

/// Signs a step, submits it and waits.
async fn one(context: &Context, sending: &Sending, step: impl FnOnce(Address) -> Step) -> miette::Result<()> {
    let (rpc, account) = send::open(context, sending).await?;
    let transaction = account.call(vec![step(account.address())], Default::default()).into_diagnostic()?;
    send::call(context, &rpc, &transaction, sending.no_wait).await
}

/// A digest, or that of a file.
fn digest_of(text: &str) -> miette::Result<Digest> {
    text.parse().or_else(|_| read_document(Path::new(text)))
}

async fn known(rpc: &RpcClient, grant: GrantId) -> miette::Result<GrantInfo> {
    let found = rpc.grant(&grant).await.map_err(explain)?;
    found.ok_or_else(|| miette!(help = "`stele tx grant give` prints the grant that it makes", "there is no {grant}"))
}

async fn history_of(rpc: &RpcClient, subject: &Subject) -> miette::Result<Vec<EventsInfo>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = rpc.history(subject, after).await.map_err(explain)?;
        let full = page.len() >= HISTORY_MAX;
        all.extend(page);
        let last = all.last().map(|info: &EventsInfo| (info.transaction.height, info.transaction.index));
        match last {
            Some((height, index)) if full => after = Some(HistoryCursor { height, index }),
            _ => return Ok(all),
        }
    }
}

/// Whether the trail is what the state has been told, entry by entry.
fn audited(info: &GrantInfo, trail: &[EventsInfo]) -> miette::Result<()> {
    let of_grant = |event: &&LedgerEvent| event.subjects().contains(&info.grant.into());
    let (mut head, mut entries) = (Digest::ZERO, 0);
    for entry in trail {
        for event in entry.events.iter().filter(of_grant) {
            (head, entries) = (Grant::audited(&head, &entry.transaction.id, event), entries + 1);
        }
    }
    if (head, entries) == (info.audit, info.entries) {
        return Ok(());
    }
    Err(miette!(
        help = "the grant may have changed meanwhile: try again; otherwise ask another node, and prove its transactions with `stele tx proof`",
        "the trail has {entries} entries that end in {head}; the grant says {} that end in {}",
        info.entries,
        info.audit
    ))
}

fn object_words(info: &ObjectInfo) -> String {
    let may = |may, what| if may { what } else { "" };
    format!(
        "object    {}\nowner     {}\nissuer    {}\nquantity  {}{}{}\nasset     {}\ncontent   {}\nheight    {}",
        info.object,
        info.owner,
        info.issuer,
        info.quantity,
        may(info.transferable, ", transferable"),
        may(info.divisible, ", divisible"),
        info.asset,
        info.content,
        info.height
    )
}

fn grant_words(info: &GrantInfo) -> String {
    let rights = if info.rights == 0 { "revoked".to_owned() } else { format!("{:#x}", info.rights) };
    format!(
        "grant     {}\nfrom      {}\nto        {}\non        {}\nrights    {rights}\nuntil     {}\nentries   {}\naudit     {}\nheight    {}",
        info.grant,
        info.grantor,
        info.grantee,
        info.resource,
        say::time(info.expires.0),
        info.entries,
        info.audit,
        info.height
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::rpc::{OutcomeInfo, TransactionInfo};
    use types::{Height, TransactionId};

    fn entry(seed: u8, event: LedgerEvent) -> EventsInfo {
        let id = TransactionId(Digest::sha256(&[seed]));
        let outcome = OutcomeInfo::Applied;
        let transaction = TransactionInfo { id, height: Height(1), index: seed.into(), outcome, time_ms: 0 };
        EventsInfo { transaction, events: vec![event] }
    }

    #[test]
    fn a_trail_with_an_entry_left_out_changed_or_moved_is_not_complete() {
        let grant = GrantId::from_bytes([1; 32]);
        let used = |rights| LedgerEvent::Exercised { grant, rights, purpose: Digest::ZERO };
        let trail = vec![entry(0, used(1)), entry(1, LedgerEvent::Revoked { grant, rights: 1 }), entry(2, used(2))];
        let head =
            trail.iter().fold(Digest::ZERO, |head, info| Grant::audited(&head, &info.transaction.id, &info.events[0]));
        let value = Grant {
            grantor: Address::from_bytes([1; 32]),
            grantee: Address::from_bytes([2; 32]),
            resource: Digest::ZERO,
            rights: 0,
            expires: TimestampMs(0),
            entries: 3,
            audit: head,
        };
        let info = GrantInfo::new(grant, &value, Height(1));
        assert!(audited(&info, &trail).is_ok());
        assert!(audited(&info, &trail[..2]).is_err());
        let mut moved = trail.clone();
        moved.swap(0, 2);
        assert!(audited(&info, &moved).is_err());
        let mut changed = trail;
        changed[0].events = vec![used(3)];
        assert!(audited(&info, &changed).is_err());
    }
}
