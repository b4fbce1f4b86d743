//! The load generator: an open loop. A transaction is due when the schedule says so, whatever became of those before.
//!
//! Each goes to one validator, in batches of a few milliseconds, round-robin. "Busy" is obeyed: what it hits waits for the
//! hint and is sent again, and its latency goes on counting. `max` keeps up to [`BACKLOG_MAX`] transactions without an
//! answer at each validator.

use super::measure::{End, Measure, Second};
use super::network::Network;
use super::screen::{self, Phase, Progress};
use super::traffic::{Presigner, Schedule};
use super::usage;
use super::{DevnetArgs, Rate, TAIL, WARM_UP};
use bytes::Bytes;
use client::{Client, ClientOptions, RpcClient, Update};
use miette::{IntoDiagnostic, WrapErr};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(2);
/// Most transactions without an answer at a validator under `--rate max`.
const BACKLOG_MAX: usize = 8192;
/// Most transactions that one tick gives to one validator.
const BATCH_MAX: usize = 1024;
/// Bound of the client's own queue; the open loop itself knows none, so this is far above what a run can reach.
const IN_FLIGHT_MAX: u32 = 1 << 22;

/// What a run has shown.
#[derive(Debug)]
pub struct Measured {
    /// Counts and latencies.
    pub measure: Measure,
    /// Answers "busy", over the whole run.
    pub busy: u64,
    /// Most transactions without an answer at once, all validators together.
    pub backlog_max: u64,
    /// Transactions signed before the run.
    pub signed_ahead: u64,
    /// Transactions signed while it ran, which took time from the validators.
    pub signed_late: u64,
    /// CPU time in the window.
    pub cpu: Cpu,
    /// Rounds of consensus in the window; 0 where the first validator did not say.
    pub rounds: u64,
}

/// CPU time in the window.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// Of each node.
    pub nodes: Vec<Duration>,
    /// Of all signers.
    pub signers: Duration,
    /// Of this process.
    pub load: Duration,
}

/// A transaction on its way.
#[derive(Debug)]
struct Sent {
    due_us: u64,
    raw: Bytes,
}

/// One validator, seen from here.
#[derive(Debug)]
struct Lane {
    client: Client<Sent>,
    outstanding: usize,
    /// To be sent, or sent again, when there is room.
    waiting: VecDeque<Sent>,
    busy_until: Option<Instant>,
    up: bool,
}

/// Runs the load to its end.
///
/// # Errors
/// A validator that cannot be reached at the start.
pub async fn run(network: &Network, presigner: Presigner, args: &DevnetArgs) -> miette::Result<Measured> {
    let (mut lanes, mut updates) = connect(network).await?;
    let (warm_up, window) = (WARM_UP, Duration::from_secs(args.seconds.into()));
    let tps = if let Rate::PerSecond(rate) = args.rate { rate } else { u32::MAX };
    let start = Instant::now();
    let schedule = Schedule { start, tps };
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let measure = Measure::new(us(warm_up)..us(warm_up + window));
    let (show, shown) = watch::channel(Progress::default());
    let screen = screen::follow(network, args.rate, shown);
    let cpu = tokio::spawn(sample_cpu(network.pids(), start + warm_up, window));

    let rounds = tokio::spawn(count_rounds(network.validators()[0].rpc().clone(), start + warm_up, window));

    let mut run = Run { measure, presigner, start, busy: 0, backlog_max: 0, turn: 0, given: 0 };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut seconds = tokio::time::interval_at((start + Duration::from_secs(1)).into(), Duration::from_secs(1));
    let (end, give_up) = (start + warm_up + window, start + warm_up + window + TAIL);
    // What is due at the end itself belongs to no window.
    let last = end - Duration::from_nanos(1);
    loop {
        let now = tokio::select! {
            biased;
            _ = ticks.tick() => {
                let now = Instant::now();
                match args.rate {
                    // All that is due before the end is given, though it be at the first tick behind it.
                    Rate::PerSecond(_) => run.give_due(&mut lanes, &schedule, now.min(last)),
                    Rate::Max if now < end => run.give_max(&mut lanes, now),
                    Rate::Max => {}
                }
                run.send_waiting(&mut lanes, now);
                now
            }
            Some((lane, batch)) = updates.recv() => {
                let now = Instant::now();
                batch.into_iter().for_each(|update| run.update(&mut lanes, lane, update, now));
                now
            }
            _ = seconds.tick() => {
                let now = Instant::now();
                show.send_replace(run.progress(&lanes, now, warm_up, window));
                now
            }
        };
        let all_given = now >= end && (args.rate == Rate::Max || run.given >= schedule.due(last));
        if (all_given && backlog(&lanes) == 0) || now >= give_up {
            break;
        }
    }
    drop(show);
    // The screen's last line; it ends with its sender.
    let _ = screen.await;
    let (cpu, rounds) = (cpu.await.into_diagnostic()?, rounds.await.into_diagnostic()?);
    let (signed_ahead, signed_late) = (run.presigner.signed_ahead(), run.presigner.signed_late());
    Ok(Measured {
        measure: run.measure,
        busy: run.busy,
        backlog_max: run.backlog_max,
        signed_ahead,
        signed_late,
        cpu,
        rounds,
    })
}

