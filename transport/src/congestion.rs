//! A congestion controller for private links between known peers, which takes queueing for congestion and loss for loss.
//!
//! On such links a lost packet says little: at 0.1 % of random loss and 100 ms, a controller that halves its window for
//! each is down to 4 Mbit/s. This one follows FAST TCP (Wei, Jin, Low and Hegde 2006): once in a round trip it moves the
//! window half of the way to the one that would keep a fixed number of bytes waiting at the bottleneck, as the round trip
//! shows against the shortest one of the last 10 to 20 seconds. Flows that share a bottleneck each keep as many, which makes
//! them equal; a bottleneck whose queue is too short for them loses no more than that at a time.
//!
//! Loss counts where it is heavy ([`HEAVY_LOSS`]), which is the sign of a policer, and congestion marks (ECN) always do.
//! Deliberately absent: pacing, which quinn derives from the window, and any memory across connections.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// What each flow keeps waiting at a bottleneck, in datagrams.
const STANDING: u64 = 12;
/// The window's bounds: in datagrams, and in bytes.
const WINDOW_DATAGRAMS_MIN: u64 = 4;
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// Longer round trips than the shortest by this, and by a sixteenth of it, are noise of machines rather than a queue.
const NOISE: Duration = Duration::from_millis(2);
/// Of the bytes of a round trip, in percent: more lost than this is congestion.
const HEAVY_LOSS: u64 = 20;
/// What ends the doubling at the start, which overfills the bottleneck by as much again before the queue shows.
const LOSS_AT_START: u64 = 5;
/// How long the shortest round trip is believed, at least; at most twice as long.
const BASE_LASTS: Duration = Duration::from_secs(10);

/// Makes controllers whose first window has this many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DelayConfig {
    pub(crate) initial_window: u64,
}

impl ControllerFactory for DelayConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Delay::new(self.initial_window, now, current_mtu))
    }
}

/// See the module.
#[derive(Clone, Debug)]
struct Delay {
    initial_window: u64,
    datagram: u64,
    window: u64,
    /// Before the first queue: the window doubles.
    starting: bool,
    base: ShortestRoundTrip,
    round: Round,
    /// The window is held back for this round, so that the queue empties and the shortest round trip shows.
    draining: bool,
}

/// What one round trip has shown.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// It ends with the acknowledgement of a packet sent after this.
    since: Instant,
    /// Sum over the acknowledged packets, and their number.
    round_trips: Duration,
    packets: u32,
    acknowledged: u64,
    lost: u64,
    /// The window was what held sending back.
    filled: bool,
    marked: bool,
}

impl Round {
    fn new(since: Instant) -> Self {
        Self { since, round_trips: Duration::ZERO, packets: 0, acknowledged: 0, lost: 0, filled: false, marked: false }
    }
}

/// The shortest round trip of the last ten to twenty seconds.
#[derive(Clone, Copy, Debug)]
struct ShortestRoundTrip {
    now: Duration,
    before: Duration,
    since: Instant,
}

impl ShortestRoundTrip {
    fn get(self) -> Duration {
        self.now.min(self.before)
    }

    /// Whether older samples were forgotten just now.
    fn sample(&mut self, now: Instant, sample: Duration) -> bool {
        let forgets = now.saturating_duration_since(self.since) > BASE_LASTS;
        if forgets {
            *self = Self { now: Duration::MAX, before: self.now, since: now };
        }
        self.now = self.now.min(sample);
        forgets
    }
}

impl Delay {
    fn new(initial_window: u64, now: Instant, current_mtu: u16) -> Self {
        Self {
            initial_window,
            datagram: current_mtu.into(),
            window: initial_window,
            starting: true,
            base: ShortestRoundTrip { now: Duration::MAX, before: Duration::MAX, since: now },
            round: Round::new(now),
            draining: false,
        }
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let drained = std::mem::replace(&mut self.draining, false);
        let lost_more_than = |percent| round.lost * 100 > (round.lost + round.acknowledged) * percent;
        let heavy = lost_more_than(HEAVY_LOSS);
        let base = self.base.get();
        let unqueued = base + base / 16 + NOISE;
        // The mean: the first packets of each burst find a queue empty that the others fill.
        let round_trip = round.round_trips / round.packets.max(1);
        let queued = round_trip > unqueued;
        // Queues of others, and what is not the window's doing, leave it as it is: so does a window that was not used up.
        if !round.filled || drained {
            return;
        }
        if std::mem::take(&mut self.starting) {
            if !(round.marked || queued || lost_more_than(LOSS_AT_START)) {
                self.starting = true;
                self.set_window(self.window * 2);
                return;
            }
            // What went through in a round trip is the rate there is; more than that lies in queues, or is lost.
            self.set_window(self.window.min(round.acknowledged));
        }
        let window = self.window;
        if round.marked || heavy {
            self.set_window(window - window / 4);
        } else if queued {
            let (unqueued, round_trip) = (unqueued.as_micros() as u64, round_trip.as_micros() as u64);
            let kept = window.saturating_mul(unqueued) / round_trip;
            self.set_window((window + kept + STANDING * self.datagram) / 2);
        } else {
            self.set_window(window + (window / 8).max(STANDING * self.datagram / 2));
        }
    }

    fn set_window(&mut self, window: u64) {
        self.window = window.clamp(WINDOW_DATAGRAMS_MIN * self.datagram, WINDOW_BYTES_MAX);
    }
}

impl Controller for Delay {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _: &RttEstimator) {
        let sample = now.saturating_duration_since(sent);
        if self.base.sample(now, sample) && self.round.filled {
            self.draining = true;
        }
        self.round.round_trips += sample;
        self.round.packets += 1;
        self.round.acknowledged += bytes;
        self.round.filled |= !app_limited;
        if sent >= self.round.since {
            self.end_round(now);
        }
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.round.lost += lost_bytes;
        self.round.marked |= lost_bytes == 0;
        if is_persistent_congestion {
            // Nothing got through for a while: whatever was known of the path is old.
            self.set_window(self.initial_window.min(self.window));
            self.starting = true;
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.datagram = new_mtu.into();
        self.set_window(self.window);
    }

    fn window(&self) -> u64 {
        if self.draining { self.window - self.window / 4 } else { self.window }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
