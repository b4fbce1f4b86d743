//! DHCP (RFC 2131) as far as a server needs to be asked for one address: discover, request, and the answer's address, mask
//! and router. The lease is not renewed: a validator's address is reserved for it, or it would not be found by its peers.

use super::Assignment;
use crate::Fault;
use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGED: u8 = 5;
const ATTEMPTS: u32 = 8;

/// Asks until a server has given an address.
pub(super) fn lease(interface: &str) -> Result<Assignment, Fault> {
    let about = || Fault::system(format!("DHCP on {interface}"));
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/address")).map_err(about())?;
    let hardware: Vec<u8> = text.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let hardware: [u8; 6] = hardware.try_into().map_err(|_| Fault::Machine(format!("{interface} is no Ethernet")))?;
    let socket = UdpSocket::bind("0.0.0.0:68").map_err(about())?;
    socket.set_broadcast(true).map_err(about())?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).map_err(about())?;
    bind_to(&socket, interface).map_err(about())?;
    let ask = |message: &[u8], kind| -> io::Result<Option<Answer>> {
        socket.send_to(message, (Ipv4Addr::BROADCAST, 67))?;
        let mut buffer = [0; 1500];
        match socket.recv(&mut buffer) {
            Ok(length) => Ok(Answer::parse(&buffer[..length], &hardware).filter(|answer| answer.kind == kind)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    };
    for _ in 0..ATTEMPTS {
        let Some(offer) = ask(&message(&hardware, DISCOVER, None), OFFER).map_err(about())? else { continue };
        let request = message(&hardware, REQUEST, Some((offer.assignment.address, offer.server)));
        if let Some(answer) = ask(&request, ACKNOWLEDGED).map_err(about())? {
            return Ok(answer.assignment);
        }
    }
    Err(Fault::Machine(format!("no DHCP server answers on {interface}")))
}

fn bind_to(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    let name = CString::new(interface)?;
    let length = name.as_bytes_with_nul().len() as libc::socklen_t;
    // SAFETY: the pointer is to a string of this length that lives through the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn message(hardware: &[u8; 6], kind: u8, wanted: Option<(Ipv4Addr, Ipv4Addr)>) -> Vec<u8> {
    let mut out = vec![1, 1, 6, 0];
    // The transaction is the card's: one machine asks one thing at a time.
    out.extend(&hardware[2..]);
    // Seconds, and the flag that answers are broadcast: there is no address yet.
    out.extend([0, 0, 0x80, 0]);
    out.resize(28, 0);
    out.extend(hardware);
    out.resize(236, 0);
    out.extend(COOKIE);
    out.extend([53, 1, kind]);
    if let Some((address, server)) = wanted {
        out.extend([50, 4]);
        out.extend(address.octets());
        out.extend([54, 4]);
        out.extend(server.octets());
    }
    out.extend([55, 2, 1, 3, 255]);
    out.resize(300, 0);
    out
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    kind: u8,
    server: Ipv4Addr,
    assignment: Assignment,
}

impl Answer {
    fn parse(bytes: &[u8], hardware: &[u8; 6]) -> Option<Self> {
        let ours = bytes.first() == Some(&2) && bytes.get(4..8)? == &hardware[2..] && bytes.get(28..34)? == hardware;
        if !ours || bytes.get(236..240)? != COOKIE {
            return None;
        }
        let four = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?));
        let (mut kind, mut server, mut mask, mut gateway) = (None, None, None, None);
        let mut rest = bytes.get(240..)?;
        while let Some((code, after)) = rest.split_first().filter(|(code, _)| **code != 255) {
            if *code == 0 {
                rest = after;
                continue;
            }
            let length = usize::from(*after.first()?);
            let value = after.get(1..1 + length)?;
            match code {
                53 => kind = value.first().copied(),
                54 => server = four(value),
                1 => mask = four(value),
                3 => gateway = four(value),
                _ => {}
            }
            rest = after.get(1 + length..)?;
        }
        let bits = mask.map_or(24, |mask| u32::from(mask).leading_ones() as u8);
        let assignment = Assignment { address: four(bytes.get(16..)?)?, bits, gateway };
        Some(Self { kind: kind?, server: server?, assignment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: [u8; 6] = [2, 0, 0, 1, 2, 3];

    fn answer() -> Vec<u8> {
        let mut bytes = message(&CARD, OFFER, None);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 0, 2, 15]);
        bytes.truncate(240);
        bytes.extend([53, 1, OFFER, 54, 4, 10, 0, 2, 2, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 255]);
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let read = Answer::parse(&answer(), &CARD).unwrap();
        assert_eq!((read.kind, read.server), (OFFER, Ipv4Addr::new(10, 0, 2, 2)));
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(read.assignment, Assignment { address: Ipv4Addr::new(10, 0, 2, 15), bits: 24, gateway });
    }

    #[test]
    fn answers_to_others_and_cut_ones_are_passed_over() {
        assert_eq!(Answer::parse(&answer(), &[2, 0, 0, 1, 2, 4]), None);
        (0..answer().len() - 20).for_each(|length| assert_eq!(Answer::parse(&answer()[..length], &CARD), None));
    }
}
