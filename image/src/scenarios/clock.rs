//! The machine's clock, kept by a time server: chrony on the host, which tells the host's time and touches no clock.

use super::client::Account;
use super::{Bench, START, expect};
use crate::boot::{self, Accel, Emulation, Network};
use crate::configuration;
use crate::dev_ledger::RPC_PORT;
use crate::ending;
use crate::failure::Failure;
use image_formats::machine::TIME_AUTHORITY;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The host, as a machine behind QEMU's own network finds it.
const HOST: &str = "10.0.2.2";
/// What the console says when the clock is right.
pub(super) const KEPT: &str = "STELE TIME the clock is kept";
/// What most clocks show after their battery was empty.
pub(super) const EMPTY_BATTERY: &str = "2000-01-01T00:00:10";
/// A time to come. The clock has no century, and the kernel takes 1970 for 2070.
pub(super) const AHEAD: &str = "1970-01-01T00:00:10";
/// How far the machine's clock may be from the host's, with what a transaction takes.
const DIFFERENCE_MAX_MS: u64 = 10_000;

/// The battery was empty, or the clock is far ahead: the node starts when it is right, and not by what a server says whose
/// certificate another authority has signed.
pub(super) fn set_right(bench: &Bench) -> Result<(), Failure> {
    let folder = bench.folder("time")?;
    let server = TimeServer::start(&folder, "127.0.0.1", HOST)?;
    certificate(&folder, "stranger", HOST)?;
    let [account, receiver] = ["client", "receiver"].map(|name| Account::new(&bench.stele, &folder, name));
    let (account, receiver, rpc_port) = (account?, receiver?, boot::free_port()?);
    let more = format!("nts = {HOST}:{}\n", server.nts_port);
    let mut machine = bench.disk_with(&bench.image, "time", &more, &[account.in_genesis()])?;
    machine.network = Network::User(vec![(rpc_port, RPC_PORT)]);

    trust(&machine, 1, &folder.join("stranger.pem"))?;
    machine.more = clock_at(EMPTY_BATTERY);
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE TIME no answer to go by", START)?;
    expect(&mut running, "STELE READY", START)?;
    running.cut_power();

    trust(&machine, 2, &folder.join("server.pem"))?;
    machine.more = clock_at(AHEAD);
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, KEPT, START)?;
    expect(&mut running, "STELE READY", START)?;
    let rpc = format!("http://127.0.0.1:{rpc_port}");
    let receipt = account.transfer(&bench.stele, &rpc, &receiver.address, "what time is it")?;
    let told = receipt["time_ms"].as_u64().ok_or_else(|| Failure::content("a receipt", &receipt))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    if now.abs_diff(told) > DIFFERENCE_MAX_MS {
        return Err(Failure::content("the machine's clock", format!("{told}, {now} on the host")));
    }
    Ok(())
}

/// QEMU's words for a clock that stands at that time when the machine starts.
pub(super) fn clock_at(time: &str) -> Vec<String> {
    vec!["-rtc".to_owned(), format!("base={time}")]
}

/// A configuration by which the machine trusts time servers with that certificate.
fn trust(machine: &Emulation, serial: u64, authority: &Path) -> Result<(), Failure> {
    let from = machine.folder.join("configuration");
    let place = from.join(TIME_AUTHORITY);
    let done = std::fs::create_dir_all(from.join("time")).and_then(|()| std::fs::copy(authority, place));
    done.map_err(Failure::io("changing a configuration"))?;
    let bundle = configuration::collect(&from, serial)?;
    configuration::check(&bundle)?;
    configuration::write(&machine.disk, &bundle, &configuration::DEV_SEED)
}

/// A time server on the host.
pub(super) struct TimeServer {
    child: Child,
    /// Where it answers those who believe it.
    pub(super) ntp_port: u16,
    /// Where it proves who it is.
    pub(super) nts_port: u16,
}

impl TimeServer {
    /// Listens on an address of the host, with a certificate for the one by which the machine knows it.
    pub(super) fn start(folder: &Path, listens: &str, known_as: &str) -> Result<Self, Failure> {
        certificate(folder, "server", known_as)?;
        let (ntp_port, nts_port) = (boot::free_port()?, boot::free_port()?);
        let place = folder.display();
        let text = format!(
            "local stratum 1\nbindaddress {listens}\nport {ntp_port}\nallow all\ncmdport 0\nbindcmdaddress /\n\
             ntsport {nts_port}\nntsservercert {place}/server.pem\nntsserverkey {place}/server.key\n\
             pidfile {place}/chronyd.pid\nuser root\n"
        );
        let path = folder.join("chrony.conf");
        std::fs::write(&path, text).map_err(Failure::io("writing a configuration"))?;
        let mut command = Command::new("/usr/sbin/chronyd");
        // Without control of the clock, and in the foreground.
        command.args(["-x", "-d", "-f"]).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = ending::with_us(&mut command).spawn();
        let child = child.map_err(|error| Failure::unfit(format!("no chronyd: {error}"), "apt-get install chrony"))?;
        Ok(Self { child, ntp_port, nts_port })
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for an address, signed by itself, and its key beside it.
fn certificate(folder: &Path, name: &str, address: &str) -> Result<(), Failure> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=time", "-addext", &format!("subjectAltName=IP:{address}")]);
    openssl.arg("-keyout").arg(folder.join(name).with_added_extension("key"));
    openssl.arg("-out").arg(folder.join(name).with_added_extension("pem"));
    let output = openssl.output().map_err(Failure::io("starting openssl"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(Failure::content("openssl", words)) }
}
