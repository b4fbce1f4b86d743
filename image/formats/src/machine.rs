//! `machine.conf`: what init itself must know of its machine, as lines `key = value`. Unknown keys are refused, and so is
//! whatever is said twice that can only be said once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use thiserror::Error;

/// How the machine gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// By DHCP.
    Dhcp,
    /// A constant, with the bits of its network and the gateway.
    Static(Ipv4Addr, u8, Option<Ipv4Addr>),
}

/// Who tells the machine the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeServer {
    /// Where it answers: for [`Self::authenticated`] ones that is where they give out keys.
    pub address: SocketAddr,
    /// Whether it proves who it is: Network Time Security, RFC 8915, with a certificate that [`TIME_AUTHORITY`] has signed.
    pub authenticated: bool,
}

/// The file of a configuration with the certificates (PEM) that those of authenticated time servers lead to.
pub const TIME_AUTHORITY: &str = "time/ca.pem";
/// Time servers of a machine, at most.
pub const TIME_SERVERS_MAX: usize = 8;
/// NTP, RFC 5905.
const NTP_PORT: u16 = 123;
/// The key establishment of NTS, RFC 8915, section 7.6.
const NTS_PORT: u16 = 4460;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How it gets its address.
    pub address: Address,
    /// Which interface; the first one where it is not said.
    pub interface: Option<String>,
    /// Its name.
    pub name: String,
    /// The node's RPC, by which its health is judged.
    pub rpc: SocketAddr,
    /// Who tells it the time; nobody: its clock is the firmware's.
    pub time: Vec<TimeServer>,
    /// Whether the signer's PIN is typed at the console.
    pub pin_at_console: bool,
    /// For tests, in `dev` alone: stop the node so many seconds after READY, without a word.
    pub hang_after_s: Option<u64>,
    /// For tests, in `dev` alone: hand this module of the image to the kernel, without a device for it, and tell the answer.
    pub try_module: Option<String>,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineError {
    /// A line.
    #[error("{0:?} cannot be understood")]
    Line(String),
    /// A key with a second value.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// A key that each machine has.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Too many time servers.
    #[error("more than {TIME_SERVERS_MAX} time servers")]
    TimeServers,
}

impl Machine {
    /// Reads it.
    ///
    /// # Errors
    /// [`MachineError`] names the line, or the key.
    pub fn parse(text: &str) -> Result<Self, MachineError> {
        let (mut address, mut gateway, mut interface, mut name) = (None, None, None, None);
        let (mut rpc, mut pin_at_console, mut hang_after_s, mut try_module) = (None, None, None, None);
        let mut time = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || MachineError::Line(line.to_owned());
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let (key, value) = (key.trim(), value.trim());
            let known = match key {
                "address" => once(&mut address, address_of(value)),
                "gateway" => once(&mut gateway, value.parse().ok()),
                "interface" => once(&mut interface, plain(value)),
                "name" => once(&mut name, plain(value)),
                "rpc" => once(&mut rpc, value.parse().ok()),
                "ntp" | "nts" => server(key, value).map(|server| {
                    time.push(server);
                    true
                }),
                "pin" => once(&mut pin_at_console, (value == "console").then_some(true)),
                "hang_after_s" => once(&mut hang_after_s, value.parse().ok()),
                "try_module" => once(&mut try_module, plain(value)),
                _ => None,
            };
            if !known.ok_or_else(wrong)? {
                return Err(MachineError::Twice(key.to_owned()));
            }
        }
        if time.len() > TIME_SERVERS_MAX {
            return Err(MachineError::TimeServers);
        }
        let address = match address.ok_or(MachineError::Missing("address"))? {
            Address::Static(own, bits, _) => Address::Static(own, bits, gateway),
            Address::Dhcp => Address::Dhcp,
        };
        Ok(Self {
            address,
            interface,
            name: name.unwrap_or_else(|| "stele".to_owned()),
            rpc: rpc.ok_or(MachineError::Missing("rpc"))?,
            time,
            pin_at_console: pin_at_console.unwrap_or(false),
            hang_after_s,
            try_module,
        })
    }
}

