//! `machine.conf`: what init itself must know, as lines `key = value`. Unknown keys are refused.

use crate::Fault;
use std::net::{Ipv4Addr, SocketAddr};

/// How the machine gets its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By DHCP.
    Dhcp,
    /// A constant, with the bits of its network and the gateway.
    Static(Ipv4Addr, u8, Option<Ipv4Addr>),
}

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
    /// Whether the signer's PIN is typed at the console.
    pub pin_at_console: bool,
    /// For tests, in `dev` alone: stop the node so many seconds after READY, without a word.
    pub hang_after_s: Option<u64>,
    /// For tests, in `dev` alone: hand this module of the image to the kernel, without a device for it, and tell the answer.
    pub try_module: Option<String>,
}

impl Machine {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (mut address, mut gateway, mut interface, mut name, mut rpc, mut hang) =
            (None, None, None, None, None, None);
        let (mut pin_at_console, mut try_module) = (false, None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || Fault::Configuration(format!("machine.conf: {line:?} cannot be understood"));
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let value = value.trim();
            match key.trim() {
                "address" => address = Some(value.to_owned()),
                "gateway" => gateway = Some(value.parse().map_err(|_| wrong())?),
                "interface" if plain(value) => interface = Some(value.to_owned()),
                "name" if plain(value) => name = Some(value.to_owned()),
                "rpc" => rpc = Some(value.parse().map_err(|_| wrong())?),
                "pin" if value == "console" => pin_at_console = true,
                "try_module" if plain(value) => try_module = Some(value.to_owned()),
                "hang_after_s" => hang = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        let missing = |key| Fault::Configuration(format!("machine.conf: `{key}` is missing or cannot be understood"));
        let address = match address.ok_or_else(|| missing("address"))?.as_str() {
            "dhcp" => Address::Dhcp,
            text => {
                let (ip, bits) = text.split_once('/').ok_or_else(|| missing("address"))?;
                let bits = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(|| missing("address"))?;
                Address::Static(ip.parse().map_err(|_| missing("address"))?, bits, gateway)
            }
        };
        let name = name.unwrap_or_else(|| "stele".to_owned());
        Ok(Self {
            address,
            interface,
            name,
            rpc: rpc.ok_or_else(|| missing("rpc"))?,
            pin_at_console,
            hang_after_s: hang,
            try_module,
        })
    }
}

/// Gives the machine an identity of its own, which stays with its state: the guard file is bound to it.
pub fn identify() -> Result<(), Fault> {
    let path = format!("{}/machine-id", crate::state::FOLDER);
    if !std::fs::exists(&path).unwrap_or(false) {
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
        let random = random.map_err(Fault::system("drawing the machine's identity"))?.replace('-', "");
        std::fs::write(&path, random).map_err(Fault::system(format!("writing {path}")))?;
    }
    crate::mounts::mount(&path, "/etc/machine-id", "", libc::MS_BIND, "")
}

fn plain(value: &str) -> bool {
    !value.is_empty() && value.len() < 16 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_read() {
        let text = "# a comment\naddress = 10.0.2.15/24\ngateway = 10.0.2.2\nrpc = 10.0.2.15:7300\nname = north\n";
        let machine = Machine::parse(text).unwrap();
        assert_eq!(machine.address, Address::Static([10, 0, 2, 15].into(), 24, Some([10, 0, 2, 2].into())));
        assert!(!machine.pin_at_console);
        let machine = Machine::parse("address = dhcp\nrpc = 1.2.3.4:5\npin = console").unwrap();
        assert_eq!((machine.address, machine.pin_at_console), (Address::Dhcp, true));
    }

    #[test]
    fn each_mistake_is_refused() {
        for text in [
            "",
            "address = dhcp",
            "address = 10.0.2.15\nrpc = 1.2.3.4:5",
            "address = 1.2.3.4/33\nrpc = 1.2.3.4:5",
            "address = dhcp\nrpc = 1.2.3.4",
            "address = dhcp\nrpc = 1.2.3.4:5\nshell = yes",
            "address = dhcp\nrpc = 1.2.3.4:5\npin = 1234",
            "address = dhcp\nrpc = 1.2.3.4:5\ninterface = ../eth0",
            "nonsense",
        ] {
            assert!(Machine::parse(text).is_err(), "{text}");
        }
    }
}
