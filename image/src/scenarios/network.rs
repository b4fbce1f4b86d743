//! A ledger of four validators, one of them a machine with the image, the others processes of the host. They are on one
//! network with the host, which takes a TAP interface: root, `ip` (iproute2) and /dev/net/tun. QEMU's own network does not
//! do: a validator listens on the very address that genesis has for it, and the host has no address there.

use super::client::{Account, ask};
use super::clock::{KEPT, TimeServer};
use super::{Bench, START, expect};
use crate::boot::{Accel, Emulation, Network, Running};
use crate::configuration;
use crate::dev_ledger::{self, CONF, Home, Keys, PORTS, Place};
use crate::ending::Tidy;
use crate::failure::Failure;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The machine's place: it connects to those behind it, and those before it connect to it.
const MACHINE: usize = 1;
/// A wait for what must not come.
const SILENCE: Duration = Duration::from_secs(12);

pub(super) fn counts_in_a_network(bench: &Bench) -> Result<(), Failure> {
    let mut network = Four::start(bench, "network")?;
    let mut running = network.machine.boot_with(Accel::Tcg)?;
    expect(&mut running, KEPT, START)?;
    expect(&mut running, "STELE READY", START)?;
    network.transfers(&[0, 1, 2, 3])?;
    network.agree(&[0, 1, 2, 3])?;
    // One of four may be missing: what is left is a quorum only with the machine.
    network.hosts[2].stop();
    network.transfers(&[0, 1, 2])?;
    network.agree(&[0, 1, 2])?;
    running.cut_power();
    network.stands_still(0)?;
    let mut running: Running = network.machine.boot_with(Accel::Tcg)?;
    expect(&mut running, KEPT, START)?;
    expect(&mut running, "STELE READY", START)?;
    network.transfers(&[0, 1, 2])?;
    network.agree(&[0, 1, 2])
}

/// The network, and an account with money.
struct Four<'a> {
    stele: &'a Path,
    machine: Emulation,
    /// The validators 0, 2 and 3.
    hosts: Vec<Host>,
    /// Of all four.
    rpcs: Vec<String>,
    account: Account,
    /// A new one, which comes into being with what it gets.
    receiver: Account,
    sent: usize,
    /// The machine's clock is set by whole seconds when it starts, and half of one too far off makes no blocks.
    _time: TimeServer,
    _tap: Tap,
}

impl<'a> Four<'a> {
    fn start(bench: &'a Bench, name: &str) -> Result<Self, Failure> {
        let mut machine = bench.disk_without_configuration(&bench.image, name)?;
        let folder = std::path::absolute(&machine.folder).map_err(Failure::io("finding a folder"))?;
        let tap = Tap::new()?;
        machine.network = Network::Tap(tap.name.clone());
        let account = Account::new(&bench.stele, &folder, "client")?;
        let receiver = Account::new(&bench.stele, &folder, "receiver")?;
        let folders: Vec<PathBuf> = (0..4).map(|place| folder.join(format!("v{place}"))).collect();
        let places: Vec<(Place, &Path)> = (0..4)
            .map(|place| {
                let (address, home) =
                    if place == MACHINE { (tap.guest(), Home::Image) } else { (tap.host(), Home::Host) };
                let ports = PORTS.map(|port| port + place as u16);
                (Place { name: format!("v-{place}"), address, ports, home, keys: Keys::Token }, &*folders[place])
            })
            .collect();
        dev_ledger::ledger(&bench.stele, &folder.join("genesis"), &places, &[account.in_genesis()])?;
        let rpcs: Vec<String> =
            places.iter().map(|(place, _)| format!("http://{}:{}", place.address, place.ports[2])).collect();
        let (own, guest) = (&folders[MACHINE], tap.guest());
        let time = TimeServer::start(&folder, &tap.host(), &tap.host())?;
        let ntp = format!("ntp = {}:{}", tap.host(), time.ntp_port);
        let rpc = &rpcs[MACHINE]["http://".len()..];
        let text = format!("address = {guest}/24\nrpc = {rpc}\nname = v-{MACHINE}\n{ntp}\n");
        std::fs::write(own.join("machine.conf"), text).map_err(Failure::io("writing a configuration"))?;
        configuration::write(&machine.disk, &configuration::collect(own, 1)?, &configuration::DEV_SEED)?;
        let hosts = [0, 2, 3].map(|place| Host::start(&bench.stele, &folders[place]));
        let hosts = hosts.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { stele: &bench.stele, machine, hosts, rpcs, account, receiver, sent: 0, _time: time, _tap: tap })
    }

    /// A transaction over each of some validators, with its receipt.
    fn transfers(&mut self, over: &[usize]) -> Result<(), Failure> {
        for place in over {
            self.sent += 1;
            let to = &self.receiver.address;
            let receipt = self.account.transfer(self.stele, &self.rpcs[*place], to, &format!("{}", self.sent))?;
            if receipt["outcome"] != "applied" {
                return Err(Failure::content("a transaction", receipt));
            }
        }
        Ok(())
    }

    /// They come to the same height, and have the same header there.
    fn agree(&self, whom: &[usize]) -> Result<(), Failure> {
        let newest = ask(self.stele, &self.rpcs[whom[0]], &["header"])?;
        let height = newest["height"].to_string();
        for place in whom {
            let deadline = Instant::now() + START;
            let header = loop {
                match ask(self.stele, &self.rpcs[*place], &["header", &height]) {
                    Ok(header) => break header,
                    Err(failure) if Instant::now() > deadline => return Err(failure),
                    Err(_) => std::thread::sleep(Duration::from_millis(200)),
                }
            };
            if header["digest"] != newest["digest"] || header["digest"] == Value::Null {
                return Err(Failure::content(format!("validator {place}"), format!("{header}, {newest} elsewhere")));
            }
        }
        Ok(())
    }

    /// A transaction gets no receipt.
    fn stands_still(&self, place: usize) -> Result<(), Failure> {
        let mut child = self.account.send(self.stele, &self.rpcs[place], &self.receiver.address, "in vain")?;
        let deadline = Instant::now() + SILENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Failure::content("two validators of four", format!("they went on ({status})")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        child.wait().map(drop).map_err(Failure::io("ending a client"))
    }
}

