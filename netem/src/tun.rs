//! TUN interfaces: made and configured in the namespace of the calling thread, by `ioctl` alone, so that no tool need be
//! installed.
#![allow(unsafe_code)]

use crate::NetemError;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// What Ethernet carries.
pub(crate) const MTU: i32 = 1500;
/// Packets that the kernel keeps for the relay. The default of 500 is less than one burst of a large window.
const QUEUE_PACKETS: i32 = 10_000;
/// `_IOW('T', 202, int)`, from `linux/if_tun.h`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Makes an interface with an address of a /24 network and brings it up. Reads and writes do not wait.
pub(crate) fn open(pattern: &str, address: Ipv4Addr) -> Result<File, NetemError> {
    let mut options = OpenOptions::new();
    let tun = options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/net/tun");
    let tun = tun.map_err(NetemError::missing("/dev/net/tun (the kernel's TUN driver)"))?;
    let mut request = request(pattern);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("the flags are small");
    ioctl(tun.as_raw_fd(), TUNSETIFF, &mut request).map_err(NetemError::missing("TUN interfaces"))?;
    configure(&mut request, address).map_err(NetemError::system("configuring an interface"))?;
    Ok(tun)
}

/// Brings the loopback interface up, without which a host does not reach its own address.
pub(crate) fn loopback_up() -> Result<(), NetemError> {
    let up = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        bring_up(socket.as_raw_fd(), &mut request("lo"))
    };
    up().map_err(NetemError::system("the loopback interface"))
}

fn configure(request: &mut libc::ifreq, address: Ipv4Addr) -> io::Result<()> {
    // Any socket of the namespace will do.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let fd = socket.as_raw_fd();
    request.ifr_ifru.ifru_addr = socket_address(address);
    ioctl(fd, libc::SIOCSIFADDR, request)?;
    request.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::new(255, 255, 255, 0));
    ioctl(fd, libc::SIOCSIFNETMASK, request)?;
    request.ifr_ifru.ifru_mtu = MTU;
    ioctl(fd, libc::SIOCSIFMTU, request)?;
    request.ifr_ifru.ifru_metric = QUEUE_PACKETS;
    ioctl(fd, libc::SIOCSIFTXQLEN, request)?;
    bring_up(fd, request)
}

fn bring_up(fd: RawFd, request: &mut libc::ifreq) -> io::Result<()> {
    ioctl(fd, libc::SIOCGIFFLAGS, request)?;
    let up = libc::c_short::try_from(libc::IFF_UP).expect("the flags are small");
    // SAFETY: the kernel has just written this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    if flags & up != 0 {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = flags | up;
    ioctl(fd, libc::SIOCSIFFLAGS, request)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: `sockaddr` is plain data, for which zero is a value.
    let mut general: libc::sockaddr = unsafe { std::mem::zeroed() };
    general.sa_family = libc::sa_family_t::try_from(libc::AF_INET).expect("families are small");
    // `sockaddr_in`: port, then address, from the third byte on.
    for (to, from) in general.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    general
}

fn ioctl(fd: RawFd, operation: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every operation of this file takes an `ifreq`, of which the kernel reads and writes no more than it holds.
    let done = unsafe { libc::ioctl(fd, operation, std::ptr::from_mut(request)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
