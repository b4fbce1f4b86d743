//! Congestion controllers on simulated paths: what one link carries, and how long small frames take, by round trip and by
//! random loss. QUIC and the mesh are the real ones; the network and the clock are simulated, so that the table is the same
//! on every machine. `cargo bench -p stele-transport --bench congestion` prints it as Markdown.
#![allow(missing_docs, clippy::unwrap_used, dead_code)]

#[path = "../tests/links/cluster.rs"]
mod cluster;
#[path = "../tests/links/net.rs"]
mod net;

use std::time::Duration;

use tokio::time::{Instant, timeout};
use transport::{Class, Congestion};

use cluster::{Node, number, numbered, pair, simulate};
use net::{Net, Weather};

const CONTROLLERS: [(Congestion, &str); 4] = [
    (Congestion::Cubic, "Cubic"),
    (Congestion::NewReno, "New Reno"),
    (Congestion::Bbr, "BBR"),
    (Congestion::Delay, "delay"),
];
const ROUND_TRIPS_MS: [u64; 2] = [50, 100];
const LOSSES: [f64; 3] = [0.0, 0.001, 0.01];
/// Of bulk, and of the longest that is waited for it.
const BULK_FRAME: usize = 32 * 1024;
const BULK_FRAMES: u32 = 512;
const BULK_LONGEST: Duration = Duration::from_secs(30);
/// Blocks: a header of 700 bytes and a payload of 8,000 every 30 ms, which is 2,000 transactions a second of four nodes.
const BLOCKS: u32 = 1000;
const BLOCKS_BETWEEN: Duration = Duration::from_millis(30);
/// Blocks before those that count.
const WARM_UP: u32 = 100;

fn path(round_trip_ms: u64, loss: f64) -> Weather {
    Weather { delay: Duration::from_millis(round_trip_ms) / 2, loss, bits_per_second: 500e6, ..Weather::CALM }
}

/// Megabits a second of 16 MiB, or of what came in half a minute.
fn goodput(congestion: Congestion, weather: Weather) -> f64 {
    simulate(async {
        let net = Net::new(7, weather);
        let (a, mut b) = pair(&net, |config| config.congestion = congestion).await;
        let start = Instant::now();
        let mesh = a.mesh.clone();
        tokio::spawn(async move {
            for turn in 0..BULK_FRAMES {
                while mesh.send(1, Class::Sync, numbered(turn, BULK_FRAME)).is_err() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        let mut received = 0;
        let all = async {
            while received < BULK_FRAMES {
                b.frame().await;
                received += 1;
            }
        };
        // Whatever came in time counts.
        let _ = timeout(BULK_LONGEST, all).await;
        f64::from(received) * BULK_FRAME as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64()
    })
}

/// Milliseconds from the sending of a block to the arrival of its header and of its payload: p50, p99.
fn block_delays(congestion: Congestion, weather: Weather, copies: bool) -> [f64; 2] {
    simulate(async {
        let net = Net::new(7, weather);
        let (a, mut b): (Node, Node) = pair(&net, |config| {
            config.congestion = congestion;
            config.limits.copy_bytes_per_second = if copies { 1 << 20 } else { 0 };
        })
        .await;
        let (start, mesh) = (Instant::now(), a.mesh.clone());
        let at = move |round: u32| start + BLOCKS_BETWEEN * round;
        let sending = tokio::spawn(async move {
            for round in 0..BLOCKS {
                tokio::time::sleep_until(at(round)).await;
                // A full queue is a late frame for whoever waits; none is left out.
                for (class, length) in [(Class::Header, 700), (Class::Payload, 8_000)] {
                    while mesh.send(1, class, numbered(round, length)).is_err() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
        let mut delays = Vec::new();
        let mut whole = [0u8; BLOCKS as usize];
        while delays.len() < (BLOCKS - WARM_UP) as usize {
            let (_, _, bytes) = b.frame().await;
            let round = number(&bytes);
            whole[round as usize] += 1;
            if whole[round as usize] == 2 && round >= WARM_UP {
                delays.push((Instant::now() - at(round)).as_secs_f64() * 1e3);
            }
        }
        sending.await.unwrap();
        delays.sort_by(f64::total_cmp);
        [0.5, 0.99].map(|part| delays[(delays.len() as f64 * part) as usize])
    })
}

fn main() {
    // `cargo bench` passes this; `cargo test --benches` does not, and wants no minutes of measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("Goodput of 16 MiB over 500 Mbit/s with a queue of 50 ms, in Mbit/s; by random loss\n");
    println!("| round trip | controller | 0 | 0.1 % | 1 % |\n|---:|---|---:|---:|---:|");
    for round_trip in ROUND_TRIPS_MS {
        for (congestion, name) in CONTROLLERS {
            let cells = LOSSES.map(|loss| format!("{:.1}", goodput(congestion, path(round_trip, loss))));
            println!("| {round_trip} ms | {name} | {} |", cells.join(" | "));
        }
    }
    println!(
        "\nA block (700 bytes of header, 8,000 of payload, every 30 ms) whole at its receiver, in ms: p50 / p99\n"
    );
    println!("| round trip | controller | 0 | 0.1 % | 1 % |\n|---:|---|---:|---:|---:|");
    for round_trip in ROUND_TRIPS_MS {
        for copies in [false, true] {
            for (congestion, name) in CONTROLLERS {
                let name = if copies { format!("{name}, with copies") } else { name.to_owned() };
                let cells = LOSSES.map(|loss| {
                    let [p50, p99] = block_delays(congestion, path(round_trip, loss), copies);
                    format!("{p50:.0} / {p99:.0}")
                });
                println!("| {round_trip} ms | {name} | {} |", cells.join(" | "));
            }
        }
    }
}
