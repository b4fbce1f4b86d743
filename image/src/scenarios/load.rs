//! The power is cut while clients send: whatever they were told is final is final after the next start.

use super::client::{Account, Load, ask};
use super::{Bench, START, expect, number, write_log};
use crate::boot::{Accel, Emulation, Network, free_port};
use crate::dev_ledger::RPC_PORT;
use crate::failure::Failure;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// Clients, each with one transaction under way at a time.
const CLIENTS: usize = 4;
/// Receipts that are waited for before each cut.
const RECEIPTS: usize = 24;
/// Cuts, with a start after each.
const CUTS: usize = 2;

/// The cut takes the disk's write cache with it: of what the machine has written, the next start finds what it had flushed.
pub(super) fn cut_under_load(bench: &Bench) -> Result<(), Failure> {
    let (mut machine, accounts, rpc) = prepared(bench, "load")?;
    let folder = machine.folder.clone();
    let (log, before) = (folder.join("writes.log"), folder.join("before.img"));
    machine.write_log = Some(log.clone());

    let mut known: Vec<Value> = Vec::new();
    for start in 0..=CUTS {
        std::fs::write(&log, "").map_err(Failure::io("making the log of writes"))?;
        let cut_disk = write_log::copy(&machine.disk, &before)?;
        let mut running = machine.boot_with(Accel::Tcg)?;
        let ready = expect(&mut running, "STELE READY", START)?;
        still_there(bench, &rpc, &known, number(&ready, "height"))?;
        if start == CUTS {
            break;
        }
        let load = load(bench, &rpc, &accounts, 4);
        let receipts = load.until(|received| received >= RECEIPTS, START, || running.cut_power());
        if receipts.len() < RECEIPTS {
            return Err(Failure::content("the load", format!("only {} receipts came", receipts.len())));
        }
        known.extend(receipts);
        write_log::cut(&cut_disk, &log)?;
        drop(cut_disk);
        std::fs::rename(&before, &machine.disk).map_err(Failure::io("changing the disk"))?;
    }
    Ok(())
}

fn load<'a>(bench: &'a Bench, rpc: &'a str, accounts: &'a [Account], memo_bytes: usize) -> Load<'a> {
    let (receipts, stop) = (Mutex::default(), AtomicBool::new(false));
    Load { stele: &bench.stele, rpc, accounts, memo_bytes, receipts, stop }
}

/// A machine whose ledger has the clients' accounts, and its RPC as the host reaches it.
fn prepared(bench: &Bench, name: &str) -> Result<(Emulation, Vec<Account>, String), Failure> {
    let folder = bench.folder(name)?;
    let accounts: Result<Vec<Account>, Failure> =
        (0..CLIENTS).map(|client| Account::new(&bench.stele, &folder, &format!("client-{client}"))).collect();
    let accounts = accounts?;
    let in_genesis: Vec<String> = accounts.iter().map(Account::in_genesis).collect();
    let mut machine = bench.disk_with(&bench.image, name, "", &in_genesis)?;
    let port = free_port()?;
    machine.network = Network::User(vec![(port, RPC_PORT)]);
    Ok((machine, accounts, format!("http://127.0.0.1:{port}")))
}

/// Each with the same height, place in it, time and outcome.
fn still_there(bench: &Bench, rpc: &str, known: &[Value], height: u64) -> Result<(), Failure> {
    for receipt in known {
        let id = receipt["id"].as_str().ok_or_else(|| Failure::content("a receipt", receipt))?;
        let now = ask(&bench.stele, rpc, &["transaction", id])?;
        let told = receipt["height"].as_u64().ok_or_else(|| Failure::content("a receipt", receipt))?;
        if now != *receipt || told > height {
            return Err(Failure::content("after the cut", format!("{now} at height {height}, {receipt} was told")));
        }
    }
    Ok(())
}
