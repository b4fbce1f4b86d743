//! `stele tx draft`, `sign` and `submit`: transactions that several parties sign, one after the other, as a file that goes
//! from one to the next.
//!
//! A party sees what it signs: `sign` prints the steps before it opens the key. Deliberately absent: how the file travels.

use super::{Context, say, send};
use crate::command::key::KeyChoice;
use clap::Args;
use client::Account;
use client::rpc::HexBytes;
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::{ChainId, Draft, PublicKey, Signature, Step, TransactionBody};

/// Most bytes of a draft file: 64 KiB of transaction in hexadecimal, and signatures.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The steps are a JSON list; all are applied, or none. The keys of the state are declared as the steps need them.
A bond of 40 units against 1000 units of currency, signed by seller and buyer:

  [{\"step\": \"transfer\", \"object\": \"object:…\", \"to\": \"stele1BUYER…\"},
   {\"step\": \"pay\", \"from\": \"stele1BUYER…\", \"to\": \"stele1SELLER…\", \"amount\": 1000}]

Other steps: create (issuer, salt, owner, quantity, rights {transferable, divisible}, content), split (object, salt,
quantity), merge (object, into), burn (object), grant (grantor, grantee, resource, rights, expires), revoke (grantor,
grantee, resource), exercise (grantee, grantor, resource, rights, purpose).

Examples:
  stele tx --rpc URL draft sale.json --cosigner ed25519:… --out sale.draft --key seller.key --passphrase-file seller.pass
  stele tx --rpc URL sign sale.draft --key buyer.key --passphrase-file buyer.pass
  stele tx --rpc URL submit sale.draft"
)]
pub struct DraftArgs {
    /// File with the steps.
    #[arg(value_name = "STEPS.json")]
    steps: PathBuf,
    /// Public key of a party that signs besides, as `stele key show` prints it; up to seven times.
    #[arg(long = "cosigner", value_name = "PUBLIC_KEY", value_parser = public_key)]
    cosigners: Vec<PublicKey>,
    /// The new file, for the next party.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Text that is kept with the transaction, for all to read.
    #[arg(long, default_value = "")]
    memo: String,
    /// Seconds that the parties have, at most the ledger's validity window.
    #[arg(long, value_name = "S", default_value_t = 60)]
    valid_for: u64,
    #[command(flatten)]
    key: KeyChoice,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  stele tx --genesis genesis.toml sign sale.draft --key buyer.key --passphrase-file buyer.pass")]
pub struct SignArgs {
    /// The draft, which gets the signature.
    #[arg(value_name = "FILE")]
    draft: PathBuf,
    #[command(flatten)]
    key: KeyChoice,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  stele tx --rpc URL submit sale.draft")]
pub struct SubmitArgs {
    /// The draft, with the signatures of all parties.
    #[arg(value_name = "FILE")]
    draft: PathBuf,
    /// Return once the node has queued it, without its outcome.
    #[arg(long)]
    no_wait: bool,
}

/// What a draft file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    /// [`Draft::unsigned`].
    unsigned: HexBytes,
    /// By signer, in their order.
    signatures: Vec<Option<Signature>>,
}

/// What is printed of a draft.
#[derive(Serialize)]
struct Shown<'a> {
    id: types::TransactionId,
    valid_until_ms: u64,
    steps: &'a [Step],
    signers: Vec<Party>,
}

#[derive(Serialize)]
struct Party {
    address: types::Address,
    signed: bool,
}

pub(super) async fn draft(context: &Context, args: DraftArgs) -> miette::Result<()> {
    let steps = read_steps(&args.steps)?;
    let validity = Duration::from_secs(args.valid_for);
    let account = Account::new(ledger(context).await?, args.key.open()?).valid_for(validity);
    let draft = account.draft(args.cosigners, steps, args.memo.into()).into_diagnostic()?;
    let mut sheet =
        Sheet { unsigned: HexBytes(draft.unsigned().to_vec()), signatures: vec![None; draft.signers().len()] };
    sheet.signatures[0] = Some(account.approve(&draft).into_diagnostic()?);
    if args.out.exists() {
        bail!(help = "name a new file", "{} exists already", args.out.display());
    }
    write(&args.out, &sheet)?;
    show(context, &draft, &sheet)
}

pub(super) async fn sign(context: &Context, args: SignArgs) -> miette::Result<()> {
    let chain = ledger(context).await?;
    let (draft, mut sheet) = open(&args.draft, &chain)?;
    // Before the key is opened: its owner sees what is asked of it.
    eprintln!("{}", serde_json::to_string_pretty(steps(&draft)?).into_diagnostic()?);
    let account = Account::new(chain, args.key.open()?);
    let place = draft.signers().iter().position(|signer| *signer == account.public_key()).ok_or_else(|| {
        miette!(help = "`stele key show FILE` prints whose a key is", "{} is no party of this draft", account.address())
    })?;
    sheet.signatures[place] = Some(account.approve(&draft).into_diagnostic()?);
    write(&args.draft, &sheet)?;
    show(context, &draft, &sheet)
}

pub(super) async fn submit(context: &Context, args: SubmitArgs) -> miette::Result<()> {
    let chain = ledger(context).await?;
    let (draft, sheet) = open(&args.draft, &chain)?;
    let missing = draft.signers().iter().zip(&sheet.signatures).find(|(_, signature)| signature.is_none());
    if let Some((signer, _)) = missing {
        bail!(help = "they sign with `stele tx sign FILE`", "{} has not signed", signer.address());
    }
    let signatures: Vec<Signature> = sheet.signatures.into_iter().flatten().collect();
    let transaction = draft.finish(&signatures).into_diagnostic()?;
    if let Some((signer, _)) =
        transaction.claims().find(|(key, signature)| key.verify(&transaction.message(), signature).is_err())
    {
        bail!(help = "have it signed again", "the signature of {} does not verify", signer.address());
    }
    send::call(context, &context.rpc()?, &transaction, args.no_wait).await
}

/// The ledger that a draft is for: that of genesis, or the node's.
async fn ledger(context: &Context) -> miette::Result<ChainId> {
    match &context.genesis {
        Some(genesis) => Ok(genesis.chain_id()),
        None => Ok(context.chain(&context.rpc()?).await?.chain),
    }
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    text.parse()
        .map_err(|_| "expected an algorithm, a colon and hexadecimal digits, as `stele key show` prints".to_owned())
}

fn read(path: &Path) -> miette::Result<String> {
    let length =
        std::fs::metadata(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?.len();
    if length > FILE_BYTES_MAX {
        bail!("{} is larger than any draft: {length} bytes", path.display());
    }
    std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))
}

