//! The network as its user sees it: hosts, their addresses, and the paths between them.

use crate::namespace::Namespace;
use crate::relay::{Counts, Relay, Shared};
use crate::{NetemError, Path, tun};
use rustix::event::{EventfdFlags, eventfd};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Last byte of the outside's address.
pub(crate) const OUTSIDE: usize = 254;
/// Hosts of one network.
const HOSTS_MAX: usize = 200;

/// See the module. Dropped, it takes the interfaces away; processes that still run on a host are then cut off.
#[derive(Debug)]
pub struct Emulation {
    network: [u8; 3],
    hosts: Vec<Namespace>,
    shared: Arc<Shared>,
    stop: OwnedFd,
    relay: Option<JoinHandle<()>>,
}

impl Emulation {
    /// Makes `hosts` hosts and starts the relay. All paths are perfect at first.
    ///
    /// # Errors
    /// [`NetemError::is_unsupported`] tells whether another user, or another machine, could have one.
    pub fn start(hosts: usize, seed: u64) -> Result<Self, NetemError> {
        if hosts > HOSTS_MAX {
            return Err(NetemError::TooManyHosts { hosts, most: HOSTS_MAX });
        }
        // It is down in a fresh namespace (`unshare --net`), and nothing has an address there.
        tun::loopback_up()?;
        let network = free_network()?;
        let (mut namespaces, mut interfaces) = (Vec::new(), Vec::new());
        for host in 0..hosts {
            let (namespace, interface) = Namespace::create(address(network, host + 1))?;
            namespaces.push(namespace);
            interfaces.push(interface);
        }
        interfaces.push(tun::open("stele%d", address(network, OUTSIDE))?);
        let shared = Shared::new(hosts, seed);
        let system = NetemError::system("starting the relay");
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| system(errno.into()))?;
        let stopped = stop.try_clone().map_err(&system)?;
        let relay = Relay { interfaces, shared: Arc::clone(&shared), stop: stopped };
        let relay = std::thread::Builder::new().name("netem".into()).spawn(|| relay.run()).map_err(&system)?;
        Ok(Self { network, hosts: namespaces, shared, stop, relay: Some(relay) })
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        assert!(host < self.hosts.len(), "there are {} hosts", self.hosts.len());
        address(self.network, host + 1)
    }

    /// The address of this process's own namespace on the network.
    pub fn outside(&self) -> Ipv4Addr {
        address(self.network, OUTSIDE)
    }

    /// Runs something on a host, on a thread that is made for it: sockets that it opens and processes that it starts
    /// belong there.
    ///
    /// # Errors
    /// Where the host's namespace cannot be entered.
    pub fn inside<T: Send>(&self, host: usize, run: impl FnOnce() -> T + Send) -> Result<T, NetemError> {
        self.hosts[host].inside(run)
    }

    /// Changes what is between two hosts, one way. What is on the way already arrives as it would have.
    pub fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Path)) {
        change(&mut self.shared.lock().direction(from, to).path);
    }

    /// The same in every direction between two hosts.
    pub fn set_all(&self, path: Path) {
        for from in 0..self.hosts() {
            for to in 0..self.hosts() {
                self.change(from, to, |known| *known = path);
            }
        }
    }

    /// Cuts every direction between a host of one side and a host of the other, or none of them any more.
    pub fn part(&self, side: &[usize], cut: bool) {
        for from in 0..self.hosts() {
            for to in (0..self.hosts()).filter(|to| side.contains(to) != side.contains(&from)) {
                self.change(from, to, |path| path.cut = cut);
            }
        }
    }

    /// What the relay has done.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        let told = rustix::io::write(&self.stop, &1u64.to_ne_bytes()).is_ok();
        if let Some(relay) = self.relay.take().filter(|_| told) {
            // It ends at once, and has nothing to say.
            let _ = relay.join();
        }
    }
}

fn address([a, b, c]: [u8; 3], last: usize) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, u8::try_from(last).expect("hosts are few"))
}

/// A /24 network of those set aside for tests of networks (RFC 2544) of which this machine has no address.
fn free_network() -> Result<[u8; 3], NetemError> {
    let first = std::process::id() as u8;
    let networks = (0..=u8::MAX).map(|offset| [198, 18, first.wrapping_add(offset)]);
    let mut free = networks.filter(|network| UdpSocket::bind((address(*network, OUTSIDE), 0)).is_err());
    free.next().ok_or(NetemError::NoAddress)
}
