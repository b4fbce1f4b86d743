//! What a person sees while a devnet runs: a few lines that are redrawn on a terminal, a line a second elsewhere.

use super::Rate;
use super::measure::Second;
use super::network::Network;
use super::site::Site;
use super::traffic::Presigner;
use client::RpcClient;
use client::rpc::NodeStatus;
use crossterm::cursor::MoveUp;
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A node that does not answer within this time is shown as such.
const PATIENCE: Duration = Duration::from_millis(800);

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Load that is not measured.
    #[default]
    WarmUp,
    /// Load that is measured.
    Window,
    /// Waiting for the last answers.
    Tail,
}

/// The state of a run, once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Where it is.
    pub phase: Phase,
    /// Seconds of the window that have passed.
    pub second_of_window: u64,
    /// Seconds of the window.
    pub window_seconds: u64,
    /// What was answered in the last second.
    pub second: Second,
    /// Transactions without an answer.
    pub backlog: u64,
    /// Answers "busy" so far.
    pub busy: u64,
    /// Transactions sent so far.
    pub given: u64,
}

/// Shows how far signing ahead is, until it is done.
pub async fn presigning(presigner: &Presigner) {
    let terminal = std::io::stdout().is_terminal();
    loop {
        let (signed, wanted) = presigner.progress();
        if terminal {
            print!("\rsigning transactions ahead: {signed} of {wanted}");
            let _ = std::io::stdout().flush();
        }
        if signed == wanted {
            println!("{}", if terminal { String::new() } else { format!("{wanted} transactions signed ahead") });
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Shows every progress until its sender is gone.
pub fn follow(network: &Network, rate: Rate, mut progress: watch::Receiver<Progress>) -> JoinHandle<()> {
    let nodes: Vec<(String, RpcClient)> = network
        .validators()
        .iter()
        .map(|validator| (validator.authority().name.clone(), validator.rpc().clone()))
        .collect();
    tokio::spawn(async move {
        let terminal = std::io::stdout().is_terminal();
        let mut drawn = 0;
        let mut given_before = 0;
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            let statuses = ask(&nodes).await;
            let offered = now.given - given_before;
            given_before = now.given;
            if terminal {
                drawn = redraw(&screenful(rate, &now, offered, &nodes, &statuses), drawn);
            } else {
                println!("{}", line(&now, offered, &statuses));
            }
        }
    })
}

async fn ask(nodes: &[(String, RpcClient)]) -> Vec<Option<NodeStatus>> {
    let asked: Vec<_> = nodes
        .iter()
        .map(|(_, rpc)| {
            let rpc = rpc.clone();
            tokio::spawn(async move { timeout(PATIENCE, rpc.status()).await.ok()?.ok() })
        })
        .collect();
    let mut statuses = Vec::with_capacity(asked.len());
    for answer in asked {
        statuses.push(answer.await.ok().flatten());
    }
    statuses
}

fn phase(progress: &Progress) -> String {
    match progress.phase {
        Phase::WarmUp => "warm-up".to_owned(),
        Phase::Window => format!("{:>3} of {} s", progress.second_of_window, progress.window_seconds),
        Phase::Tail => "last answers".to_owned(),
    }
}

fn line(progress: &Progress, offered: u64, statuses: &[Option<NodeStatus>]) -> String {
    let heights: Vec<_> = statuses
        .iter()
        .map(|status| status.as_ref().map_or("-".to_owned(), |status| status.height.to_string()))
        .collect();
    let Second { receipts, p50_ms, p99_ms } = progress.second;
    format!(
        "{:<12} offered {offered:>6}/s  committed {receipts:>6}/s  p50 {p50_ms:>7.1} ms  p99 {p99_ms:>7.1} ms  waiting {:>6}  busy {}  heights {}",
        phase(progress),
        progress.backlog,
        progress.busy,
        heights.join(" ")
    )
}

fn screenful(
    rate: Rate,
    progress: &Progress,
    offered: u64,
    nodes: &[(String, RpcClient)],
    statuses: &[Option<NodeStatus>],
) -> String {
    let Second { receipts, p50_ms, p99_ms } = progress.second;
    let rate = match rate {
        Rate::PerSecond(rate) => format!("{rate} a second"),
        Rate::Max => "as much as it takes".to_owned(),
    };
    let mut text = format!(
        "{} · rate {rate}\n  offered {offered:>7}/s   committed {receipts:>7}/s   p50 {p50_ms:>8.1} ms   p99 {p99_ms:>8.1} ms   waiting {:>6}   busy {}\n",
        phase(progress),
        progress.backlog,
        progress.busy
    );
    text.push_str("  node        state          height    round   certified   peers   pending   memory\n");
    for ((name, _), status) in nodes.iter().zip(statuses) {
        // Writing to a string cannot fail.
        let _ = match status {
            None => writeln!(text, "  {name:<11} no answer"),
            Some(status) => writeln!(
                text,
                "  {name:<11} {:<12} {:>8} {:>8} {:>11} {:>7} {:>9} {:>4} MiB",
                status.state.label(),
                status.height.0,
                status.round.0,
                status.certified_height.0,
                status.peers_up,
                status.pending_transactions,
                status.rss_bytes >> 20
            ),
        };
    }
    text
}

/// Draws over the lines drawn before; returns how many there are now.
fn redraw(text: &str, before: u16) -> u16 {
    let mut out = std::io::stdout();
    if before > 0 {
        // A terminal that is gone shows nothing, and that is no reason to stop.
        let _ = execute!(out, MoveUp(before), Clear(ClearType::FromCursorDown));
    }
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    u16::try_from(text.lines().count()).unwrap_or(0)
}

/// How to use a network that is left running.
pub fn usage(network: &Network, site: &Site) {
    println!("\nThe network is running; Ctrl-C stops it. Its files are in {}\n", site.path().display());
    println!("  node        JSON-RPC                   clients (QUIC)         validators (QUIC)");
    for validator in network.validators() {
        let authority = validator.authority();
        println!(
            "  {:<11} {:<26} {:<22} {}",
            authority.name,
            validator.rpc().url(),
            authority.client_address,
            authority.peer_address
        );
    }
    let Some(first) = network.validators().first() else { return };
    let url = first.rpc().url();
    let genesis = network.genesis_path();
    let program = std::env::current_exe().map_or("stele".to_owned(), |path| path.display().to_string());
    let (key, passphrase) = (network.account_key(), network.account_passphrase());
    let signing = format!("--key {} --passphrase-file {}", key.display(), passphrase.display());
    println!("\nTry:");
    println!("  curl {url}/metrics");
    println!("  {program} tx --rpc {url} status");
    println!("  {program} tx --rpc {url} follow");
    println!("  {program} key show {}", key.display());
    println!("  {program} tx --rpc {url} certify {} {signing}", genesis.display());
    println!("  {program} tx --rpc {url} document {}", genesis.display());
    println!("  {program} tx --genesis {} proof ID", genesis.display());
    println!("  {program} governance --rpc {url} show");
    println!("  {program} governance --rpc {url} parameters gc_depth_rounds=200 {signing}");
}