fn read_steps(path: &Path) -> miette::Result<Vec<Step>> {
    let steps: Vec<Step> = serde_json::from_str(&read(path)?)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} is no list of steps", path.display()))?;
    if steps.is_empty() {
        bail!(help = "`stele tx draft --help` shows some", "{} has no steps, and a draft needs one", path.display());
    }
    Ok(steps)
}

fn write(path: &Path, sheet: &Sheet) -> miette::Result<()> {
    let text = serde_json::to_string(sheet).into_diagnostic()?;
    std::fs::write(path, text).into_diagnostic().wrap_err_with(|| format!("cannot write {}", path.display()))
}

fn open(path: &Path, chain: &ChainId) -> miette::Result<(Draft, Sheet)> {
    let sheet: Sheet = serde_json::from_str(&read(path)?)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} is no draft", path.display()))?;
    let draft = Draft::parse(chain, sheet.unsigned.0.clone().into())
        .into_diagnostic()
        .wrap_err_with(|| format!("{} is no draft for this ledger", path.display()))?;
    let (signers, signatures) = (draft.signers().len(), sheet.signatures.len());
    if signers != signatures {
        bail!("{} has places for {signatures} signatures of {signers}", path.display());
    }
    Ok((draft, sheet))
}

/// The steps of a draft.
fn steps(draft: &Draft) -> miette::Result<&[Step]> {
    match draft.body() {
        TransactionBody::Call(call) => Ok(&call.steps),
        TransactionBody::Transfer { .. } | TransactionBody::Certify { .. } | TransactionBody::Govern { .. } => {
            Err(miette!("the draft calls no contract; it is not what `stele tx draft` makes"))
        }
    }
}

