//! The one link that a ceremony's machine may have: to its HSM on a network. It is a word of the command line, and so measured,
//! and nothing that a stick or a server says can widen it.
//!
//! ```text
//! DRIVER,OWN,HSM:PORT      igc,192.0.2.6,192.0.2.5:1792
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use thiserror::Error;

/// A cable from one card to one port of one HSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HsmLink {
    /// The kernel module of the card, the only one for networks that the image has.
    pub driver: String,
    /// The machine's address.
    pub own: Ipv4Addr,
    /// The HSM's address and TCP port.
    pub hsm: SocketAddrV4,
}

/// Why a text is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HsmLinkError {
    /// Not three parts.
    #[error("a link is DRIVER,OWN,HSM:PORT, as igc,192.0.2.6,192.0.2.5:1792")]
    Shape,
    /// No name of a kernel module.
    #[error("the driver is no name of a kernel module")]
    Driver,
    /// Not two addresses of two machines.
    #[error("the addresses are not those of two machines (IPv4)")]
    Addresses,
    /// Port 0.
    #[error("the HSM has no port 0")]
    Port,
}

impl FromStr for HsmLink {
    type Err = HsmLinkError;
    fn from_str(text: &str) -> Result<Self, HsmLinkError> {
        let [driver, own, hsm] = text.split(',').collect::<Vec<_>>()[..] else { return Err(HsmLinkError::Shape) };
        let letters = driver.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !letters || !(1..32).contains(&driver.len()) {
            return Err(HsmLinkError::Driver);
        }
        let (own, hsm): (Ipv4Addr, SocketAddrV4) =
            own.parse().ok().zip(hsm.parse().ok()).ok_or(HsmLinkError::Addresses)?;
        let machine = |ip: &Ipv4Addr| {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0)
        };
        if !machine(&own) || !machine(hsm.ip()) || own == *hsm.ip() {
            return Err(HsmLinkError::Addresses);
        }
        if hsm.port() == 0 {
            return Err(HsmLinkError::Port);
        }
        Ok(Self { driver: driver.to_owned(), own, hsm })
    }
}

impl fmt::Display for HsmLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.driver, self.own, self.hsm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "mlx5_core,192.0.2.6,192.0.2.5:1792";
        let link: HsmLink = text.parse().unwrap();
        assert_eq!((link.to_string().as_str(), link.hsm.port()), (text, 1792));
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, error) in [
            ("", HsmLinkError::Shape),
            ("igc,192.0.2.6", HsmLinkError::Shape),
            ("igc,192.0.2.6,192.0.2.5:1792,more", HsmLinkError::Shape),
            ("../igc,192.0.2.6,192.0.2.5:1792", HsmLinkError::Driver),
            (",192.0.2.6,192.0.2.5:1792", HsmLinkError::Driver),
            ("igc,192.0.2.6/24,192.0.2.5:1792", HsmLinkError::Addresses),
            ("igc,192.0.2.6,hsm.example:1792", HsmLinkError::Addresses),
            ("igc,192.0.2.6,192.0.2.6:1792", HsmLinkError::Addresses),
            ("igc,192.0.2.6,0.0.0.0:1792", HsmLinkError::Addresses),
            ("igc,192.0.2.6,255.255.255.255:1792", HsmLinkError::Addresses),
            ("igc,127.0.0.1,192.0.2.5:1792", HsmLinkError::Addresses),
            ("igc,192.0.2.6,192.0.2.5:0", HsmLinkError::Port),
        ] {
            assert_eq!(text.parse::<HsmLink>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_a_link(text: String) {
            let _ = text.parse::<HsmLink>();
            let _ = format!("igc,{text}:1").parse::<HsmLink>();
        }
    }
}