type Merged = mpsc::Receiver<(usize, Vec<Update<Sent>>)>;

async fn connect(network: &Network) -> miette::Result<(Vec<Lane>, Merged)> {
    let mut lanes = Vec::new();
    // A batch of updates a slot; when full, the clients' tasks wait.
    let (merge, merged) = mpsc::channel(1024);
    for (index, validator) in network.validators().iter().enumerate() {
        let authority = validator.authority();
        let options = ClientOptions {
            server_key: Some(authority.transport_key.clone()),
            chain: Some(network.chain()),
            in_flight_max: IN_FLIGHT_MAX,
            ..ClientOptions::default()
        };
        let (client, mut updates) = Client::connect(authority.client_address, options)
            .await
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot reach {} on its fast path", authority.name))?;
        let merge = merge.clone();
        tokio::spawn(async move {
            while let Some(batch) = updates.next_batch().await {
                if merge.send((index, batch)).await.is_err() {
                    return;
                }
            }
        });
        lanes.push(Lane { client, outstanding: 0, waiting: VecDeque::new(), busy_until: None, up: true });
    }
    Ok((lanes, merged))
}

/// Transactions without an answer, those that were not sent yet included.
fn backlog(lanes: &[Lane]) -> usize {
    lanes.iter().map(|lane| lane.outstanding + lane.waiting.len()).sum()
}

struct Run {
    measure: Measure,
    presigner: Presigner,
    start: Instant,
    busy: u64,
    backlog_max: u64,
    /// Whose turn it is.
    turn: usize,
    /// Transactions given out.
    given: u64,
}