fn show(context: &Context, draft: &Draft, sheet: &Sheet) -> miette::Result<()> {
    let party = |(signer, signature): (&PublicKey, &Option<Signature>)| Party {
        address: signer.address(),
        signed: signature.is_some(),
    };
    let signers: Vec<Party> = draft.signers().iter().zip(&sheet.signatures).map(party).collect();
    let id = draft.id();
    let (steps, valid_until_ms) = (steps(draft)?, draft.valid_until().0);
    let shown = Shown { id, valid_until_ms, steps, signers };
    context.print(&shown, || {
        let line = |party: &Party| format!("\n{}  {}", if party.signed { "signed " } else { "missing" }, party.address);
        format!(
            "transaction {id}\nvalid until {}{}",
            say::time(valid_until_ms),
            shown.signers.iter().map(line).collect::<String>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Amount, Digest, ObjectId, SecretKey};

    #[test]
    fn a_draft_goes_from_party_to_party_and_is_no_draft_of_another_ledger() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("sale.draft");
        let chain = ChainId(Digest::sha256(b"a genesis"));
        let account = |seed| Account::new(chain, SecretKey::ed25519_from_seed([seed; 32]));
        let (seller, buyer) = (account(1), account(2));
        let step = Step::Transfer { object: ObjectId::issued(&seller.address(), 1), to: buyer.address() };
        let draft = seller.draft(vec![buyer.public_key()], vec![step.clone()], Default::default()).expect("a draft");
        let signature = seller.approve(&draft).expect("signs");
        let unsigned = HexBytes(draft.unsigned().to_vec());
        write(&path, &Sheet { unsigned, signatures: vec![Some(signature.clone()), None] }).expect("a file");
        let (read, sheet) = open(&path, &chain).expect("a draft");
        assert_eq!((&read, steps(&read).expect("a call")), (&draft, &[step][..]));
        assert_eq!(sheet.signatures, [Some(signature), None]);
        assert!(open(&path, &ChainId(Digest::ZERO)).is_err());
        write(&path, &Sheet { signatures: vec![None; 3], ..sheet }).expect("a file");
        assert!(open(&path, &chain).is_err(), "a place too many");
    }

    #[test]
    fn a_list_without_steps_is_told_with_its_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("steps.json");
        std::fs::write(&path, "[]").expect("a file");
        let told = read_steps(&path).expect_err("there are none").to_string();
        assert_eq!(told, format!("{} has no steps, and a draft needs one", path.display()));
    }

    #[test]
    fn the_steps_of_the_help_are_steps() {
        let text = r#"[{"step": "create", "issuer": "ISSUER", "salt": 1, "owner": "ISSUER", "quantity": 5,
              "rights": {"transferable": true, "divisible": false}, "content": "DIGEST"},
             {"step": "pay", "from": "ISSUER", "to": "ISSUER", "amount": 1000}]"#;
        let issuer = SecretKey::ed25519_from_seed([1; 32]).public_key().address();
        let text = text.replace("ISSUER", &issuer.to_string()).replace("DIGEST", &Digest::ZERO.to_string());
        let steps: Vec<Step> = serde_json::from_str(&text).expect("steps");
        assert!(matches!(
            steps[..],
            [Step::Create { quantity: Amount(5), .. }, Step::Pay { amount: Amount(1000), .. }]
        ));
        assert!(serde_json::from_str::<Vec<Step>>(&text.replace("amount", "sum")).is_err());
    }
}
