//! The tables of an export: which columns they have, and the rows that a height gives. Both formats are written from
//! these, so that they cannot differ. Names and meanings are documented in docs/export.md; a column that is added goes
//! to the end of its table.

#[cfg(test)]
mod tests;

use crate::replica::event::CertifiedCommit;
use bytes::Bytes;
use types::{Amount, Committee, LedgerEvent, LedgerHeader, Outcome, Transaction, TransactionBody};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned number of 64 bits.
    Number,
    /// An amount: a number of 38 decimal digits, as wide as query engines have them, where a format has such, else text.
    Amount,
    /// Milliseconds since 1970 in UTC.
    Time,
    /// Text.
    Text,
    /// Bytes; hexadecimal digits where a format has text alone.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a row may have nothing there.
    pub optional: bool,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, with which its files begin.
    pub name: &'static str,
    /// Its columns, in the order of a row's values.
    pub columns: &'static [Column],
}

/// What stands in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Absent,
    /// Of a column of numbers or times.
    Number(u64),
    /// Of a column of amounts.
    Amount(Amount),
    /// Of a column of text.
    Text(String),
    /// Of a column of bytes.
    Bytes(Bytes),
}

/// One value a column.
pub type Row = Vec<Value>;

const fn number(name: &'static str) -> Column {
    Column { name, kind: Kind::Number, optional: false }
}

pub const fn amount(name: &'static str) -> Column {
    Column { name, kind: Kind::Amount, optional: true }
}

const fn time(name: &'static str) -> Column {
    Column { name, kind: Kind::Time, optional: false }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, optional: false }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes, optional: false }
}

const fn or_nothing(column: Column) -> Column {
    Column { optional: true, ..column }
}

/// All tables.
pub const TABLES: [Table; 5] = [
    Table {
        name: "headers",
        columns: &[
            number("height"),
            number("epoch"),
            time("time_ms"),
            text("header"),
            text("previous"),
            text("commit"),
            text("transaction_root"),
            text("receipt_root"),
            text("state_digest"),
            number("blocks"),
            number("transactions"),
            number("applied"),
        ],
    },
    Table {
        name: "blocks",
        columns: &[
            number("height"),
            number("position"),
            text("block"),
            number("round"),
            text("author"),
            time("time_ms"),
            number("transactions"),
            number("payload_bytes"),
        ],
    },
    Table {
        name: "transactions",
        columns: &[
            number("height"),
            number("index"),
            text("transaction"),
            text("block"),
            text("kind"),
            or_nothing(text("sender")),
            or_nothing(text("algorithm")),
            or_nothing(time("valid_until_ms")),
            or_nothing(number("nonce")),
            or_nothing(text("to")),
            amount("amount"),
            or_nothing(text("document")),
            or_nothing(bytes("memo")),
            or_nothing(text("change")),
            or_nothing(text("steps")),
            bytes("raw"),
        ],
    },
    Table {
        name: "receipts",
        columns: &[
            number("height"),
            number("index"),
            text("transaction"),
            text("outcome"),
            or_nothing(text("reason")),
            or_nothing(text("events")),
        ],
    },
    Table {
        name: "events",
        columns: &[
            number("height"),
            number("index"),
            number("position"),
            text("transaction"),
            text("event"),
            or_nothing(text("object")),
            or_nothing(text("grant")),
            or_nothing(text("from")),
            or_nothing(text("to")),
            amount("quantity"),
            text("data"),
        ],
    },
];

/// The rows of a height, by table. `events` are those of the transactions that have some, by their index.
pub fn of(
    commit: &CertifiedCommit,
    header: &LedgerHeader,
    outcomes: &[Outcome],
    events: &[(u32, Vec<LedgerEvent>)],
    committee: &Committee,
) -> [Vec<Row>; TABLES.len()] {
    let applied = outcomes.iter().filter(|outcome| outcome.is_applied()).count();
    let head = vec![
        Value::Number(header.height.0),
        Value::Number(header.epoch.0),
        Value::Number(header.timestamp.0),
        shown(&commit.header),
        shown(&header.previous),
        shown(&header.commit),
        shown(&header.transaction_root),
        shown(&header.receipt_root),
        shown(&header.state_digest),
        Value::Number(commit.blocks.len() as u64),
        Value::Number(outcomes.len() as u64),
        Value::Number(applied as u64),
    ];
    let (mut blocks, mut transactions, mut receipts) = (Vec::new(), Vec::new(), Vec::<Row>::new());
    let mut outcomes = outcomes.iter();
    for (position, (block, received)) in commit.blocks.iter().enumerate() {
        let author = committee.authority(block.author());
        blocks.push(vec![
            Value::Number(header.height.0),
            Value::Number(position as u64),
            shown(&block.digest()),
            Value::Number(block.round().0),
            author.map_or_else(|| shown(&block.author()), |author| Value::Text(author.name.clone())),
            Value::Number(block.body().timestamp.0),
            Value::Number(received.descriptor.count.into()),
            Value::Number(received.descriptor.bytes.into()),
        ]);
        for ((raw, entry), outcome) in
            received.payload.transactions().zip(received.contents.transactions()).zip(&mut outcomes)
        {
            let at = [Value::Number(header.height.0), Value::Number(receipts.len() as u64)];
            let id = match entry {
                Ok(transaction) => shown(&transaction.id()),
                Err(undecodable) => shown(&undecodable.digest),
            };
            let named = || at.iter().cloned().chain([id.clone()]);
            let what = entry.as_ref().map_or_else(|_| undecodable(), |transaction| decoded(transaction));
            transactions.push(named().chain([shown(&block.digest())]).chain(what).chain([Value::Bytes(raw)]).collect());
            let (outcome, reason, events) = match outcome {
                Outcome::Applied => ("applied", Value::Absent, Value::Absent),
                Outcome::Emitted(events) => ("applied", Value::Absent, shown(events)),
                Outcome::Rejected(reject) => ("rejected", Value::Text(reject.label().to_owned()), Value::Absent),
            };
            receipts.push(named().chain([Value::Text(outcome.to_owned()), reason, events]).collect());
        }
    }
    let emitted = events.iter().flat_map(|(index, events)| {
        let transaction = &receipts[*index as usize][TRANSACTION];
        let at = [Value::Number(header.height.0), Value::Number((*index).into())];
        events.iter().enumerate().map(move |(position, event)| {
            let named = at.iter().cloned().chain([Value::Number(position as u64), transaction.clone()]);
            named.chain(emitted(event)).collect()
        })
    });
    let emitted = emitted.collect();
    [vec![head], blocks, transactions, receipts, emitted]
}

