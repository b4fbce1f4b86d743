//! Faults of all kinds at random, for as long as is asked for. `cargo xtask torture --only fire --seed S --minutes N` runs
//! it; the seed decides on the schedule, but not on how the processes' threads interleave with it.

use crate::bank::{Auditor, balances_follow_from_receipts};
use crate::check::{headers_agree, nobody_equivocated, nothing_is_missing};
use crate::load::Load;
use crate::network::{Network, Options, VALIDATORS};
use crate::schedule::{Episode, Fault};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::{Outcome, Reject};

/// Where Debian and Ubuntu put the library that shifts the wall clock of one process.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Says how to run the same schedule again when the test fails.
struct Replay {
    seed: u64,
    minutes: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: cargo xtask torture --only fire --seed {} --minutes {}", self.seed, self.minutes);
        }
    }
}

/// The wall clock of a node, which it reads through a file.
fn clock_file(network: &Network, node: usize) -> PathBuf {
    network.nodes[node].dir.join("clock")
}

fn set_clock(file: &Path, seconds: i64) {
    // In one step, since the node may read it at any moment.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn give_clocks(network: &mut Network) {
    for node in 0..VALIDATORS {
        let file = clock_file(network, node);
        set_clock(&file, 0);
        network.nodes[node].environment = vec![
            ("LD_PRELOAD".into(), FAKETIME.into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), file.into()),
            ("FAKETIME_CACHE_DURATION".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ];
    }
}

fn begin(network: &mut Network, fault: &Fault) {
    let links = network.links.clone().unwrap();
    let others = |node: usize| (0..VALIDATORS).filter(move |other| *other != node);
    match fault {
        Fault::Hang { node } => network.nodes[*node].process.as_ref().unwrap().signal(Signal::STOP),
        Fault::Kill { nodes } => {
            for node in nodes {
                network.nodes[*node].process.as_ref().unwrap().signal(Signal::KILL);
            }
            nodes.iter().for_each(|node| network.nodes[*node].kill());
        }
        Fault::Muted { node } => others(*node).for_each(|to| links.change(*node, to, |path| path.cut = true)),
        Fault::Deafened { node } => others(*node).for_each(|from| links.change(from, *node, |path| path.cut = true)),
        Fault::OneWay { from, to } => links.change(*from, *to, |path| path.cut = true),
        Fault::Partition { side } => links.part(side, true),
        Fault::Storm { path } => {
            for from in 0..VALIDATORS {
                others(from)
                    .for_each(|to| links.change(from, to, |known| *known = netem::Path { cut: known.cut, ..*path }));
            }
        }
        Fault::Clock { node, seconds } => set_clock(&clock_file(network, *node), *seconds),
    }
}

/// Processes again as they were; the links are mended for all faults at once.
async fn end(network: &mut Network, fault: &Fault) {
    match fault {
        Fault::Hang { node } => network.nodes[*node].process.as_ref().unwrap().signal(Signal::CONT),
        Fault::Kill { .. } => network.start_nodes().await,
        Fault::Clock { node, .. } => set_clock(&clock_file(network, *node), 0),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `cargo xtask torture --only fire`"]
async fn a_random_schedule_of_faults_loses_nothing() {
    let (seed, minutes) = (number("STELE_FIRE_SEED", 1), number("STELE_FIRE_MINUTES", 1));
    let _replay = Replay { seed, minutes };
    let Some(mut network) = Network::prepare_emulated(Options::default(), seed).await else { return };
    let clocks = Path::new(FAKETIME).exists();
    if clocks {
        give_clocks(&mut network);
    } else {
        println!("  wall clocks stay as they are: {FAKETIME} is not there (Debian, Ubuntu: apt install faketime)");
    }
    let links = network.links.clone().unwrap();
    network.start_signers().await;
    network.start_nodes().await;
    let load = Load::start(&network, &[0, 1, 2, 3], 25);
    let mut auditor = Auditor::start(&network);

    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0.. {
        if start.elapsed() >= Duration::from_secs(60 * minutes) {
            break;
        }
        let episode = Episode::new(seed, number, clocks);
        println!("  {:>5.0} s  {episode}", start.elapsed().as_secs_f64());
        links.set_all(episode.fair);
        episode.faults.iter().for_each(|fault| begin(&mut network, fault));
        tokio::time::sleep(episode.lasts).await;
        links.set_all(episode.fair);
        for fault in &episode.faults {
            end(&mut network, fault).await;
        }
        // Whatever it was, all go on within a minute, each with what it is given itself.
        let healed = Instant::now();
        for node in 0..VALIDATORS {
            network.nodes[node].process.as_mut().unwrap().check();
            load.acknowledges_at(node, 5).await;
        }
        slowest = slowest.max(healed.elapsed());
        auditor.check().await;
    }

    let mut outcomes = load.finish_whatever_was_refused().await;
    // What came too late has a receipt and no entry: nobody can ask for it by its id.
    outcomes.acknowledged.retain(|_, receipt| receipt.outcome != Outcome::Rejected(Reject::Expired));
    let height = headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    balances_follow_from_receipts(&network, &outcomes).await;
    nobody_equivocated(&network).await;
    let audits = auditor.finish().await;
    println!(
        "  seed {seed}: height {height}, {audits} audits, all went on {:.1} s after each healing at the latest",
        slowest.as_secs_f64()
    );
}
