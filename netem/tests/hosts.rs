//! Two hosts on a real emulated network. Where this user or this machine cannot have one, each test says so and passes.
#![allow(clippy::unwrap_used)]

use netem::{Emulation, Path};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PACKETS: u64 = 2000;

fn network(hosts: usize) -> Option<Emulation> {
    match Emulation::start(hosts, 11) {
        Ok(network) => Some(network),
        Err(error) if error.is_unsupported() => {
            // Past the harness, which shows nothing of a test that passes.
            std::io::stderr().write_all(format!("SKIPPED: {error}\n").as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

fn socket(network: &Emulation, host: usize) -> UdpSocket {
    let address = network.address(host);
    let socket = network.inside(host, || UdpSocket::bind((address, 9000)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

#[test]
fn packets_between_hosts_take_their_time_and_the_seed_decides_which_are_lost() {
    let Some(network) = network(2) else { return };
    let delay = Duration::from_millis(20);
    let (a, b) = (socket(&network, 0), socket(&network, 1));
    let to_b = b.local_addr().unwrap();
    network.set_all(Path { delay, ..Path::default() });
    let sent = Instant::now();
    a.send_to(b"there", to_b).unwrap();
    let mut buffer = [0; 64];
    let (_, from) = b.recv_from(&mut buffer).unwrap();
    b.send_to(b"and back", from).unwrap();
    a.recv_from(&mut buffer).unwrap();
    assert!(sent.elapsed() >= 2 * delay, "{:?}", sent.elapsed());

    network.change(0, 1, |path| path.loss_ppm = 100_000);
    let before = network.counts().delivered;
    let (mut sent, mut arrived) = (0, 0);
    while sent < PACKETS {
        // No more at once than a socket's buffer of any size holds.
        for _ in 0..50 {
            a.send_to(b"through", to_b).unwrap();
            sent += 1;
        }
        let through = || (network.counts().delivered - before, network.counts().dropped);
        while through().0 + through().1 < sent {
            std::thread::yield_now();
        }
        while arrived < through().0 {
            b.recv_from(&mut buffer).unwrap();
            arrived += 1;
        }
    }
    let dropped = network.counts().dropped;
    assert_eq!(arrived + dropped, PACKETS);
    assert!((150..250).contains(&dropped), "{dropped}");
}

#[test]
fn a_one_way_cut_stops_one_way_and_heals() {
    let Some(network) = network(2) else { return };
    let (a, b) = (socket(&network, 0), socket(&network, 1));
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    network.change(0, 1, |path| path.cut = true);
    a.send_to(b"lost", to_b).unwrap();
    b.send_to(b"arrives", to_a).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(a.recv_from(&mut buffer).unwrap().0, 7);
    assert_eq!(network.counts().dropped, 1);
    network.part(&[0], true);
    network.part(&[0], false);
    a.send_to(b"healed", to_b).unwrap();
    assert_eq!(b.recv_from(&mut buffer).unwrap().0, 6);
}

#[test]
fn the_outside_reaches_processes_on_hosts_and_they_the_outside() {
    let Some(network) = network(1) else { return };
    // A process of the host finds its interface, its loopback and nothing else.
    let listed = network.inside(0, || {
        Command::new("cat").arg("/proc/net/dev").stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    });
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let interfaces: Vec<_> = listed.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert!(interfaces.len() == 2 && interfaces.contains(&"lo") && interfaces.contains(&"stele0"), "{interfaces:?}");

    let here = SocketAddr::from((network.outside(), 0));
    let listener = TcpListener::bind(here).unwrap();
    let at = listener.local_addr().unwrap();
    let mut from_host = network.inside(0, || TcpStream::connect(at).unwrap()).unwrap();
    let (mut accepted, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), network.address(0));
    from_host.write_all(&[7; 100_000]).unwrap();
    drop(from_host);
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    assert_eq!(all, [7; 100_000]);
    // Loopback is the host's own.
    let port = at.port();
    assert!(network.inside(0, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()).unwrap());
}
