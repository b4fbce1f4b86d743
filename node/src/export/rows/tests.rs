//! Who reads docs/export.md finds every column, kind and event there, and none that is not.

use super::*;
use crate::fixtures::{account, genesis, ledger};
use std::collections::BTreeSet;
use types::{Amount, Call, Change, Digest, Epoch, GrantId, ObjectId, Step, TimestampMs};

const DOCUMENT: &str = include_str!("../../../../docs/export.md");

/// First and second cell of the rows under the heading of a table.
fn documented(table: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let heading = format!("\n## {table}: ");
    let (_, section) = DOCUMENT.split_once(&heading).unwrap_or_else(|| panic!("docs/export.md has no {table}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row[1..].split_once('|').expect("a row of two cells"))
        .map(|(first, second)| (quoted(first), quoted(second)))
        .collect()
}

/// What the document names as values of a column.
fn values(table: &str, column: &str) -> BTreeSet<String> {
    let row = documented(table).into_iter().find(|(columns, _)| columns == &[column]);
    row.unwrap_or_else(|| panic!("{column} has no row of its own")).1.into_iter().collect()
}

fn text(value: &Value) -> String {
    let Value::Text(text) = value else { panic!("{value:?}") };
    text.clone()
}

#[test]
fn every_column_is_documented_in_its_place() {
    for table in TABLES {
        let found: Vec<String> = documented(table.name).into_iter().flat_map(|(columns, _)| columns).collect();
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        assert_eq!(found, columns, "{}", table.name);
    }
}

#[test]
fn every_kind_of_transaction_is_documented() {
    let (sender, memo) = (account(0).public_key().address(), Bytes::from_static(b"memo"));
    let change = Change::Parameters { parameters: genesis().parameters };
    let call =
        Call::new(&sender, Vec::new(), vec![Step::Pay { from: sender, to: sender, amount: Amount(1) }], memo.clone());
    let bodies = [
        TransactionBody::Transfer { to: sender, amount: Amount(1), memo: memo.clone() },
        TransactionBody::Certify { document: Digest::ZERO, memo },
        TransactionBody::Govern { epoch: Epoch(1), change: Box::new(change) },
        TransactionBody::Call(Box::new(call)),
    ];
    let signed = bodies.map(|body| Transaction::sign(&ledger().0, &account(0), 1, 1, body).expect("a transaction"));
    let rows = signed.iter().map(decoded).chain([undecodable()]);
    assert_eq!(rows.map(|row| text(&row[0])).collect::<BTreeSet<_>>(), values("transactions", "kind"));
}

#[test]
fn every_event_is_documented() {
    let at = account(0).public_key().address();
    let (object, grant, none) = (ObjectId::issued(&at, 1), GrantId::of(&at, &at, &Digest::ZERO), Digest::ZERO);
    let (part, expires) = (ObjectId::part(&object, 1), TimestampMs(1));
    let events = [
        LedgerEvent::Paid { from: at, to: at, amount: Amount(1) },
        LedgerEvent::Created { object, asset: none, issuer: at, owner: at, quantity: Amount(1), content: none },
        LedgerEvent::Transferred { object, from: at, to: at, quantity: Amount(1) },
        LedgerEvent::Split { object, part, quantity: Amount(1), left: Amount(1) },
        LedgerEvent::Merged { object, into: part, quantity: Amount(1) },
        LedgerEvent::Burned { object, owner: at, quantity: Amount(1) },
        LedgerEvent::Granted { grant, grantor: at, grantee: at, resource: none, rights: 1, expires },
        LedgerEvent::Revoked { grant, rights: 1 },
        LedgerEvent::Exercised { grant, rights: 1, purpose: none },
    ];
    let names: BTreeSet<String> = events.iter().map(|event| text(&super::emitted(event)[0])).collect();
    assert_eq!((names.len(), &names), (events.len(), &values("events", "event")));
}
