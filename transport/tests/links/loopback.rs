//! Over real sockets, on several threads.

use std::net::SocketAddr;
use std::time::Duration;

use transport::{
    Class, ClientEvent, ClientLimits, ClientLink, ClientServer, EventLimits, Mesh, MeshConfig, MeshEvent, PeerAddress,
    TransportError, client_event_channel, event_channel,
};

use crate::cluster::{identity, mixed_identity, number, numbered};

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..count).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|s| s.local_addr().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_exchange_a_megabyte_each_over_udp() {
    let ports = free_ports(4);
    let roster: Vec<_> = (0..4u16)
        .map(|index| PeerAddress { index, addr: ports[usize::from(index)], key: mixed_identity(index).public_key() })
        .collect();
    let mut nodes = Vec::new();
    for index in 0..4u16 {
        let (sink, events) = event_channel(EventLimits::default());
        let config = MeshConfig::new(index, ports[usize::from(index)], roster.clone());
        nodes.push((Mesh::start(config, mixed_identity(index), sink).await.unwrap(), events));
    }
    const FRAMES: u32 = 16;
    let exchange = async {
        for (_, events) in &mut nodes {
            for _ in 0..3 {
                assert!(matches!(events.recv().await, Some(MeshEvent::Up { .. })));
            }
        }
        for i in 0..FRAMES {
            for (mesh, _) in &nodes {
                for class in Class::ALL {
                    assert_eq!(mesh.broadcast(class, numbered(i, 64 * 1024)).unwrap().queued, 3);
                }
            }
        }
        for (_, events) in &mut nodes {
            let mut next = [[0u32; 3]; 4];
            for _ in 0..FRAMES * 3 * 3 {
                let Some(MeshEvent::Frame { peer, class, bytes }) = events.recv().await else { panic!("a frame") };
                let expected = &mut next[usize::from(peer)][class as usize];
                assert_eq!((number(&bytes), bytes.len()), (*expected, 64 * 1024));
                *expected += 1;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("a minute is ample");
    let in_use = MeshConfig::new(9, ports[0], roster);
    let refused = Mesh::start(in_use, identity(9), event_channel(EventLimits::default()).0).await;
    assert!(matches!(refused, Err(TransportError::Bind { addr, .. }) if addr == ports[0]));
    for (mesh, _) in &nodes {
        mesh.shutdown().await;
    }
    drop(nodes);
    let freed = async {
        while std::net::UdpSocket::bind(ports[0]).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the port is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_and_a_node_talk_over_udp() {
    let (sink, mut events) = client_event_channel(EventLimits::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let server = ClientServer::start(any, mixed_identity(1), ClientLimits::default(), None, sink).await.unwrap();
    let key = Some(mixed_identity(1).public_key());
    let link = ClientLink::connect(server.local_addr().unwrap(), key).await.unwrap();
    let talk = async {
        let Some(ClientEvent::Opened { session }) = events.recv().await else { panic!("opened") };
        link.send(numbered(3, 1 << 20)).await.unwrap();
        let Some(ClientEvent::Batch { frame, .. }) = events.recv().await else { panic!("a batch") };
        server.send(session, frame.clone()).unwrap();
        assert_eq!(link.recv().await, Some(frame));
    };
    tokio::time::timeout(Duration::from_secs(60), talk).await.expect("a minute is ample");
    server.shutdown().await;
    assert!(link.recv().await.is_none());
}
