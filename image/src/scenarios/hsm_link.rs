//! A ceremony's link to an HSM on a network. A module plays the vendor's that looks where it can get to, as soon as it is loaded.

use super::ceremony::{SCRIPT, TOKEN, answer, machine, officers_key, stick};
use super::sticks::put_in;
use super::{Bench, START, Special, expect};
use crate::boot::{Accel, Network};
use crate::failure::Failure;
use image_formats::environment;
use image_formats::hsm_link::HsmLink;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::Command;

/// The host on QEMU's own network, which is the HSM; another host there; and the machine.
const HSM: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// It says on standard error how each attempt to connect ended, and whether it may wait for others to connect.
const MODULE: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in place(const char *host, int port) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &place.sin_addr);
    return place;
}

static void say(const char *what, const char *host, int port, int done) {
    fprintf(stderr, "PROBE %s %s:%d %s\n", what, host, port, done == 0 ? "open" : strerror(errno));
}

static void reach(const char *host, int port) {
    struct sockaddr_in to = place(host, port);
    int one = socket(AF_INET, SOCK_STREAM, 0);
    say("to", host, port, connect(one, (struct sockaddr *)&to, sizeof to));
    close(one);
}

__attribute__((constructor)) static void look(void) {
    const char *told = getenv("PROBE_TOLD");
    fprintf(stderr, "PROBE told %s\n", told ? told : "nothing");
    reach("10.0.2.2", PORT);
    reach("10.0.2.2", ANOTHER);
    reach("10.0.2.3", PORT);
    struct sockaddr_in own = place("0.0.0.0", PORT);
    int one = socket(AF_INET, SOCK_STREAM, 0);
    say("at", "0.0.0.0", PORT, bind(one, (struct sockaddr *)&own, sizeof own));
    close(one);
}

/* CKR_GENERAL_ERROR */
unsigned long C_GetFunctionList(void **list) { (void)list; return 5; }
"#;

pub(super) fn reaches_its_hsm_alone(bench: &Bench) -> Result<(), Failure> {
    // Somebody answers at both ports: only the machine makes a difference between them.
    let [hsm, another] = [listener()?, listener()?];
    let [port, another_port] = [&hsm, &another].map(|one| one.local_addr().map_or(0, |address| address.port()));
    let bundle = bench.folder("link-bundle")?;
    module(&bundle, port, another_port)?;
    let told = format!("# The vendor's.\nPROBE_TOLD=by {}\n", environment::FILE);
    std::fs::write(bundle.join(environment::FILE), told).map_err(Failure::io("making a bundle"))?;
    let link = HsmLink { driver: "virtio_net".to_owned(), own: OWN, hsm: SocketAddrV4::new(HSM, port) };

    let mut machine = machine(bench, "link", Special::Linked(&link, &bundle))?;
    machine.network = Network::User(Vec::new());
    officers_key(bench, &machine.folder)?;
    stick(&machine.folder, "hold", &SCRIPT.replace("TOKEN", TOKEN))?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY ceremony", START)?;
    put_in(&mut running, "hold", &machine.folder.join("hold.img"))?;
    answer(&mut running, "type a word:", "hold")?;
    expect(&mut running, &format!("STELE LINK eth0: {OWN} to the HSM at {HSM}:{port}"), START)?;
    expect(&mut running, "has ended with", START)?;
    for wanted in [
        format!("PROBE told by {}", environment::FILE),
        format!("PROBE to {HSM}:{port} open"),
        format!("PROBE to {HSM}:{another_port} Permission denied"),
        format!("PROBE to {OTHER}:{port} Network is unreachable"),
        format!("PROBE at 0.0.0.0:{port} Permission denied"),
    ] {
        if !running.log.iter().any(|line| line.contains(&wanted)) {
            return Err(Failure::content(format!("{wanted:?} was not seen; the last lines"), running.tail(30)));
        }
    }
    // Between ceremonies the card is down, and a rehearsal has no link; without a cable there is none to raise.
    running.command("set_link card off")?;
    answer(&mut running, "type a word:", "hold")?;
    expect(&mut running, "the HSM's link: no cable", START).map(drop)
}

fn listener() -> Result<TcpListener, Failure> {
    TcpListener::bind("127.0.0.1:0").map_err(Failure::io("listening"))
}

fn module(folder: &Path, port: u16, another: u16) -> Result<(), Failure> {
    let source = folder.with_added_extension("c");
    std::fs::write(&source, MODULE).map_err(Failure::io("making a module"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", &format!("-DPORT={port}"), &format!("-DANOTHER={another}"), "-o"]);
    let output = compiler.arg(folder.join("libprobe.so")).arg(&source).output().map_err(Failure::io("starting cc"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(Failure::content("cc", words)) }
}