/// Whether a value is the first of its key; none where it is not one.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<bool> {
    value.map(|value| place.replace(value).is_none())
}

fn address_of(text: &str) -> Option<Address> {
    if text == "dhcp" {
        return Some(Address::Dhcp);
    }
    let (own, bits) = text.split_once('/')?;
    let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
    Some(Address::Static(own.parse().ok()?, bits, None))
}

/// There is nobody to ask for names: a server has an address.
fn server(key: &str, text: &str) -> Option<TimeServer> {
    let authenticated = key == "nts";
    let port = if authenticated { NTS_PORT } else { NTP_PORT };
    let address = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| (address, port).into()))?;
    Some(TimeServer { address, authenticated })
}

fn plain(value: &str) -> Option<String> {
    let letters = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (letters && (1..16).contains(&value.len())).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST: &str = "address = dhcp\nrpc = 1.2.3.4:5\n";

    #[test]
    fn both_kinds_of_address_are_read() {
        let text = "# a comment\ngateway = 10.0.2.2\naddress = 10.0.2.15/24\nrpc = 10.0.2.15:7300\nname = north\n";
        let machine = Machine::parse(text).unwrap();
        assert_eq!(machine.address, Address::Static([10, 0, 2, 15].into(), 24, Some([10, 0, 2, 2].into())));
        assert!(!machine.pin_at_console && machine.time.is_empty());
        let machine = Machine::parse(&format!("{LEAST}pin = console")).unwrap();
        assert_eq!((machine.address, machine.pin_at_console), (Address::Dhcp, true));
    }

    #[test]
    fn time_servers_have_the_ports_of_their_kind() {
        let text = "ntp = 192.0.2.1\nnts = 192.0.2.2\nntp = [2001:db8::1]:11123\nnts = 2001:db8::2\n";
        let machine = Machine::parse(&format!("{LEAST}{text}")).unwrap();
        let told: Vec<_> = machine.time.iter().map(|one| (one.address.to_string(), one.authenticated)).collect();
        let wanted = [
            ("192.0.2.1:123", false),
            ("192.0.2.2:4460", true),
            ("[2001:db8::1]:11123", false),
            ("[2001:db8::2]:4460", true),
        ];
        assert_eq!(told, wanted.map(|(address, authenticated)| (address.to_owned(), authenticated)));
        let eight = format!("{LEAST}{}", "ntp = 192.0.2.1\n".repeat(8));
        assert_eq!(Machine::parse(&eight).unwrap().time.len(), 8);
        assert_eq!(Machine::parse(&format!("{eight}ntp = 192.0.2.9")), Err(MachineError::TimeServers));
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(Machine::parse(""), Err(MachineError::Missing("address")));
        assert_eq!(Machine::parse("address = dhcp"), Err(MachineError::Missing("rpc")));
        assert_eq!(Machine::parse(&format!("{LEAST}rpc = 1.2.3.4:6")), Err(MachineError::Twice("rpc".into())));
        for line in [
            "address = 10.0.2.15",
            "address = 1.2.3.4/33",
            "rpc = 1.2.3.4",
            "shell = yes",
            "pin = 1234",
            "interface = ../eth0",
            "name =",
            "ntp = pool.example.org",
            "nts = 192.0.2.1/24",
            "nonsense",
        ] {
            assert_eq!(Machine::parse(&format!("{line}\n{LEAST}")), Err(MachineError::Line(line.into())), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_a_machine(text: String, key in "address|gateway|rpc|ntp|nts|name|interface|pin", value: String) {
            let _ = Machine::parse(&text);
            let _ = Machine::parse(&format!("{LEAST}{key} = {value}"));
        }
    }
}