/// Column of the transaction in a row of receipts.
const TRANSACTION: usize = 2;

/// `event` to `data`.
fn emitted(event: &LedgerEvent) -> [Value; 7] {
    let (mut object, mut grant, mut from, mut to, mut quantity) = Default::default();
    let name = match event {
        LedgerEvent::Paid { from: payer, to: payee, amount } => {
            (from, to, quantity) = (Some(payer), Some(payee), Some(amount));
            "paid"
        }
        LedgerEvent::Created { object: made, issuer, owner, quantity: units, .. } => {
            (object, from, to, quantity) = (Some(made), Some(issuer), Some(owner), Some(units));
            "created"
        }
        LedgerEvent::Transferred { object: moved, from: before, to: after, quantity: units } => {
            (object, from, to, quantity) = (Some(moved), Some(before), Some(after), Some(units));
            "transferred"
        }
        LedgerEvent::Split { object: whole, quantity: units, .. } => {
            (object, quantity) = (Some(whole), Some(units));
            "split"
        }
        LedgerEvent::Merged { object: gone, quantity: units, .. } => {
            (object, quantity) = (Some(gone), Some(units));
            "merged"
        }
        LedgerEvent::Burned { object: gone, owner, quantity: units } => {
            (object, from, quantity) = (Some(gone), Some(owner), Some(units));
            "burned"
        }
        LedgerEvent::Granted { grant: given, grantor, grantee, .. } => {
            (grant, from, to) = (Some(given), Some(grantor), Some(grantee));
            "granted"
        }
        LedgerEvent::Revoked { grant: gone, .. } => {
            grant = Some(gone);
            "revoked"
        }
        LedgerEvent::Exercised { grant: used, .. } => {
            grant = Some(used);
            "exercised"
        }
    };
    let data = serde_json::to_string(event).expect("numbers and text have a JSON form");
    [
        Value::Text(name.to_owned()),
        object.map_or(Value::Absent, shown),
        grant.map_or(Value::Absent, shown),
        from.map_or(Value::Absent, shown),
        to.map_or(Value::Absent, shown),
        quantity.map_or(Value::Absent, |units: &Amount| Value::Amount(*units)),
        Value::Text(data),
    ]
}

/// `kind` to `steps` of bytes that are no transaction.
fn undecodable() -> Vec<Value> {
    let mut values = vec![Value::Absent; 11];
    values[0] = Value::Text("undecodable".to_owned());
    values
}

/// `kind` to `steps` of a transaction.
fn decoded(transaction: &Transaction) -> Vec<Value> {
    let body = transaction.body();
    let (mut to, mut amount, mut document, mut memo, mut change, mut steps) = Default::default();
    let kind = match body {
        TransactionBody::Transfer { to: receiver, amount: moved, memo: free } => {
            (to, amount, memo) = (Some(receiver.to_string()), Some(*moved), Some(free.clone()));
            "transfer"
        }
        TransactionBody::Certify { document: digest, memo: free } => {
            (document, memo) = (Some(digest.to_string()), Some(free.clone()));
            "certify"
        }
        TransactionBody::Govern { change: approved, .. } => {
            change = serde_json::to_string(approved).ok();
            "govern"
        }
        TransactionBody::Call(call) => {
            (steps, memo) = (serde_json::to_string(&call.steps).ok(), Some(call.memo.clone()));
            "call"
        }
    };
    vec![
        Value::Text(kind.to_owned()),
        shown(&transaction.sender()),
        shown(&transaction.key().alg()),
        Value::Number(transaction.valid_until().0),
        Value::Number(transaction.nonce()),
        to.map_or(Value::Absent, Value::Text),
        amount.map_or(Value::Absent, Value::Amount),
        document.map_or(Value::Absent, Value::Text),
        memo.filter(|memo: &Bytes| !memo.is_empty()).map_or(Value::Absent, Value::Bytes),
        change.map_or(Value::Absent, Value::Text),
        steps.map_or(Value::Absent, Value::Text),
    ]
}

fn shown(what: &impl ToString) -> Value {
    Value::Text(what.to_string())
}
