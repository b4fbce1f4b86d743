//! When a token is asked, how often, and when never again: a state machine without clock, threads or calls.
//!
//! Serving → open → recovering → serving, with pauses that double while recovery fails. A rejected PIN latches from any
//! state and for good. A request is made at most twice. Times are milliseconds of whatever clock the caller has.

use super::policy::Reaction;
use crate::error::{ConfigError, Fault, StoreError};

/// Successes after which an earlier failure no longer lengthens a pause, and a cap that shrank grows by one.
const STREAK: u32 = 64;

/// Bounds of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Most sessions, at least 1.
    pub(super) sessions: u32,
    /// First pause.
    pub(super) rest_min_ms: u64,
    /// Longest pause.
    pub(super) rest_max_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests go to the token.
    Serving,
    /// Left alone until then.
    Open { due_ms: u64 },
    /// Somebody finalises, initialises and tests.
    Recovering,
    /// A human is needed.
    Latched(ConfigError),
}

/// What becomes of the session and of the request after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) session: Session,
    /// Whether the same request is made once more.
    pub(super) retry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// Closed: what state it is in is unknown.
    Evicted,
    /// Kept; its key handles are forgotten.
    Refound,
    /// Kept; it logs in before its next use, and its key handles are forgotten.
    LoggedOut,
}

/// The health of one token.
#[derive(Clone, Debug)]
pub(super) struct Health {
    limits: Limits,
    state: State,
    sessions: u32,
    last_rest_ms: u64,
    streak: u32,
}