impl Run {
    fn us(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Gives all that is due to the validator whose turn it is.
    fn give_due(&mut self, lanes: &mut [Lane], schedule: &Schedule, now: Instant) {
        let due = schedule.due(now);
        while self.given < due {
            let lane = self.next_lane(lanes);
            for _ in 0..BATCH_MAX.min((due - self.given) as usize) {
                let Some(raw) = self.presigner.next() else { return };
                let due_us = schedule.due_us(self.given);
                self.given += 1;
                self.measure.offered(due_us);
                lane.waiting.push_back(Sent { due_us, raw });
            }
        }
    }

    /// Fills every validator's backlog.
    fn give_max(&mut self, lanes: &mut [Lane], now: Instant) {
        let due_us = self.us(now);
        for lane in lanes.iter_mut().filter(|lane| lane.up && lane.busy_until.is_none()) {
            let room = BACKLOG_MAX.saturating_sub(lane.outstanding + lane.waiting.len());
            for _ in 0..room.min(BATCH_MAX) {
                let Some(raw) = self.presigner.next() else { return };
                self.given += 1;
                self.measure.offered(due_us);
                lane.waiting.push_back(Sent { due_us, raw });
            }
        }
    }

    /// The next validator that is up, or the next at all.
    fn next_lane<'a>(&mut self, lanes: &'a mut [Lane]) -> &'a mut Lane {
        let count = lanes.len();
        let turns = (self.turn..self.turn + count).map(|turn| turn % count);
        let lane = turns.clone().find(|&lane| lanes[lane].up).unwrap_or(self.turn % count);
        self.turn = (lane + 1) % count;
        &mut lanes[lane]
    }

    fn send_waiting(&mut self, lanes: &mut [Lane], now: Instant) {
        for lane in lanes.iter_mut().filter(|lane| lane.up) {
            if lane.busy_until.is_some_and(|until| now < until) {
                continue;
            }
            lane.busy_until = None;
            let count = lane.waiting.len().min(BATCH_MAX);
            if count == 0 {
                continue;
            }
            let batch: Vec<_> = lane
                .waiting
                .drain(..count)
                .map(|sent| {
                    let raw = sent.raw.clone();
                    (sent, raw)
                })
                .collect();
            match lane.client.try_submit(batch) {
                Ok(()) => lane.outstanding += count,
                // Its queue is full for the moment: at the next tick, and in order.
                Err((_, batch)) => batch.into_iter().rev().for_each(|(sent, _)| lane.waiting.push_front(sent)),
            }
        }
        self.backlog_max = self.backlog_max.max(backlog(lanes) as u64);
    }

    fn update(&mut self, lanes: &mut [Lane], lane: usize, update: Update<Sent>, now: Instant) {
        let now_us = self.us(now);
        let lane = &mut lanes[lane];
        let mut ended = |sent: &Sent, end| {
            lane.outstanding -= 1;
            self.measure.ended(sent.due_us, now_us, end);
        };
        match update {
            Update::Receipt { tag, outcome, .. } => ended(&tag, End::Receipt(outcome)),
            Update::Refused { tag, .. } => ended(&tag, End::Refused),
            Update::Unknown { tag } => ended(&tag, End::Unknown),
            Update::Busy { tag, retry_after_ms } => {
                self.busy += 1;
                lane.outstanding -= 1;
                lane.waiting.push_back(tag);
                let until = now + Duration::from_millis(retry_after_ms.into());
                lane.busy_until = Some(lane.busy_until.map_or(until, |before| before.max(until)));
            }
            Update::Lost { .. } => {
                lane.up = false;
                let waiting = std::mem::take(&mut lane.waiting);
                self.next_lane(lanes).waiting.extend(waiting);
            }
            Update::Restored { .. } => lane.up = true,
        }
    }

    fn progress(&mut self, lanes: &[Lane], now: Instant, warm_up: Duration, window: Duration) -> Progress {
        let elapsed = now.saturating_duration_since(self.start);
        let phase = match elapsed {
            elapsed if elapsed < warm_up + Duration::from_millis(500) => Phase::WarmUp,
            elapsed if elapsed < warm_up + window => Phase::Window,
            _ => Phase::Tail,
        };
        let second: Second = self.measure.second();
        Progress {
            phase,
            second_of_window: elapsed.saturating_sub(warm_up).as_secs().min(window.as_secs()),
            window_seconds: window.as_secs(),
            second,
            backlog: backlog(lanes) as u64,
            busy: self.busy,
            given: self.given,
        }
    }
}

async fn count_rounds(validator: RpcClient, from: Instant, window: Duration) -> u64 {
    let round = async |at: Instant| {
        tokio::time::sleep_until(at.into()).await;
        validator.status().await.map(|status| status.round.0)
    };
    let (before, after) = (round(from).await, round(from + window).await);
    before.and_then(|before| after.map(|after| after.saturating_sub(before))).unwrap_or(0)
}

async fn sample_cpu(pids: (Vec<u32>, Vec<u32>), from: Instant, window: Duration) -> Cpu {
    let (nodes, signers) = pids;
    let read = || {
        let all = |pids: &[u32]| pids.iter().map(|&pid| usage::cpu(pid)).collect::<Vec<_>>();
        (all(&nodes), all(&signers).iter().sum::<Duration>(), usage::cpu(std::process::id()))
    };
    tokio::time::sleep_until(from.into()).await;
    let before = read();
    tokio::time::sleep_until((from + window).into()).await;
    let after = read();
    Cpu {
        nodes: after.0.iter().zip(&before.0).map(|(after, before)| after.saturating_sub(*before)).collect(),
        signers: after.1.saturating_sub(before.1),
        load: after.2.saturating_sub(before.2),
    }
}
