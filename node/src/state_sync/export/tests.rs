//! Copied snapshots, undamaged and damaged. Only what `verify` gives can be restored, so what it refuses is in no database;
//! what it accepts is restored here, and compared row by row with what the undamaged snapshot gives.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over, pack_to};
use crate::state_sync::certified::Unproven;
use crate::tables::Tables;
use crate::wire::state::{Certified, CommitWithHeaders};
use ledger::{Account, LtHash};
use storage::state::{Family, StateDb, StateOptions};
use tempfile::TempDir;
use types::{
    Address, Amount, Anchor, Committee, Decode, Digest, Encode, Epoch, EpochChange, EpochChangeError, EpochStart,
    LedgerHeader, Parameters,
};

const IDENTITY: [u8; 32] = [5; 32];
const FILES: [&str; 3] = [INDEX, CHUNKS, CERTIFIED];

/// Which snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In the middle of the first epoch, with commits below.
    Middle,
    /// Of the last height of the first epoch, proven in the second.
    Anchor,
    /// Of genesis, for which nobody votes.
    Genesis,
}

const KINDS: [Kind; 3] = [Kind::Middle, Kind::Anchor, Kind::Genesis];

/// A snapshot in a directory, of so many accounts.
fn snapshot(kind: Kind, accounts: u32, units: u128) -> (TempDir, Vouched) {
    let mut accounts: Vec<_> = (0..accounts)
        .map(|index| {
            let address = Address::from_bytes(*Digest::sha256(&index.to_le_bytes()).as_bytes());
            (address, Account { balance: Amount(units), transfers_out: 0 })
        })
        .collect();
    accounts.sort_unstable_by_key(|(address, _)| *address);
    let state = accounts.iter().map(|(address, account)| ((*address).into(), (*account).into()));
    let below = commits(12);
    let mut header = header_over(&below);
    header.state_digest = LtHash::of_state(state, [], &Default::default()).digest();
    if kind == Kind::Genesis {
        (header.height, header.commit) = (Height(0), Digest::ZERO);
    }
    let mut epochs = Vec::new();
    let mut root = LedgerHeader { height: Height(header.height.0 + 8), ..header.clone() };
    if kind == Kind::Anchor {
        let change = second_epoch(&mut header);
        (root.epoch, root.committee) = (Epoch(2), change.start.committee.digest());
        epochs.push(change);
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    root.state_root = pack_to(dir.path(), &accounts, &header).root();
    let with_headers = |(record, headers): &(types::CommitRecord, Vec<Arc<types::BlockHeader>>)| CommitWithHeaders {
        record: record.clone(),
        headers: headers.iter().map(|header| header.raw().clone()).collect(),
    };
    let needed = if kind == Kind::Middle { &below[..] } else { &[] };
    let commits = Some(needed.iter().rev().map(with_headers).collect());
    let root = Some((root.clone(), certificate(&root)));
    let certificate = match kind {
        Kind::Genesis => Certified::genesis_certificate(&header),
        Kind::Middle | Kind::Anchor => certificate(&header),
    };
    let vouched = Vouched { certified: Certified { header, certificate, root }, epochs, commits };
    vouch(dir.path(), &vouched);
    (dir, vouched)
}

/// The header becomes the last one of its epoch.
fn second_epoch(header: &mut LedgerHeader) -> EpochChange {
    let genesis = genesis();
    let authorities = genesis.committee().expect("four validators").authorities().to_vec();
    let committee = Committee::new(Epoch(2), authorities).expect("the same");
    let parameters = Parameters { gc_depth_rounds: 200, ..genesis.parameters };
    header.next_committee = Some(EpochStart::digest_of(&committee, &parameters));
    let start = EpochStart { committee, parameters, anchor: Anchor::of(header) };
    EpochChange { start, last: header.clone(), certificate: certificate(header) }
}

fn vouch(dir: &Path, vouched: &Vouched) {
    std::fs::write(dir.join(CERTIFIED), vouched.to_bytes()).expect("room");
}

fn verified(dir: &Path) -> Result<Verified, ExportError> {
    verify(dir, &genesis(), &mut |_, _| ())
}

/// All rows of the database that a snapshot becomes.
fn installed(verified: &Verified) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let dir = tempfile::tempdir().expect("temporary directory");
    restore(verified, dir.path(), IDENTITY, &mut |_, _| ()).expect("what is verified can be restored");
    rows(dir.path(), verified.pack.height())
}

/// All rows of the database of a node whose state is behind this height.
fn rows(data_dir: &Path, height: Height) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let state = StateDb::open(data_dir.join(STATE), IDENTITY, StateOptions::default()).expect("a database");
    let tables = Tables::new(Arc::new(state));
    let applied = tables.applied().expect("readable").expect("a state");
    assert_eq!(applied.ledger.height(), height);
    let (database, mut rows) = (tables.database(), Vec::new());
    for family in Family::ALL {
        let snapshot = database.snapshot();
        let family_rows = snapshot.iterate_all(family).map(|row| row.expect("readable"));
        rows.extend(family_rows.map(|(key, value)| (family, key.to_vec(), value.to_vec())));
    }
    rows
}

