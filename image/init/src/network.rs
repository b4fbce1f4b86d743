//! The network: the loopback, and one interface with an address of its own, by hand or by DHCP; in a ceremony only the link to
//! its HSM, where its image has one.

mod dhcp;
pub mod link;

use crate::{Fault, say};
use image_formats::machine::{Address, Machine};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an interface may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lease or a constant, as it is put on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Assignment {
    address: Ipv4Addr,
    bits: u8,
    gateway: Option<Ipv4Addr>,
}

/// Configures it.
pub fn configure(machine: &Machine) -> Result<(), Fault> {
    let _ = std::fs::write("/proc/sys/kernel/hostname", &machine.name);
    // Requests to interfaces go through any socket.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").map_err(Fault::system("opening a socket"))?;
    up(&socket, "lo").map_err(Fault::system("raising lo"))?;
    let name = interface(machine)?;
    up(&socket, &name).map_err(Fault::system(format!("raising {name}")))?;
    let assignment = match &machine.address {
        Address::Static(address, bits, gateway) => Assignment { address: *address, bits: *bits, gateway: *gateway },
        Address::Dhcp => dhcp::lease(&name)?,
    };
    assign(&socket, &name, assignment).map_err(Fault::system(format!("giving {name} its address")))?;
    let carrier = std::fs::read_to_string(format!("/sys/class/net/{name}/carrier"));
    let note = if carrier.is_ok_and(|text| text.trim() == "1") { "" } else { ", no carrier" };
    say(format_args!("{name}: {}/{}{note}", assignment.address, assignment.bits));
    Ok(())
}

/// The interfaces that are devices, by name.
fn cards() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let devices = entries.filter(|entry| entry.path().join("device").exists());
    let mut names: Vec<String> = devices.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn interface(machine: &Machine) -> Result<String, Fault> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let wanted = cards().into_iter().find(|name| machine.interface.as_ref().is_none_or(|wanted| wanted == name));
        match wanted {
            Some(name) => return Ok(name),
            None if Instant::now() > deadline => {
                let which = machine.interface.as_deref().unwrap_or("with a driver");
                return Err(Fault::Machine(format!("no network interface {which}")));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: a structure of integers and arrays of them, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *place = byte as libc::c_char;
    }
    request
}

fn call<T>(socket: &impl AsRawFd, number: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: callers give the structure that the request is defined with.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(argument)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn up(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    if !Path::new("/sys/class/net").join(name).exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut request = request(name);
    call(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the request above has filled this member.
    unsafe { request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short };
    call(socket, libc::SIOCSIFFLAGS, &mut request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (place, byte) in data[2..6].iter_mut().zip(address.octets()) {
        *place = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn mask(bits: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

fn assign(socket: &impl AsRawFd, name: &str, assignment: Assignment) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = socket_address(assignment.address);
    call(socket, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = socket_address(mask(assignment.bits));
    call(socket, libc::SIOCSIFNETMASK, &mut request)?;
    let Some(gateway) = assignment.gateway else { return Ok(()) };
    // SAFETY: a structure of integers, arrays of them and a pointer that may be null.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    call(socket, libc::SIOCADDRT, &mut route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_so_many_bits() {
        assert_eq!(mask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!((mask(0), mask(32)), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    }
}
