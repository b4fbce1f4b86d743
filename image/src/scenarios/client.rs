//! Clients of a ledger on the host: accounts, and the host's `stele tx`, a process for each transaction.

use crate::dev_ledger;
use crate::failure::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What each account has from the start.
const BALANCE: u64 = 1_000_000;

/// An account with money.
#[derive(Debug)]
pub(super) struct Account {
    folder: PathBuf,
    name: String,
    pub(super) address: String,
}

impl Account {
    /// Makes its key.
    pub(super) fn new(stele: &Path, folder: &Path, name: &str) -> Result<Self, Failure> {
        let [key, passphrase] = ["key", "pass"].map(|kind| format!("{name}.{kind}"));
        let words = ["key", "generate", "--out", &key, "--passphrase-file", &passphrase, "--new-passphrase", "--json"];
        let printed = parse(&dev_ledger::run(stele, &words, folder)?)?;
        let address = printed["address"].as_str().unwrap_or_default().to_owned();
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), address })
    }

    /// As a genesis has it.
    pub(super) fn in_genesis(&self) -> String {
        format!("{}={BALANCE}", self.address)
    }

    /// Begins to send one unit, and to wait for the receipt.
    pub(super) fn send(&self, stele: &Path, rpc: &str, to: &str, memo: &str) -> Result<Child, Failure> {
        let [key, passphrase] = ["key", "pass"].map(|kind| format!("{}.{kind}", self.name));
        let mut command = Command::new(stele);
        command.current_dir(&self.folder).args(["tx", "--rpc", rpc, "--json", "transfer", "--to", to, "--amount", "1"]);
        command.args(["--memo", memo, "--key", &key, "--passphrase-file", &passphrase]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(Failure::io("starting stele"))
    }

    /// Sends and waits; the receipt.
    pub(super) fn transfer(&self, stele: &Path, rpc: &str, to: &str, memo: &str) -> Result<Value, Failure> {
        let output = self.send(stele, rpc, to, memo)?.wait_with_output().map_err(Failure::io("waiting for stele"))?;
        if !output.status.success() {
            return Err(Failure::content(format!("a transfer over {rpc}"), String::from_utf8_lossy(&output.stderr)));
        }
        parse(&String::from_utf8_lossy(&output.stdout))
    }
}

/// Clients that send.
pub(super) struct Load<'a> {
    pub(super) stele: &'a Path,
    pub(super) rpc: &'a str,
    pub(super) accounts: &'a [Account],
    /// Bytes of a transaction's memo.
    pub(super) memo_bytes: usize,
    /// What was acknowledged.
    pub(super) receipts: Mutex<Vec<Value>>,
    pub(super) stop: AtomicBool,
}

impl Load<'_> {
    /// Until `enough` says so of the number of receipts, or the time is over. `end` is done before anybody is told to stop.
    pub(super) fn until(
        self,
        mut enough: impl FnMut(usize) -> bool,
        patience: Duration,
        end: impl FnOnce(),
    ) -> Vec<Value> {
        std::thread::scope(|scope| {
            (0..self.accounts.len()).for_each(|place| {
                drop(scope.spawn({
                    let load = &self;
                    move || load.keep_sending(place)
                }))
            });
            let deadline = Instant::now() + patience;
            while !enough(self.received()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            end();
            self.stop.store(true, Ordering::Relaxed);
        });
        self.receipts.into_inner().unwrap_or_else(|poison| poison.into_inner())
    }

    fn received(&self) -> usize {
        self.receipts.lock().unwrap_or_else(|poison| poison.into_inner()).len()
    }

    /// One account sends to the one after it. Whatever is under way when all are told to stop is given up.
    fn keep_sending(&self, place: usize) {
        let Self { stele, rpc, accounts, receipts, stop, .. } = self;
        let (account, next) = (&accounts[place], &accounts[(place + 1) % accounts.len()]);
        for number in 0.. {
            let memo = format!("{number:0width$}", width = self.memo_bytes);
            let Ok(mut child) = account.send(stele, rpc, &next.address, &memo) else { return };
            while matches!(child.try_wait(), Ok(None)) {
                if stop.load(Ordering::Relaxed) {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let output = child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
            if let Ok(receipt) = parse(&String::from_utf8_lossy(&output)) {
                receipts.lock().unwrap_or_else(|poison| poison.into_inner()).push(receipt);
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// What a node answers to a question of `stele tx`.
pub(super) fn ask(stele: &Path, rpc: &str, question: &[&str]) -> Result<Value, Failure> {
    parse(&dev_ledger::run(stele, &[&["tx", "--rpc", rpc, "--json"], question].concat(), Path::new("."))?)
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::content("an answer of stele", error))
}
