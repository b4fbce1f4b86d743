//! A state written down and read back, and what is no state.

use super::*;
use ledger::Account;
use std::io::Cursor;
use storage::state::{StateDb, StateOptions};
use types::{Address, Amount, Digest, Height, Object, ObjectId, ObjectRights, TimestampMs, TransactionId};

fn account(seed: u8) -> (Address, Account) {
    (Address::from_bytes([seed; 32]), Account { balance: Amount(u128::from(seed) * 10), transfers_out: 1 })
}

/// Between the accounts, by its key.
fn object() -> (StateKey, Value) {
    let (owner, content) = (Address::from_bytes([1; 32]), Digest::sha256(b"what it is"));
    let rights = ObjectRights { transferable: true, divisible: false };
    let object = Object { owner, issuer: owner, asset: content, content, quantity: Amount(1), rights };
    (ObjectId::from_bytes([4; 32]).into(), object.into())
}

fn bucket(height: u64) -> LiveBucket {
    let ids = (0..height).map(|index| TransactionId(Digest::sha256(&index.to_le_bytes()))).collect();
    LiveBucket { height: Height(height), max_valid_until: TimestampMs(height), ids }
}

fn written() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let db = StateDb::open(dir.path(), [1; 32], StateOptions::default()).expect("a new database");
    let tables = crate::tables::Tables::new(std::sync::Arc::new(db));
    let mut batch = tables.batch();
    for seed in [9, 3, 200] {
        let (address, account) = account(seed);
        batch.value(&address.into(), Some(&account.into()));
    }
    let (key, value) = object();
    batch.value(&key, Some(&value));
    [bucket(5_000), bucket(2)].iter().for_each(|bucket| batch.live_bucket(bucket));
    tables.commit(batch).expect("a batch");
    let database = tables.database();
    let mut out = Vec::new();
    write(&database.snapshot(), &Approvals::default(), &mut out).expect("a state");
    out
}

fn read_all(bytes: &[u8]) -> Result<(Vec<Row>, Total), StreamError> {
    let mut rows = Vec::new();
    let total = read(&mut Cursor::new(bytes), |row| {
        rows.push(row);
        Ok::<_, StreamError>(())
    })?;
    Ok((rows, total))
}

fn row(tag: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let part = |part: &[u8]| [&(part.len() as u32).to_le_bytes(), part].concat();
    [&[tag][..], &part(key), &part(value)].concat()
}

fn account_row(seed: u8, units: u128) -> Vec<u8> {
    row(1, &[seed; 32], &Account { balance: Amount(units), transfers_out: 0 }.to_bytes())
}

#[test]
fn a_state_reads_back_in_order_with_the_sum_that_the_ledger_has() {
    let (rows, total) = read_all(&written()).expect("a state");
    let firsts: Vec<_> = rows.iter().map(|row| (row.family, row.key[0], row.key.len())).collect();
    assert_eq!(
        firsts[..4],
        [(3, 32), (4, 33), (9, 32), (200, 32)].map(|(seed, length)| (Family::Accounts, seed, length))
    );
    assert!(firsts[4..].iter().all(|(family, _, length)| (*family, *length) == (Family::LiveIds, 8)));
    let (accounts, buckets) = ([3, 9, 200].map(account), [bucket(2), bucket(5_000)]);
    let values = accounts.into_iter().map(|(address, account)| (address.into(), account.into())).chain([object()]);
    let expected = LtHash::of_state(values, &buckets, &Default::default());
    assert_eq!(total.sum, expected);
    assert_eq!((total.live_buckets, total.live_ids), (2, 5_002));
}

/// A key that stands twice would be summed twice and stored once, and 2^16 times the same element are no element.
#[test]
fn keys_that_do_not_rise_are_no_state() {
    assert!(read_all(&[account_row(1, 5), account_row(2, 5)].concat()).is_ok());
    for rows in [[account_row(1, 5), account_row(1, 6)], [account_row(2, 5), account_row(1, 5)]] {
        let error = read_all(&rows.concat()).expect_err("out of order");
        assert!(matches!(error, StreamError::Row { row: 1, what: "keys do not rise" }), "{error}");
    }
}

#[test]
fn bytes_that_are_no_rows_are_refused_without_reserving_what_they_promise() {
    let whole = written();
    let (rows, _) = read_all(&whole).expect("a state");
    let mut ends = 0;
    for length in 0..whole.len().min(400) {
        ends += usize::from(read_all(&whole[..length]).is_ok());
    }
    assert!(ends <= rows.len() + 1, "only between rows does a state end");
    for length in [65, u32::MAX] {
        let huge = [&[1][..], &length.to_le_bytes()].concat();
        assert!(matches!(read_all(&huge), Err(StreamError::Row { what: "it is too long", .. })));
    }
    let promised = [&[1][..], &64u32.to_le_bytes(), &[0; 8]].concat();
    assert!(matches!(read_all(&promised), Err(StreamError::Row { what: "it ends early", .. })));
    assert!(matches!(read_all(&row(9, &[1; 32], &[])), Err(StreamError::Row { what: "unknown tag", .. })));
    assert!(matches!(
        read_all(&row(1, &[1; 31], &[0; 16])),
        Err(StreamError::Row { what: "its key is none of a state", .. })
    ));
    assert!(matches!(read_all(&row(1, &[1; 32], &[0; 15])), Err(StreamError::Row { what: "it does not decode", .. })));
    let part = |height: u64, part: u32| [&height.to_be_bytes()[..], &part.to_be_bytes()].concat();
    let whole = types::Encode::to_bytes(&bucket(8));
    let misplaced = row(2, &part(7, 0), &whole);
    assert!(matches!(read_all(&misplaced), Err(StreamError::Row { what: "its key is not its height", .. })));
    assert!(read_all(&row(2, &part(8, 0), &whole)).is_ok());
    let apart = "parts do not follow each other";
    let long = vec![0; ROW_VALUE_BYTES_MAX];
    for rows in [
        row(2, &part(8, 1), &whole),
        [row(2, &part(8, 0), &whole), row(2, &part(8, 1), &whole)].concat(),
        [row(2, &part(8, 0), &long), row(2, &part(8, 2), &whole)].concat(),
        [row(2, &part(8, 0), &long), row(2, &part(9, 1), &whole)].concat(),
    ] {
        assert!(matches!(read_all(&rows), Err(StreamError::Row { what, .. }) if what == apart));
    }
    assert!(matches!(
        read_all(&row(2, &part(8, 0), &[0; ROW_VALUE_BYTES_MAX + 1])),
        Err(StreamError::Row { what: "its length is none of a part", .. })
    ));
}