/// A validator on the host: its signer and its node, which end with this value.
struct Host(Vec<Child>);

impl Host {
    fn start(stele: &Path, folder: &Path) -> Result<Self, Failure> {
        let signer = folder.join("signer");
        dev_ledger::run(stele, &["signer", "--config", "signer.toml", "init"], &signer)?;
        let mut host = Self(Vec::new());
        host.spawn(stele, folder, "signer", &["signer", "--config", "signer.toml", "run"])?;
        let deadline = Instant::now() + START;
        while !folder.join("signer.sock").exists() {
            if Instant::now() > deadline {
                return Err(Failure::content("a signer of the host", "it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        host.spawn(stele, folder, "node", &["node", "--config", "node.toml"])?;
        Ok(host)
    }

    fn spawn(&mut self, stele: &Path, folder: &Path, part: &str, words: &[&str]) -> Result<(), Failure> {
        let log = File::create(folder.join(format!("{part}.log"))).map_err(Failure::io("making a log"))?;
        let copy = log.try_clone().map_err(Failure::io("making a log"))?;
        let mut command = Command::new(stele);
        command.args(words).arg("--exit-with-parent").current_dir(folder.join(part));
        command.env("SOFTHSM2_CONF", folder.join("signer").join(CONF));
        command.stdin(Stdio::piped()).stdout(log).stderr(copy);
        self.0.push(command.spawn().map_err(Failure::io("starting a validator"))?);
        Ok(())
    }

    fn stop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A network of the host and one machine.
struct Tap {
    name: String,
    net: String,
    _tidy: Tidy,
}

impl Tap {
    fn new() -> Result<Self, Failure> {
        // Two runs at a time do not meet.
        let number = std::process::id();
        let name = format!("stele{number}");
        let gone = name.clone();
        let tidy = Tidy::with(move || drop(Command::new("ip").args(["link", "delete", &gone]).output()))?;
        let tap = Self { name, net: format!("10.93.{}", number % 256), _tidy: tidy };
        let (name, host) = (&tap.name[..], format!("{}/24", tap.host()));
        for words in [
            &["tuntap", "add", "dev", name, "mode", "tap"][..],
            &["address", "add", &host, "dev", name],
            &["link", "set", name, "up"],
        ] {
            let status = Command::new("ip").args(words).status();
            if !status.is_ok_and(|status| status.success()) {
                let help = "this scenario makes a TAP interface: root, iproute2 and /dev/net/tun";
                return Err(Failure::unfit(format!("`ip {}` failed", words.join(" ")), help));
            }
        }
        Ok(tap)
    }

    fn host(&self) -> String {
        format!("{}.1", self.net)
    }

    fn guest(&self) -> String {
        format!("{}.15", self.net)
    }
}
