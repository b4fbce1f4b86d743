//! Whether a node gets on: by its rounds, not by a timer. What feeds a watchdog must end where the work ends, and must not end
//! where there is nothing to do, nor where others are the reason: to start this machine again brings no peer back.
//!
//! The replica says after each pass what it sees; whoever asks, from any thread, gets a judgement at that moment.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use types::Round;

/// A pass of the replica takes milliseconds, and one comes five times a second at least. One that takes longer waits for a disk,
/// a queue or a lock that does not answer.
const PASS_MAX: Duration = Duration::from_secs(20);
/// The longest timeout of a leader is far below this, with every leader of a small committee down in turn.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// How a node gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It reads its log or takes itself apart: nothing can be said yet.
    Starting,
    /// Rounds advance.
    Advancing,
    /// Nothing waits for a round, or too few peers are linked for one.
    Idle,
    /// Transactions wait, a quorum is linked, and no round has come for a minute.
    Stalled,
    /// The replica itself has not come round for twenty seconds.
    Hung,
}

impl Progress {
    /// As metrics and RPC name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Advancing => "advancing",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Hung => "hung",
        }
    }

    /// All of them, in the order of this file.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Advancing, Self::Idle, Self::Stalled, Self::Hung];

    /// Whether a watchdog is to be fed.
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Stalled | Self::Hung)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What the replica last said.
#[derive(Clone, Copy, Debug)]
struct Pass {
    at: Instant,
    round: Round,
    /// Since when the round is this one, or nothing was waiting for another.
    advanced: Instant,
    waiting: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<Pass>>);

impl Pulse {
    /// The replica has come round: in this round, with something `waiting` that only another round can order, or without.
    pub fn pass(&self, now: Instant, round: Round, waiting: bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.filter(|last| last.round == round && last.waiting && waiting);
        *last = Some(Pass { at: now, round, advanced: same.map_or(now, |last| last.advanced), waiting });
    }

    /// The replica is taken apart, on purpose.
    pub fn rest(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How the node gets on.
    pub fn judge(&self, now: Instant) -> Progress {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Progress::Starting,
            Some(pass) if now.saturating_duration_since(pass.at) > PASS_MAX => Progress::Hung,
            Some(pass) if !pass.waiting => Progress::Idle,
            Some(pass) if now.saturating_duration_since(pass.advanced) > ROUND_MAX => Progress::Stalled,
            Some(_) => Progress::Advancing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_feed_it_and_time_alone_does_not() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pulse.judge(after(900)), Progress::Starting, "a log may be long");
        for second in 0..200 {
            pulse.pass(after(second), Round(second / 50), true);
            assert_eq!(pulse.judge(after(second)), Progress::Advancing, "a round every 50 seconds");
        }
        for second in 200..260 {
            pulse.pass(after(second), Round(3), true);
        }
        assert_eq!(pulse.judge(after(259)), Progress::Stalled, "passes without a round");
        pulse.pass(after(260), Round(4), true);
        assert_eq!(pulse.judge(after(260)), Progress::Advancing);
        assert_eq!(pulse.judge(after(281)), Progress::Hung);
        pulse.rest();
        assert_eq!(pulse.judge(after(400)), Progress::Starting);
    }

    #[test]
    fn a_node_with_nothing_to_do_is_idle_and_its_rest_is_not_held_against_it() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        (0..1_000).for_each(|second| pulse.pass(after(second), Round(7), false));
        assert_eq!(pulse.judge(after(1_000)), Progress::Idle);
        pulse.pass(after(1_001), Round(7), true);
        pulse.pass(after(1_050), Round(7), true);
        assert_eq!(pulse.judge(after(1_050)), Progress::Advancing, "it has waited for 49 seconds, not for 1,050");
    }

    #[test]
    fn only_stalled_and_hung_starve_a_watchdog() {
        let alive: Vec<bool> = Progress::ALL.into_iter().map(Progress::is_alive).collect();
        assert_eq!(alive, [true, true, true, false, false]);
    }
}
