//! Congestion controllers on simulated paths: what loss, queues and company do to them.

use std::time::Duration;

use tokio::time::Instant;
use transport::{Class, Congestion, MeshConfig};

use crate::cluster::{Node, number, numbered, pair, simulate};
use crate::net::{Net, Weather};

const FRAME: usize = 32 * 1024;

/// Moves so many frames from one end to the other, and returns megabits a second.
async fn goodput(a: &Node, b: &mut Node, class: Class, frames: u32) -> f64 {
    let (mesh, start) = (a.mesh.clone(), Instant::now());
    let sending = tokio::spawn(async move {
        for turn in 0..frames {
            while mesh.send(1, class, numbered(turn, FRAME)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for turn in 0..frames {
        assert_eq!(number(&b.frame().await.2), turn);
    }
    sending.await.unwrap();
    f64::from(frames) * FRAME as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64()
}

fn bulk(congestion: Congestion, weather: Weather, frames: u32) -> f64 {
    simulate(async {
        let net = Net::new(3, weather);
        let (a, mut b) = pair(&net, |config: &mut MeshConfig| config.congestion = congestion).await;
        goodput(&a, &mut b, Class::Sync, frames).await
    })
}

const FAR: Weather = Weather { delay: Duration::from_millis(25), bits_per_second: 200e6, ..Weather::CALM };

#[test]
fn random_loss_takes_little_from_delay_based_control_and_nearly_all_from_cubic() {
    let lossy = Weather { loss: 0.01, ..FAR };
    let (calm, rough) = (bulk(Congestion::Delay, FAR, 1000), bulk(Congestion::Delay, lossy, 1000));
    let cubic = bulk(Congestion::Cubic, lossy, 200);
    println!("  {calm:.0} Mbit/s without loss, {rough:.0} at 1 %; Cubic {cubic:.1} at 1 %");
    assert!(calm > 120.0 && rough > 0.6 * calm, "{calm} and {rough}");
    assert!(cubic * 10.0 < rough, "{cubic}");
    let awful = bulk(Congestion::Delay, Weather { loss: 0.1, ..FAR }, 200);
    assert!(awful > 20.0, "{awful} Mbit/s at 10 %");
}

/// The bottleneck could hold 50 ms; a header sent into a busy link must not wait for that.
#[test]
fn delay_based_control_keeps_queues_short() {
    let wait = |congestion| {
        simulate(async {
            let net = Net::new(3, Weather { bits_per_second: 50e6, ..FAR });
            let (a, mut b) = pair(&net, |config| config.congestion = congestion).await;
            let mut longest = Duration::ZERO;
            let mut sync = 0;
            for turn in 0..300 {
                while a.mesh.send(1, Class::Sync, numbered(sync, FRAME)).is_ok() {
                    sync += 1;
                }
                let sent = Instant::now();
                a.mesh.send(1, Class::Header, numbered(turn, 700)).unwrap();
                while b.frame().await.1 != Class::Header {}
                if turn > 30 {
                    longest = longest.max(sent.elapsed());
                }
            }
            longest
        })
    };
    let (delay, cubic) = (wait(Congestion::Delay), wait(Congestion::Cubic));
    println!("  longest wait of a header beside bulk: {delay:?}, with Cubic {cubic:?}");
    assert!(delay < Duration::from_millis(25 + 20), "{delay:?}");
    assert!(cubic > delay, "{cubic:?}");
}

/// A path that becomes longer, as by another route, must not look like a queue for ever.
#[test]
fn a_longer_route_is_learnt() {
    simulate(async {
        let net = Net::new(3, FAR);
        let (a, mut b) = pair(&net, |config| config.congestion = Congestion::Delay).await;
        goodput(&a, &mut b, Class::Sync, 500).await;
        net.change(|weather| weather.delay = Duration::from_millis(60));
        tokio::time::sleep(Duration::from_secs(25)).await;
        let after = goodput(&a, &mut b, Class::Sync, 500).await;
        println!("  {after:.0} Mbit/s over the longer route");
        assert!(after > 50.0, "{after}");
    });
}

#[test]
fn a_short_queue_overflows_at_the_start_alone() {
    simulate(async {
        let net = Net::new(3, Weather { bits_per_second: 40e6, queue: Duration::from_millis(20), ..FAR });
        let (a, mut b) = pair(&net, |config| config.congestion = Congestion::Delay).await;
        goodput(&a, &mut b, Class::Sync, 150).await;
        let (_, dropped_at_the_start) = net.counts();
        let rate = goodput(&a, &mut b, Class::Sync, 500).await;
        let (sent, dropped) = net.counts();
        println!("  {rate:.0} Mbit/s; {dropped_at_the_start} datagrams dropped at the start, of {sent}");
        assert_eq!(dropped, dropped_at_the_start);
        assert!(rate > 36.0, "{rate}");
    });
}