impl Health {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: State::Serving, sessions: limits.sessions.max(1), last_rest_ms: 0, streak: 0 }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Most sessions at the moment.
    pub(super) fn sessions_max(&self) -> u32 {
        self.sessions
    }

    /// Whether a request may go to the token.
    pub(super) fn admit(&self) -> Result<(), StoreError> {
        match self.state {
            State::Serving => Ok(()),
            State::Open { .. } | State::Recovering => Err(Fault::TokenResting.into()),
            State::Latched(reason) => Err(reason.into()),
        }
    }

    /// Whether the PIN may be given to the token.
    pub(super) fn may_log_in(&self) -> Result<(), ConfigError> {
        match self.state {
            State::Latched(reason) => Err(reason),
            _ => Ok(()),
        }
    }

    /// A request was answered rightly.
    pub(super) fn succeeded(&mut self) {
        self.streak += 1;
        if self.streak >= STREAK {
            self.streak = 0;
            self.last_rest_ms = 0;
            self.sessions = (self.sessions + 1).min(self.limits.sessions.max(1));
        }
    }

    /// A request failed, for the first time or after a retry. `others` are the open sessions besides its own.
    pub(super) fn failed(&mut self, reaction: Reaction, retried: bool, others: u32, now_ms: u64) -> Verdict {
        self.streak = 0;
        let session = match reaction {
            Reaction::NewHandle => Session::Refound,
            Reaction::Login => Session::LoggedOut,
            Reaction::Latch(reason) => {
                self.latch(reason);
                return Verdict { session: Session::Evicted, retry: false };
            }
            Reaction::Shrink => {
                self.sessions = others.clamp(1, self.sessions);
                Session::Evicted
            }
            Reaction::NewSession | Reaction::Open => Session::Evicted,
        };
        if reaction == Reaction::Open || retried {
            self.open(now_ms);
            return Verdict { session: Session::Evicted, retry: false };
        }
        Verdict { session, retry: self.state == State::Serving }
    }

    /// A PIN was rejected.
    pub(super) fn latch(&mut self, reason: ConfigError) {
        if !matches!(self.state, State::Latched(_)) {
            self.state = State::Latched(reason);
        }
    }

    /// The token fails: it is left alone from now.
    pub(super) fn open(&mut self, now_ms: u64) {
        if self.state == State::Serving {
            self.rest(now_ms);
        }
    }

    /// Milliseconds until recovery is due; `None` where there is nothing to recover.
    pub(super) fn recovery_due_in(&self, now_ms: u64) -> Option<u64> {
        match self.state {
            State::Open { due_ms } => Some(due_ms.saturating_sub(now_ms)),
            _ => None,
        }
    }

    /// Takes up a recovery that is due. True for one caller alone.
    pub(super) fn begin_recovery(&mut self, now_ms: u64) -> bool {
        let due = self.recovery_due_in(now_ms) == Some(0);
        if due {
            self.state = State::Recovering;
        }
        due
    }

    /// The token works again; what made it shrink may be over too.
    pub(super) fn recovered(&mut self) {
        if self.state == State::Recovering {
            self.state = State::Serving;
            self.sessions = self.limits.sessions.max(1);
            self.streak = 0;
        }
    }

    /// It does not.
    pub(super) fn recovery_failed(&mut self, reaction: Reaction, now_ms: u64) {
        match (self.state, reaction) {
            (_, Reaction::Latch(reason)) => self.latch(reason),
            (State::Recovering, _) => self.rest(now_ms),
            _ => {}
        }
    }

    fn rest(&mut self, now_ms: u64) {
        self.last_rest_ms = (self.last_rest_ms * 2).clamp(self.limits.rest_min_ms, self.limits.rest_max_ms);
        self.state = State::Open { due_ms: now_ms.saturating_add(self.last_rest_ms) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { sessions: 4, rest_min_ms: 50, rest_max_ms: 2000 };

    #[test]
    fn a_lost_session_is_one_retry_and_a_second_loss_opens() {
        let mut health = Health::new(LIMITS);
        let first = health.failed(Reaction::NewSession, false, 0, 10);
        assert_eq!(first, Verdict { session: Session::Evicted, retry: true });
        assert_eq!(health.state(), State::Serving);
        assert!(!health.failed(Reaction::NewSession, true, 0, 10).retry);
        assert_eq!(health.state(), State::Open { due_ms: 60 });
        assert_eq!(health.admit(), Err(Fault::TokenResting.into()));
    }

    #[test]
    fn pauses_double_to_their_limit_and_are_short_again_after_a_streak() {
        let mut health = Health::new(LIMITS);
        health.open(0);
        let mut pauses = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let pause = health.recovery_due_in(now).expect("open");
            pauses.push(pause);
            now += pause;
            assert!(health.begin_recovery(now));
            assert!(!health.begin_recovery(now), "one at a time");
            health.recovery_failed(Reaction::Open, now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        now += 2000;
        assert!(health.begin_recovery(now));
        health.recovered();
        (0..STREAK).for_each(|_| health.succeeded());
        health.open(now);
        assert_eq!(health.recovery_due_in(now), Some(50));
    }

    #[test]
    fn a_token_that_is_out_of_sessions_is_asked_for_fewer_and_never_for_none() {
        let mut health = Health::new(LIMITS);
        assert!(health.failed(Reaction::Shrink, false, 2, 0).retry);
        assert_eq!(health.sessions_max(), 2);
        assert!(health.failed(Reaction::Shrink, false, 0, 0).retry);
        assert_eq!(health.sessions_max(), 1);
        (0..STREAK).for_each(|_| health.succeeded());
        assert_eq!(health.sessions_max(), 2);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Failed(Reaction, bool, u32),
        Succeeded,
        Begin,
        Recovered,
        RecoveryFailed(Reaction),
        Later(u64),
    }

    fn reactions() -> impl Strategy<Value = Reaction> {
        prop_oneof![
            4 => Just(Reaction::NewSession),
            4 => Just(Reaction::NewHandle),
            4 => Just(Reaction::Login),
            4 => Just(Reaction::Shrink),
            4 => Just(Reaction::Open),
            1 => Just(Reaction::Latch(ConfigError::PinIncorrect)),
            1 => Just(Reaction::Latch(ConfigError::PinLocked)),
        ]
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            (reactions(), any::<bool>(), 0..6u32)
                .prop_map(|(reaction, retried, others)| { Event::Failed(reaction, retried, others) }),
            Just(Event::Succeeded),
            Just(Event::Begin),
            Just(Event::Recovered),
            reactions().prop_map(Event::RecoveryFailed),
            (0..3000u64).prop_map(Event::Later),
        ]
    }

    proptest! {
        #[test]
        fn a_latch_is_for_good_and_caps_and_pauses_stay_within_bounds(events in prop::collection::vec(events(), 0..200)) {
            let mut health = Health::new(LIMITS);
            let (mut now, mut latched) = (0, None);
            for event in events {
                let before = health.state();
                match event {
                    Event::Failed(reaction, retried, others) => {
                        let verdict = health.failed(reaction, retried, others, now);
                        prop_assert!(!verdict.retry || (!retried && health.admit().is_ok()));
                        prop_assert!(!matches!(reaction, Reaction::Latch(_)) || health.may_log_in().is_err());
                    }
                    Event::Succeeded => health.succeeded(),
                    Event::Begin => {
                        let begun = health.begin_recovery(now);
                        let due = matches!(before, State::Open { due_ms } if due_ms <= now);
                        prop_assert!(due || !begun);
                    }
                    Event::Recovered => health.recovered(),
                    Event::RecoveryFailed(reaction) => health.recovery_failed(reaction, now),
                    Event::Later(by) => now += by,
                }
                if let State::Latched(reason) = health.state() {
                    prop_assert!(latched.is_none_or(|first| first == reason), "the first reason stays");
                    latched = Some(reason);
                }
                prop_assert!(latched.is_none() || health.may_log_in().is_err(), "no login after a rejection");
                prop_assert!((1..=LIMITS.sessions).contains(&health.sessions_max()));
                prop_assert!(health.recovery_due_in(now).is_none_or(|pause| pause <= LIMITS.rest_max_ms));
            }
            // Whatever happened, a token whose PIN was not rejected serves again once it recovers.
            if latched.is_none() {
                now += LIMITS.rest_max_ms;
                health.begin_recovery(now);
                health.recovered();
                prop_assert_eq!(health.admit(), Ok(()));
            }
        }
    }
}
