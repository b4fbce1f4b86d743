//! Throughput of one mesh link over loopback, both ends in this process on two threads: MB/s by criterion, and MB per
//! CPU-second of the whole process, printed per group.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use transport::{
    Class, EventLimits, IdentityKey, Mesh, MeshConfig, MeshEvent, MeshEvents, PeerAddress, SendError, SoftIdentity,
    event_channel,
};

/// Bytes moved per sample.
const STRIDE: usize = 32 << 20;

fn identity(index: u16) -> Arc<dyn IdentityKey> {
    Arc::new(SoftIdentity::from_seed([index as u8 + 1; 32]))
}

async fn pair(datagram_bytes_max: Option<u16>) -> [(Mesh, MeshEvents); 2] {
    let probe = [0, 1].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has ports"));
    let addresses: [SocketAddr; 2] = probe.each_ref().map(|s| s.local_addr().expect("bound"));
    drop(probe);
    let roster: Vec<_> = (0..2u16)
        .map(|index| PeerAddress { index, addr: addresses[usize::from(index)], key: identity(index).public_key() })
        .collect();
    let start = async |index: u16| {
        let (sink, mut events) = event_channel(EventLimits::default());
        let mut config = MeshConfig::new(index, addresses[usize::from(index)], roster.clone());
        if let Some(bytes) = datagram_bytes_max {
            config.limits.datagrams.loopback_bytes_max = bytes;
        }
        let mesh = Mesh::start(config, identity(index), sink).await.expect("the port was free");
        (mesh, async move {
            assert!(matches!(events.recv().await, Some(MeshEvent::Up { .. })));
            events
        })
    };
    let ((a, a_up), (b, b_up)) = (start(0).await, start(1).await);
    [(a, a_up.await), (b, b_up.await)]
}

/// Moves [`STRIDE`] bytes in frames of `length`; returns when the last has been received.
async fn transfer(from: &Mesh, to: &mut MeshEvents, class: Class, frame: &Bytes) -> Duration {
    let count = STRIDE / frame.len();
    let start = Instant::now();
    let sender = {
        let (mesh, frame) = (from.clone(), frame.clone());
        tokio::spawn(async move {
            for _ in 0..count {
                loop {
                    match mesh.send(1, class, frame.clone()) {
                        Ok(()) => break,
                        Err(SendError::Full) => tokio::time::sleep(Duration::from_micros(200)).await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    };
    let mut received = 0;
    while received < count {
        match to.recv().await {
            Some(MeshEvent::Frame { .. }) => received += 1,
            other => panic!("{other:?}"),
        }
    }
    sender.await.expect("the sender does not panic");
    start.elapsed()
}

/// User and system time of this process, seconds, in the kernel's ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn throughput(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("mesh");
    group.sample_size(10).throughput(Throughput::Bytes(STRIDE as u64));
    for (name, class, length) in [("payload_128KiB", Class::Payload, 128 << 10), ("header_512B", Class::Header, 512)] {
        for datagram in [Some(1452), None, Some(65_000)] {
            let [(a, _a_events), (_b, mut b_events)] = runtime.block_on(pair(datagram));
            let frame = Bytes::from(vec![7; length]);
            let (mut moved, cpu, wall) = (0, cpu_seconds(), Instant::now());
            let label = format!("{name}/datagram_{}", datagram.map_or("default".into(), |d| d.to_string()));
            group.bench_function(&label, |bencher| {
                bencher.iter_custom(|rounds| {
                    moved += rounds as usize * STRIDE;
                    let mut total = Duration::ZERO;
                    for _ in 0..rounds {
                        total += runtime.block_on(transfer(&a, &mut b_events, class, &frame));
                    }
                    total
                });
            });
            let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
            let megabytes = moved as f64 / 1e6;
            let status = &a.peers()[0];
            println!(
                "{label}: {:.0} MB/s, {:.0} MB per CPU-second, datagrams of {} bytes, {} lost",
                megabytes / wall,
                megabytes / cpu,
                status.datagram_bytes,
                status.lost_packets
            );
        }
    }
    group.finish();
}

/// A frame there and one back, on an otherwise idle link.
fn round_trip(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let [(a, mut a_events), (b, mut b_events)] = runtime.block_on(pair(None));
    runtime.block_on(transfer(&a, &mut b_events, Class::Payload, &Bytes::from(vec![7; 128 << 10])));
    let _echo = runtime.spawn(async move {
        while let Some(event) = b_events.recv().await {
            if let MeshEvent::Frame { class, bytes, .. } = event {
                b.send(0, class, bytes).expect("the link is idle");
            }
        }
    });
    let mut group = c.benchmark_group("mesh_round_trip");
    for length in [512, 128 << 10] {
        let frame = Bytes::from(vec![7; length]);
        group.bench_function(format!("{length}B"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    a.send(1, Class::Header, frame.clone()).expect("the link is idle");
                    a_events.recv().await
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, throughput, round_trip);
criterion_main!(benches);