/// The refusal names the file, and says what to do.
fn assert_helps(error: &ExportError, file: &str, what: &str) {
    assert!(error.to_string().contains(file), "{what}: {error}");
    assert!(error.help().is_some(), "{what}: {error}");
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("a file")
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).expect("room");
}

/// Bits of a file: one in each of the first bytes, and in some of those behind them.
fn bits(bytes: usize, all_up_to: usize, step: usize) -> impl Iterator<Item = (usize, u8)> {
    let behind = (all_up_to..bytes).step_by(step);
    (0..bytes.min(all_up_to))
        .chain(behind)
        .map(|at| (at, 1 << (Digest::sha256(&(at as u64).to_le_bytes()).as_bytes()[0] % 8)))
}

/// Flips bits of a file one at a time. Gives how many of them were accepted, all of which changed nothing.
fn flip(dir: &Path, name: &str, all_up_to: usize, step: usize) -> usize {
    let whole = read(dir, name);
    let undamaged = installed(&verified(dir).expect("an honest snapshot"));
    let mut accepted = 0;
    for (at, bit) in bits(whole.len(), all_up_to, step) {
        let mut altered = whole.clone();
        altered[at] ^= bit;
        write(dir, name, &altered);
        match verified(dir) {
            Ok(verified) => {
                assert!(installed(&verified) == undamaged, "{name}: byte {at}, bit {bit:#x}");
                accepted += 1;
            }
            Err(error) => assert_helps(&error, name, &format!("byte {at}, bit {bit:#x}")),
        }
    }
    write(dir, name, &whole);
    accepted
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused_with_the_name_of_its_file() {
    for kind in KINDS {
        let (dir, _) = snapshot(kind, 20, 7);
        for name in [CERTIFIED, INDEX] {
            assert_eq!(flip(dir.path(), name, 3_072, 7), 0, "{kind:?}: {name}");
        }
        // Snappy has several forms for the same rows, and only the rows are signed: a flip that leads to them changes nothing.
        flip(dir.path(), CHUNKS, 4_096, 5);
    }
    let (dir, _) = snapshot(Kind::Middle, 10_000, 7);
    assert!(Pack::open(dir.path()).expect("it is whole").manifest().chunks.len() > 2);
    flip(dir.path(), CHUNKS, 3, 10_007);
    assert_eq!(flip(dir.path(), INDEX, 4_096, 1), 0);
}

#[test]
fn files_that_are_cut_longer_gone_or_of_another_snapshot_are_refused() {
    for kind in KINDS {
        let (dir, _) = snapshot(kind, 20, 7);
        let (dir, other) = (dir.path(), snapshot(kind, 20, 8).0);
        for name in FILES {
            let whole = read(dir, name);
            let cuts = [0, 1, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
            for altered in cuts.into_iter().chain([[&whole[..], &[0]].concat(), [&whole[..], &whole[..]].concat()]) {
                write(dir, name, &altered);
                assert_helps(&verified(dir).expect_err("altered"), name, "another length");
            }
            // Of two snapshots, either one file or two of the other one.
            write(dir, name, &read(other.path(), name));
            assert!(verified(dir).expect_err("mixed").help().is_some());
            write(other.path(), name, &whole);
            assert!(verified(other.path()).expect_err("mixed").help().is_some());
            write(other.path(), name, &read(dir, name));
            std::fs::remove_file(dir.join(name)).expect("it is there");
            assert_helps(&verified(dir).expect_err("gone"), name, "gone");
            write(dir, name, &whole);
        }
        let undamaged = installed(&verified(dir).expect("as it was"));
        write(dir, "index.part", b"what an interrupted copy has left");
        assert!(installed(&verified(dir).expect("nobody reads it")) == undamaged);
    }
}

#[test]
fn a_snapshot_of_another_ledger_or_a_newer_format_or_none_is_refused() {
    for kind in KINDS {
        let (dir, _) = snapshot(kind, 20, 7);
        let other = Genesis { name: "another ledger".into(), ..genesis() };
        let error = verify(dir.path(), &other, &mut |_, _| ()).expect_err("another ledger");
        let expected = match kind {
            Kind::Middle | Kind::Genesis => {
                matches!(error, ExportError::Vouched { source: VouchedError::NotProven(Unproven::OtherLedger), .. })
            }
            Kind::Anchor => {
                matches!(error, ExportError::Vouched { source: VouchedError::Epoch(EpochChangeError::OtherEpoch), .. })
            }
        };
        assert!(expected, "{error}");
        let mut index = read(dir.path(), INDEX);
        index[0] += 1;
        write(dir.path(), INDEX, &index);
        let error = verified(dir.path()).expect_err("a newer format");
        assert!(matches!(error, ExportError::Pack(PackError::Version { found: 3, .. })), "{error}");
    }
    let nowhere = Path::new("/nonexistent/snapshot");
    assert!(matches!(verified(nowhere), Err(ExportError::NoDirectory(path)) if path == nowhere));
    let empty = tempfile::tempdir().expect("temporary directory");
    assert!(matches!(verified(empty.path()), Err(ExportError::Missing(path)) if path == empty.path().join(INDEX)));
    assert!(matches!(snapshots_of(empty.path()), Err(ExportError::NoData(path)) if path == empty.path()));
    std::fs::create_dir(empty.path().join(LOG)).expect("room");
    assert_eq!(snapshots_of(empty.path()).ok(), Some(empty.path().join(SNAPSHOTS)));
}

/// What a forger does, who has keys of no validator but can make every digest anew.
type Forge = fn(&mut Vouched);

#[test]
fn what_no_quorum_has_signed_is_refused_however_well_it_is_put_together() {
    let forgeries: [(&str, Kind, Forge); 11] = [
        ("too few signed the header", Kind::Middle, |forged| forged.certified.certificate.statements.truncate(2)),
        ("too few signed the header before an epoch", Kind::Anchor, |forged| {
            forged.certified.certificate.statements.truncate(2);
        }),
        ("too few signed the root", Kind::Middle, |forged| {
            forged.certified.root.as_mut().expect("a root").1.statements.truncate(2);
        }),
        ("no root", Kind::Middle, |forged| forged.certified.root = None),
        ("no root of an anchor", Kind::Anchor, |forged| forged.certified.root = None),
        ("an epoch without its proof", Kind::Anchor, |forged| forged.epochs.clear()),
        ("an epoch that is not that of the root", Kind::Middle, |forged| {
            let mut last = LedgerHeader { height: Height(40), ..forged.certified.header.clone() };
            forged.epochs.push(second_epoch(&mut last));
        }),
        ("votes for genesis", Kind::Genesis, |forged| {
            forged.certified.certificate = certificate(&forged.certified.header);
        }),
        ("no root of genesis", Kind::Genesis, |forged| forged.certified.root = None),
        ("a commit too few", Kind::Middle, |forged| drop(forged.commits.as_mut().expect("commits").pop())),
        ("a commit too many", Kind::Anchor, |forged| forged.commits = snapshot(Kind::Middle, 1, 1).1.commits),
    ];
    for (what, kind, forge) in forgeries {
        let (dir, mut vouched) = snapshot(kind, 20, 7);
        forge(&mut vouched);
        vouch(dir.path(), &vouched);
        assert_helps(&verified(dir.path()).expect_err(what), CERTIFIED, what);
    }
    let (dir, mut vouched) = snapshot(Kind::Middle, 20, 7);
    vouched.commits = None;
    vouch(dir.path(), &vouched);
    assert!(matches!(verified(dir.path()), Err(ExportError::NoCommits(_))));
}

#[test]
fn a_history_that_is_longer_than_an_answer_of_a_peer_is_read_again() {
    let (_, mut vouched) = snapshot(Kind::Middle, 1, 7);
    let commit = vouched.commits.as_ref().expect("commits")[0].clone();
    vouched.commits = Some(vec![commit; crate::wire::state::HISTORY_MAX + 1]);
    assert!(Vouched::from_bytes(&vouched.to_bytes()).expect("what was written") == vouched);
}

#[test]
fn a_restore_that_was_interrupted_is_begun_anew_even_with_another_snapshot() {
    let data = tempfile::tempdir().expect("temporary directory");
    let (first, second) = (snapshot(Kind::Middle, 30, 7).0, snapshot(Kind::Middle, 20, 8).0);
    let (first, second) = (verified(first.path()).expect("honest"), verified(second.path()).expect("honest"));
    // Killed before the database is put in its place.
    let site = Site::new(data.path());
    site.prepare().expect("room");
    site.build(IDENTITY, &first.config, &first.base, &first.pack.root(), &mut first.pack.stream(|_, _| ()))
        .expect("a good state");
    assert!(site.is_whole());
    restore(&second, data.path(), IDENTITY, &mut |_, _| ()).expect("an honest snapshot");
    assert!(rows(data.path(), Height(12)) == installed(&second), "and nothing of the first");
    let again = restore(&second, data.path(), IDENTITY, &mut |_, _| ());
    assert_eq!(again.expect("it is there"), second.pack.manifest().summary.rows);
    assert!(matches!(restore(&first, data.path(), IDENTITY, &mut |_, _| ()), Err(ExportError::InUse(_))));
}
