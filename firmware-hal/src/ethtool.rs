//! How many channels a network interface has, and could have: what `ethtool -l` shows and `ethtool -L` sets (linux/ethtool.h,
//! ETHTOOL_GCHANNELS and ETHTOOL_SCHANNELS). A channel is an interrupt with the queues that it serves.
//!
//! Below a [`Root`](crate::Root) they are files, `/ethtool/<interface>/{rx,tx,combined}` and the same with `_max`, each with
//! a number; a recorded tree has them as such. The call is SIOCETHTOOL, which is older than ethtool's netlink family, is
//! answered by every driver that has channels, and is two fixed structures; the netlink crates would bring an asynchronous
//! runtime for them. What it lacks is the kernel's word on why a driver refuses. It concerns the network namespace of the
//! thread. Reading takes no rights, setting takes CAP_NET_ADMIN.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketType, socket};
use std::io;

/// Where the files are.
pub(crate) const DIR: &str = "/ethtool/";

/// struct ethtool_channels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Channels {
    command: u32,
    rx_max: u32,
    tx_max: u32,
    other_max: u32,
    combined_max: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// struct ifreq with a pointer.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES],
    channels: *mut Channels,
    unused: [u8; 16],
}

/// IFNAMSIZ, with the zero at the end.
const NAME_BYTES: usize = 16;
const SIOCETHTOOL: Opcode = 0x8946;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

const _: () = assert!(size_of::<Channels>() == 36 && size_of::<Request>() == 40);

/// Reads a number by its path below [`DIR`].
///
/// # Errors
/// `NotFound` where there is no such interface or no such number, `Unsupported` where its driver has no channels.
pub(crate) fn read(path: &str) -> io::Result<u32> {
    let (name, number) = split(path)?;
    let channels = get(name)?;
    number.of(&mut { channels }).map(|number| *number)
}

/// Sets a number by its path below [`DIR`], and leaves the others as they are. The driver may take the link down for
/// a moment.
///
/// # Errors
/// As [`read`]; `PermissionDenied` without CAP_NET_ADMIN, `InvalidInput` for a number that the interface cannot have.
pub(crate) fn write(path: &str, value: &str) -> io::Result<()> {
    let (name, number) = split(path)?;
    let value: u32 = value.trim().parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    if number.is_max() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut channels = get(name)?;
    *number.of(&mut channels)? = value;
    exchange(name, &mut Channels { command: SET_CHANNELS, ..channels })
}

/// One of the numbers.
#[derive(Clone, Copy, Debug)]
struct Number<'a>(&'a str);

impl Number<'_> {
    fn is_max(self) -> bool {
        self.0.ends_with("_max")
    }

    fn of(self, channels: &mut Channels) -> io::Result<&mut u32> {
        Ok(match self.0 {
            "rx" => &mut channels.rx,
            "rx_max" => &mut channels.rx_max,
            "tx" => &mut channels.tx,
            "tx_max" => &mut channels.tx_max,
            "combined" => &mut channels.combined,
            "combined_max" => &mut channels.combined_max,
            _ => return Err(io::ErrorKind::NotFound.into()),
        })
    }
}

fn split(path: &str) -> io::Result<(&str, Number<'_>)> {
    let (name, number) = path.split_once('/').ok_or(io::ErrorKind::NotFound)?;
    Ok((name, Number(number)))
}

fn get(name: &str) -> io::Result<Channels> {
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    exchange(name, &mut channels)?;
    Ok(channels)
}

fn exchange(interface: &str, channels: &mut Channels) -> io::Result<()> {
    let mut name = [0; NAME_BYTES];
    // The last byte stays zero. The kernel would take what is before a zero for the name.
    let place = name[..NAME_BYTES - 1].get_mut(..interface.len()).filter(|_| !interface.contains('\0'));
    place.ok_or(io::ErrorKind::NotFound)?.copy_from_slice(interface.as_bytes());
    let mut request = Request { name, channels, unused: [0; 16] };
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: the kernel reads and writes a `Request` for this opcode, and with the two commands that are sent, the
    // `Channels` that it points to, which is as long as the kernel's and borrowed until the call has returned.
    let answer = unsafe { ioctl(&any, Updater::<SIOCETHTOOL, Request>::new(&mut request)) };
    answer.map_err(|error| match error {
        Errno::NODEV => io::ErrorKind::NotFound.into(),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// Offsets of linux/ethtool.h.
    #[test]
    fn the_numbers_stand_where_the_kernel_has_them() {
        let mut channels =
            Channels { rx_max: 1, tx_max: 2, combined_max: 4, rx: 5, tx: 6, combined: 8, ..Channels::default() };
        let numbers = ["rx_max", "tx_max", "combined_max", "rx", "tx", "combined"];
        let found = numbers.map(|number| *Number(number).of(&mut channels).expect("it is one"));
        assert_eq!(found, [1, 2, 4, 5, 6, 8]);
        assert_eq!(std::mem::offset_of!(Channels, combined_max), 16);
        assert_eq!(std::mem::offset_of!(Channels, combined), 32);
        assert_eq!(std::mem::offset_of!(Request, channels), 16);
    }

    #[test]
    fn what_is_no_interface_has_no_channels() {
        for path in ["lo", "nonesuch0/rx", "lo/colour", "a-name-longer-than-any/rx", "lo\0/rx", "/rx", "../rx", ""] {
            let kind = read(path).expect_err(path).kind();
            assert!([ErrorKind::NotFound, ErrorKind::Unsupported].contains(&kind), "{path}: {kind}");
        }
        assert_eq!(read("lo/rx").expect_err("the loopback").kind(), ErrorKind::Unsupported);
        assert_eq!(write("lo/rx", "many").expect_err("no number").kind(), ErrorKind::InvalidInput);
        assert_eq!(write("lo/rx_max", "1").expect_err("the device's").kind(), ErrorKind::PermissionDenied);
    }
}
