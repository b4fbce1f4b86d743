//! The link of a ceremony to its HSM, while it is held: one card, an address that is a network of its own, a route to one host,
//! and for the command one TCP port of it. Whatever else is on that cable gets no answer: strict reverse path filtering drops
//! what comes from an address to which no route leads.
//!
//! Absent: DHCP, names, gateways, IPv6. UDP is not confined by the kernel's Landlock, so that a module could send some to the HSM
//! itself.

use super::{Assignment, assign, call, cards, request, socket_address, up};
use crate::{Fault, say};
use image_formats::hsm_link::HsmLink;
use landlock::{ABI, Access, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr};
use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a card and its cable may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a cable is in before it counts. A card that has just been raised may first tell what it was when it went down.
const STEADY: Duration = Duration::from_millis(250);
/// What the kernel is told before any card is raised.
const SETTINGS: [(&str, &str); 5] = [
    ("ipv4/conf/all/rp_filter", "1"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/icmp_echo_ignore_all", "1"),
    ("ipv4/ip_forward", "0"),
];

/// A link that is up. It goes down with this value.
#[derive(Debug)]
pub struct Link {
    socket: UdpSocket,
    cards: Vec<String>,
}

impl Link {
    /// Raises it, where exactly one card has a cable in.
    pub fn raise(link: &HsmLink) -> Result<Self, Fault> {
        set(&SETTINGS)?;
        for family in ["all", "default"] {
            // A kernel without IPv6 has nothing to switch off.
            if Path::new("/proc/sys/net/ipv6").exists() {
                set(&[(&format!("ipv6/conf/{family}/disable_ipv6"), "1")])?;
            }
        }
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(Fault::system("opening a socket"))?;
        let mut raised = Self { socket, cards: Vec::new() };
        let card = raised.only_card()?;
        let own = Assignment { address: link.own, bits: 32, gateway: None };
        assign(&raised.socket, &card, own).map_err(Fault::system(format!("giving {card} its address")))?;
        route(&raised.socket, &card, *link.hsm.ip()).map_err(Fault::system("leading to the HSM"))?;
        say(format_args!("STELE LINK {card}: {} to the HSM at {}, and to nobody else", link.own, link.hsm));
        Ok(raised)
    }

    /// The one with a cable in; the others stay without an address, and go down.
    fn only_card(&mut self) -> Result<String, Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut steady: Option<(String, Instant)> = None;
        loop {
            for card in cards() {
                if !self.cards.contains(&card) {
                    up(&self.socket, &card).map_err(Fault::system(format!("raising {card}")))?;
                    self.cards.push(card);
                }
            }
            let mut plugged = self.cards.iter().filter(|card| has_carrier(card));
            match (plugged.next().cloned(), plugged.next()) {
                (Some(one), Some(other)) => {
                    return Err(Fault::Machine(format!("cables are in {one} and {other}: leave the HSM's alone in")));
                }
                (Some(one), None) if steady.as_ref().is_none_or(|(card, _)| *card != one) => {
                    steady = Some((one, Instant::now()));
                }
                (Some(_), None) if steady.as_ref().is_some_and(|(_, since)| since.elapsed() < STEADY) => {}
                (Some(one), None) => {
                    self.cards.iter().filter(|card| **card != one).for_each(|card| down(&self.socket, card));
                    self.cards.retain(|card| *card == one);
                    return Ok(one);
                }
                (None, _) if Instant::now() > deadline => {
                    let what = if self.cards.is_empty() { "no card with the link's driver" } else { "no cable" };
                    return Err(Fault::Machine(format!("the HSM's link: {what}")));
                }
                (None, _) => steady = None,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cards.iter().for_each(|card| down(&self.socket, card));
    }
}

/// Lets a command, and what it starts, connect to one TCP port and to none other, and wait for nobody.
pub fn confine(command: &mut Command, port: u16) -> Result<(), Fault> {
    let about = |error| Fault::Machine(format!("this kernel does not confine the ceremony to its HSM: {error}"));
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rules = rules.handle_access(AccessNet::from_all(ABI::V4)).and_then(Ruleset::create).map_err(about)?;
    let rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(about)?;
    let mut rules = Some(rules);
    let confine = move || {
        let rules = rules.take().ok_or(io::ErrorKind::Other)?;
        rules.restrict_self().map(drop).map_err(|_| io::ErrorKind::PermissionDenied.into())
    };
    // SAFETY: between fork and exec there are two system calls, and a descriptor is closed.
    unsafe { command.pre_exec(confine) };
    Ok(())
}

fn set(settings: &[(&str, &str)]) -> Result<(), Fault> {
    settings.iter().try_for_each(|(name, value)| {
        std::fs::write(format!("/proc/sys/net/{name}"), value).map_err(Fault::system(format!("setting net/{name}")))
    })
}

fn has_carrier(card: &str) -> bool {
    std::fs::read_to_string(format!("/sys/class/net/{card}/carrier")).is_ok_and(|text| text.trim() == "1")
}

/// Takes a card's address and routes with it; a card that is gone is down.
fn down(socket: &UdpSocket, card: &str) {
    let _ = call(socket, libc::SIOCSIFFLAGS, &mut request(card));
}

/// A route to one host.
fn route(socket: &UdpSocket, card: &str, host: Ipv4Addr) -> io::Result<()> {
    let mut card = CString::new(card)?.into_bytes_with_nul();
    // SAFETY: a structure of integers, arrays of them and a pointer that may be null.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(host);
    route.rt_genmask = socket_address(Ipv4Addr::BROADCAST);
    route.rt_flags = libc::RTF_UP | libc::RTF_HOST;
    route.rt_dev = card.as_mut_ptr().cast();
    call(socket, libc::SIOCADDRT, &mut route)
}
