//! A database out of a file, and the exchange with crashes in between.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over, ledger};
use ledger::{Account, LtHash};
use types::snapshot::{RowKind, put_row};
use types::{Address, Amount, AuthorityIndex, Digest, Encode};

const IDENTITY: [u8; 32] = [5; 32];
/// Of the manifest that the rows are from.
const ROOT: Digest = Digest::ZERO;

fn config() -> Config {
    let (chain, committee) = ledger();
    let genesis = genesis();
    Config {
        chain,
        committee,
        me: AuthorityIndex(3),
        anchor: types::Anchor::genesis(genesis.timestamp()),
        parameters: genesis.parameters,
        pacing: consensus::Pacing::default(),
    }
}

/// A site, the base for a state of one account, and the rows of that.
fn site(dir: &Path) -> (Site, Base, Vec<u8>) {
    let site = Site::new(dir);
    site.prepare().expect("a directory");
    let (address, account) = (Address::from_bytes([4; 32]), Account { balance: Amount(77), transfers_out: 0 });
    let mut rows = Vec::new();
    put_row(&mut rows, RowKind::Value, address.as_bytes(), &account.to_bytes());
    let commits = commits(30);
    let mut header = header_over(&commits);
    header.state_digest = LtHash::of_state([(address.into(), account.into())], [], &Default::default()).digest();
    let base = Base {
        certificate: Some(certificate(&header)),
        header,
        commits,
        epochs: Vec::new(),
        first: Height(1),
        replay_from: 0,
    };
    (site, base, rows)
}

fn state_of(dir: &Path) -> Tables {
    Tables::new(Arc::new(StateDb::open(dir.join("state"), IDENTITY, StateOptions::default()).expect("a database")))
}

fn old_state(dir: &Path) {
    let tables = state_of(dir);
    let mut batch = tables.batch();
    batch.value(&Address::from_bytes([1; 32]).into(), Some(&Account::default().into()));
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a flush");
}

fn assert_new(dir: &Path) {
    let tables = state_of(dir);
    let applied = tables.applied().expect("a row").expect("a state");
    assert_eq!(applied.ledger.height(), Height(30));
    assert_eq!(applied.consensus.map(|checkpoint| checkpoint.height), Some(Height(30)));
    assert_eq!(tables.synced().expect("a row"), Some((Height(1), Height(30))));
    let account = tables.value(&Address::from_bytes([4; 32]).into()).expect("a row");
    assert_eq!(account.and_then(|value| value.account()).map(|account| account.balance), Some(Amount(77)));
    assert_eq!(tables.value(&Address::from_bytes([1; 32]).into()).expect("a row"), None);
    assert!(!dir.join("sync").exists());
}

#[test]
fn a_state_takes_the_place_of_the_old_one() {
    let dir = tempfile::tempdir().expect("temporary directory");
    old_state(dir.path());
    let (site, base, rows) = site(dir.path());
    assert!(!site.exchange().expect("nothing to do"));
    site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]).expect("a good state");
    assert!(site.exchange().expect("directories"));
    assert_new(dir.path());
    assert!(!site.exchange().expect("nothing to do"));
}

#[test]
fn a_crash_during_the_exchange_is_made_good_by_the_next_start() {
    for renames in 0..=2 {
        let dir = tempfile::tempdir().expect("temporary directory");
        old_state(dir.path());
        let (site, base, rows) = site(dir.path());
        site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]).expect("a good state");
        let (sync, used) = (dir.path().join("sync"), dir.path().join("state"));
        if renames > 0 {
            std::fs::rename(&used, sync.join("old")).expect("a rename");
        }
        if renames > 1 {
            std::fs::rename(sync.join("state"), &used).expect("a rename");
        }
        assert!(site.exchange().expect("directories"), "after {renames} renames");
        assert_new(dir.path());
    }
}

#[test]
fn a_state_that_is_not_the_headers_is_never_whole() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (site, mut base, rows) = site(dir.path());
    base.header.state_digest = Digest::ZERO;
    let error = site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]).expect_err("another state");
    assert!(matches!(error, InstallError::OtherState), "{error}");
    assert!(!site.is_whole());
}

#[test]
fn a_database_that_is_made_anew_is_not_whole_before_its_end_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (site, mut base, rows) = site(dir.path());
    site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]).expect("a good state");
    assert!(site.is_whole(), "and whoever exchanges them dies");
    base.header.state_digest = Digest::ZERO;
    site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]).expect_err("it ends in the middle");
    assert!(!site.is_whole() && !site.exchange().expect("nothing to do"));
    site.clear().expect("a directory");
    site.clear().expect("nothing to do");
}

#[test]
fn commits_that_do_not_reach_down_or_up_are_not_enough() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (site, mut base, rows) = site(dir.path());
    base.commits.remove(0);
    assert!(matches!(site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]), Err(InstallError::History)));
    base.commits = commits(29);
    assert!(matches!(site.build(IDENTITY, &config(), &base, &ROOT, &mut &rows[..]), Err(InstallError::History)));
    assert!(!site.is_whole());
}

/// Rows, and then the end of whoever reads them.
struct Killed<'a>(&'a [u8]);

impl Read for Killed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::other("killed")) } else { self.0.read(buffer) }
    }
}

#[test]
fn a_build_that_was_interrupted_goes_on_and_one_of_another_state_begins_anew() {
    const ACCOUNTS: u32 = 60_000;
    let dir = tempfile::tempdir().expect("temporary directory");
    let (site, mut base, _) = site(dir.path());
    let account = |index: u32| {
        let mut address = [7; 32];
        address[..4].copy_from_slice(&index.to_be_bytes());
        (Address::from_bytes(address), Account { balance: Amount(1 + u128::from(index)), transfers_out: 0 })
    };
    let mut rows = Vec::new();
    for (address, account) in (0..ACCOUNTS).map(account) {
        put_row(&mut rows, RowKind::Value, address.as_bytes(), &account.to_bytes());
    }
    let accounts = (0..ACCOUNTS).map(account).map(|(address, account)| (address.into(), account.into()));
    base.header.state_digest = LtHash::of_state(accounts, [], &Default::default()).digest();
    base.certificate = Some(certificate(&base.header));
    let build = |root: &Digest, input: &mut dyn Read| site.build(IDENTITY, &config(), &base, root, &mut { input });

    let cut = rows.len() * 2 / 3;
    build(&ROOT, &mut Killed(&rows[..cut])).expect_err("it ends in the middle");
    build(&Digest::sha256(b"another manifest"), &mut Killed(&rows[..0])).expect_err("it ends at once");
    assert_eq!(build(&ROOT, &mut Killed(&rows[..cut])).map_err(|_| "killed"), Err("killed"), "begun anew");
    build(&ROOT, &mut Killed(&rows[..cut])).expect_err("killed again, behind the rows that are there");
    let held = build(&ROOT, &mut &rows[..]).expect("a good state");
    assert!((1..u64::from(ACCOUNTS)).contains(&held), "{held}");
    assert!(site.exchange().expect("directories"));
    let tables = state_of(dir.path());
    for (address, account) in (0..ACCOUNTS).map(account) {
        assert_eq!(tables.value(&address.into()).expect("a row").and_then(|value| value.account()), Some(account));
    }
    drop(tables);
    let database = StateDb::open(dir.path().join("state"), IDENTITY, StateOptions::default()).expect("a database");
    assert_eq!(database.get(Family::Meta, BEGUN_KEY).expect("a row"), None);
}
